"""The Kubernetes API without a server: answers by script, in the order in which they are asked for."""

import json
from collections.abc import Iterator, Sequence

from agent.identity.listings import Json, Listing
from agent.identity.watches import Resource
from bpfleet.errors import ClusterError

Answer = bytes | Sequence[Json | ClusterError] | ClusterError
"""A list's body; a watch's events, of which an error breaks it off; or an error instead of any answer."""


class FakeApi:
    """See watches.Api. asked: (resource name, "list" or "watch", token or version) of each request, and reconnects."""

    def __init__(self, answers: dict[str, list[Answer]]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str, str]] = []
        self.reconnects = 0

    def list(self, resource: Resource, token: str) -> Listing:
        answer = self._answer(resource, "list", token)
        return Listing([answer if isinstance(answer, bytes) else json.dumps(answer).encode()])

    def watch(self, resource: Resource, version: str) -> Iterator[Json]:
        answer = self._answer(resource, "watch", version)
        if isinstance(answer, bytes):
            raise ClusterError("a list where a watch was asked for")
        return _played(answer)

    def reconnect(self) -> None:
        self.reconnects += 1

    def _answer(self, resource: Resource, verb: str, detail: str) -> bytes | Sequence[Json | ClusterError]:
        self.asked.append((resource.name, verb, detail))
        left = self.answers.get(resource.name)
        answer = left.pop(0) if left else ClusterError("the server is away")
        if isinstance(answer, ClusterError):
            raise answer
        return answer


def _played(events: Sequence[Json | ClusterError]) -> Iterator[Json]:
    for event in events:
        if isinstance(event, ClusterError):
            raise event
        yield event


def listing(version: str, *items: Json, token: str = "") -> bytes:
    """A list's body as the API server writes it."""
    metadata = {"resourceVersion": version} | ({"continue": token} if token else {})
    return json.dumps({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": list(items)}).encode()
