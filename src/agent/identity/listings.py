"""The body of a Kubernetes list, item by item: 50,000 endpoints are 16 MB of JSON and 100 MB of Python objects, one
item is some kB.

Shape: {"kind": "PodList", "metadata": {"resourceVersion": "7"}, "items": [{...}, ...]}
(https://kubernetes.io/docs/reference/using-api/api-concepts/#collections); the API server writes items last.
"""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

Json = dict[str, Any]

MAX_ITEM_CHARACTERS = 8 << 20
"""etcd refuses objects above 1.5 MB; more than this without the end of an item is not a list."""

_ITEMS = re.compile(r'"items"\s*:\s*\[')
_GAP = re.compile(r"[\s,]*")


class Listing:
    """Iterate once; `version` and `token` (of the next page) are known after that. Raises ValueError."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = codecs.iterdecode(chunks, "utf-8")
        self._decoder = json.JSONDecoder()
        self._text = ""
        self.version = ""
        self.token = ""

    def __iter__(self) -> Iterator[Json]:
        while not (start := _ITEMS.search(self._text)):
            if not self._more():
                yield from self._finish(self._text)
                return
        head, self._text = self._text[: start.end()], self._text[start.end() :]
        while (item := self._item()) is not None:
            yield item
        while self._more():
            pass
        yield from self._finish(head + self._text)

    def _item(self) -> Json | None:
        """The next item, None at the end of the array."""
        while True:
            position = _GAP.match(self._text).end()  # type: ignore[union-attr]  # it matches the empty string
            if self._text[position : position + 1] == "]":
                return None
            try:
                item, end = self._decoder.raw_decode(self._text, position)
            except json.JSONDecodeError:
                if not self._more():
                    raise
                continue
            self._text = self._text[end:]
            return _mapping(item)

    def _more(self) -> bool:
        chunk = next(self._chunks, None)
        self._text += chunk or ""
        if len(self._text) > MAX_ITEM_CHARACTERS:
            raise ValueError(f"an item of more than {MAX_ITEM_CHARACTERS} characters")
        return chunk is not None

    def _finish(self, frame: str) -> Iterator[Json]:
        """frame: the whole body, or what stands around its items."""
        self._text = ""
        body = _mapping(json.loads(frame))
        metadata = _mapping(body.get("metadata") or {})
        self.version = str(metadata.get("resourceVersion") or "")
        self.token = str(metadata.get("continue") or "")
        if not self.version:
            raise ValueError(f"not a list but a {body.get('kind')}")
        yield from map(_mapping, body.get("items") or ())


def _mapping(value: object) -> Json:
    if not isinstance(value, dict):
        raise ValueError(f"{type(value).__name__} where an object is expected")
    return value
