"""List, then watch, one kind of Kubernetes object, for ever: what arrives goes to a book.

After the list, changes are followed by resourceVersion; a broken watch goes on from the last version that was seen.
Only 410 Gone, or a version that the server refuses again and again, causes another list, and each failure is followed
by a growing delay with jitter, so that an API server that comes back is not met by a storm
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes).
"""

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from agent.identity.listings import Json, Listing
from bpfleet.errors import ClusterError

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
"""client-go's figures: an API server that was away is found again within half a minute."""

HEALTHY_SECONDS = 60.0
"""A failure this long after the end of the delay before it starts the delays anew."""

SHORT_WATCH_SECONDS = 1.0
"""A watch that ends sooner, without an event, is a failure: something in between closes it."""

REFUSALS = 4
"""Watches refused in a row before the version is given up. Silence weighs as two: where etcd was restored from a copy,
the server waits for a version that is ahead of it, and says nothing."""

MAX_PAGES = 10_000
"""Pages of one list: a server that names a next page for ever is refused."""

_log = logging.getLogger(__name__)

_OBJECTS = ("ADDED", "MODIFIED")


class Expired(ClusterError):
    """410: the version is too old to go on from."""


class Unauthorized(ClusterError):
    """401: the token is not valid (any more)."""


class Refused(ClusterError):
    """Any other answer that is an error. retry_after: seconds that the server asks for (429, 503)."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Silent(ClusterError):
    """No answer, or nothing more of it, in time."""


class Forbidden(Refused):
    """403 or 404: a matter of permissions, not of time."""


@dataclass(frozen=True)
class Resource:
    name: str
    path: str
    field_selector: str = ""


class Api(Protocol):
    """The API server. Everything raises ClusterError and nothing else."""

    def list(self, resource: Resource, token: str) -> Listing:
        """One page, empty token: the first. Iterating it may raise ValueError too."""

    def watch(self, resource: Resource, version: str) -> Iterator[Json]:
        """Returns when the server agrees, and yields events until it ends the watch."""

    def reconnect(self) -> None:
        """Reads the credentials anew."""


class Book(Protocol):
    """Where objects go. put, remove: KeyError, TypeError, ValueError or AttributeError on a strange object."""

    def key(self, item: Json) -> str: ...

    def put(self, item: Json) -> None: ...

    def remove(self, item: Json) -> None: ...

    def keep(self, keys: set[str]) -> None:
        """All others have ended."""

    def __len__(self) -> int: ...


class Watch:
    """step() is called again and again from one thread; the rest is read from any.

    jitter: draws from 0 to 1. answered: listed once, or forbidden. lists, failures, strange objects: so far."""

    def __init__(
        self, api: Api, resource: Resource, book: Book, clock: Callable[[], float], jitter: Callable[[], float]
    ) -> None:
        self.resource = resource
        self.answered = False
        self.synced = False
        self.error = ""
        self.lists = 0
        self.failures = 0
        self.strange = 0
        self._api = api
        self.book = book
        self._clock = clock
        self._jitter = jitter
        self._version = ""
        self._in_a_row = 0
        self._refusals = 0
        self._failed = -HEALTHY_SECONDS

    def step(self) -> float:
        """Lists if need be, watches until that ends. Returns the seconds to wait before the next step."""
        started = self._clock()
        try:
            if not self._version:
                self._list()
            events = self._follow()
        except (ClusterError, ValueError) as error:
            return self._fail(error)
        if not events and self._clock() - started < SHORT_WATCH_SECONDS:
            return self._fail(ClusterError("the watch was closed at once"))
        return 0.0

    def _list(self) -> None:
        keys: set[str] = set()
        token = version = ""
        for _ in range(MAX_PAGES):
            page = self._api.list(self.resource, token)
            keys.update(key for item in page if (key := self._put(item)))
            token, version = page.token, page.version
            if not token:
                break
        else:
            raise ClusterError("a list without an end")
        self.book.keep(keys)
        self._version = version
        self.lists += 1
        self._recovered()

    def _follow(self) -> int:
        events = 0
        stream = self._api.watch(self.resource, self._version)
        self._recovered()
        for event in stream:
            self._apply(str(event.get("type")), event.get("object"))
            events += 1
            self._refusals = 0
        return events

    def _apply(self, kind: str, item: object) -> None:
        if not isinstance(item, dict):
            raise ClusterError(f"an event {kind!r} without an object")
        if kind == "ERROR":
            message = f"{item.get('reason')}: {item.get('message')}"
            raise Expired(message) if item.get("code") == 410 else Refused(message)
        if kind in _OBJECTS:
            self._put(item)
        elif kind == "DELETED":
            self._remove(item)
        metadata = item.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        self._version = str(version or self._version)

    def _put(self, item: Json) -> str:
        """The book's key; empty for an object that the book cannot read."""
        try:
            key = self.book.key(item)
            self.book.put(item)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._skip(error)
            return ""
        return key

    def _remove(self, item: Json) -> None:
        try:
            self.book.remove(item)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            self._skip(error)

    def _skip(self, error: Exception) -> None:
        self.strange += 1
        if _is_power_of_two(self.strange):
            _log.warning("%s: an object cannot be read (%d so far): %r", self.resource.name, self.strange, error)

    def _recovered(self) -> None:
        if not self.synced and self.error:
            _log.info("%s: the Kubernetes API answers again", self.resource.name)
        self.answered = self.synced = True
        self.error = ""

    def _fail(self, error: Exception) -> float:
        if isinstance(error, Expired):
            self._version = ""
        elif isinstance(error, Refused | Silent):
            self._refuse(error)
        elif isinstance(error, Unauthorized):
            self._reconnect()
        return self._delay(error)

    def _refuse(self, error: Refused | Silent) -> None:
        self.answered = self.answered or isinstance(error, Forbidden)
        self._refusals += 2 if isinstance(error, Silent) else 1
        if self._refusals >= REFUSALS:
            self._version, self._refusals = "", 0

    def _reconnect(self) -> None:
        try:
            self._api.reconnect()
        except ClusterError as error:
            _log.warning("%s: %s", self.resource.name, error)

    def _delay(self, error: Exception) -> float:
        now = self._clock()
        self._in_a_row = 1 if now - self._failed > HEALTHY_SECONDS else self._in_a_row + 1
        self.failures += 1
        self.synced, self.error = False, str(error)
        if _is_power_of_two(self._in_a_row):
            _log.warning("%s: %s", self.resource.name, error)
        longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(self._in_a_row - 1, 16))
        delay = max(longest * (0.5 + 0.5 * self._jitter()), getattr(error, "retry_after", 0.0))
        self._failed = now + delay
        return delay


def run(watch: Watch, stop: threading.Event) -> None:
    """For a thread of its own. A fault of ours in one watch must not end it: it is logged and tried again."""
    while not stop.is_set():
        try:
            delay = watch.step()
        except Exception:
            _log.exception("%s: watch failed", watch.resource.name)
            delay = LONGEST_DELAY_SECONDS
        stop.wait(delay)


def _is_power_of_two(count: int) -> bool:
    return count & (count - 1) == 0
