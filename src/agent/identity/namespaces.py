"""What the annotations of the cluster's namespaces ask of bpfleet. Filled by a watch thread, read by the drain's."""

import threading
from collections.abc import Callable, Mapping

from agent.identity.listings import Json

PREFIX = "bpfleet.io/"

MAX_VALUE = 64
"""Characters of a value that are kept: none that means something is longer."""

MAX_ANNOTATIONS = 16
"""Of one namespace, with our prefix: twice as many as there are."""


class Namespaces:
    """A book: see watches.Book. Of each namespace only the annotations with our prefix are kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._names: set[str] = set()
        self._annotations: dict[str, Mapping[str, str]] = {}
        self._is_answered: Callable[[], bool] = lambda: True
        self.version = 0

    @property
    def is_known(self) -> bool:
        """Whether who has no annotation here has none: they were listed, or nobody may list them."""
        return self._is_answered()

    def known_when(self, is_answered: Callable[[], bool]) -> None:
        """Asked from any thread."""
        self._is_answered = is_answered

    def key(self, item: Json) -> str:
        return str(item["metadata"]["name"])

    def put(self, item: Json) -> None:
        name, found = self.key(item), read(item)
        with self._lock:
            self._names.add(name)
            self._set(name, found)

    def remove(self, item: Json) -> None:
        with self._lock:
            self._names.discard(self.key(item))
            self._set(self.key(item), {})

    def keep(self, keys: set[str]) -> None:
        with self._lock:
            for name in self._names - keys:
                self._set(name, {})
            self._names &= keys

    def annotations(self) -> dict[str, Mapping[str, str]]:
        """By namespace, of those that have any."""
        with self._lock:
            return dict(self._annotations)

    def __len__(self) -> int:
        return len(self._names)

    def _set(self, name: str, annotations: Mapping[str, str]) -> None:
        if annotations == self._annotations.get(name, {}):
            return
        self._annotations[name] = annotations
        if not annotations:
            del self._annotations[name]
        self.version += 1


def read(item: Json) -> dict[str, str]:
    """Raises AttributeError, KeyError or TypeError on anything but a namespace."""
    given = item["metadata"].get("annotations") or {}
    ours = sorted((str(key), value) for key, value in given.items() if str(key).startswith(PREFIX))
    return {key: value[: MAX_VALUE + 1] for key, value in ours[:MAX_ANNOTATIONS] if isinstance(value, str)}
