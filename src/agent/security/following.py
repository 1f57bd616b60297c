"""The policies in force: those of a directory, read again when something in it changes.

Kubernetes swaps a symbolic link under a ConfigMap's files: what stat(2) says of each of them is another thing then.
Policies that have a mistake change nothing. At the start there are no good ones to keep, and none are in force: the
agent counts, and says so in its log, on its pages and by a metric.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final, NamedTuple

from agent.following import stamp
from bpfleet.errors import PolicyError
from bpfleet.policies import reading
from bpfleet.policies.evaluation import Policies
from bpfleet.policies.model import Policy

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
"""The directory is looked at with the drains, at most this often."""

SETTLE_SECONDS: Final = 5.0
"""For so long after a change files that could not be used are read at each look: one may be half written, and change
within one tick of the file system's clock. Not for ever: what cannot be used costs the drain as much as what can."""

Stamps = tuple[tuple[str, tuple[int, ...] | None], ...]


class State(NamedTuple):
    """problem: why what the files say is not in force; empty where it is."""

    directory: str
    policies: tuple[str, ...]
    rules: int
    problem: str


class Followed:
    """directory: or one file. clock: monotonic seconds. Asked from any thread."""

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] = time.monotonic,
        read: Callable[[Iterable[Path]], list[Policy]] = reading.read,
    ) -> None:
        self._directory, self._clock, self._read = directory, clock, read
        self._lock = threading.Lock()
        self._policies, self._problem = Policies(), ""
        self._stamps: Stamps | None = None
        self._seen: Stamps | None = None
        self._looked = clock() - LOOK_SECONDS
        self._changed = self._looked

    def policies(self) -> Policies:
        """In force now; the same object as long as they do not change."""
        with self._lock:
            if self._clock() - self._looked >= LOOK_SECONDS:
                self._look()
            return self._policies

    def state(self) -> State:
        with self._lock:
            found = self._policies
            names = tuple(policy.name for policy in found.policies)
            return State(str(self._directory), names, sum(1 for _ in found.rules), self._problem)

    def page(self) -> Mapping[str, object]:
        """For /status."""
        return self.state()._asdict()

    def _look(self) -> None:
        self._looked = self._clock()
        seen, self._seen = self._seen, None
        try:
            stamps = self._stamp()  # before reading: what changes meanwhile is seen the next time
            if stamps != seen:
                self._changed = self._looked
            self._seen = stamps
            if stamps == seen and (not self._problem or self._looked - self._changed >= SETTLE_SECONDS):
                return
            policies = Policies(self._read([self._directory]))
        except PolicyError as error:
            self._refuse(str(error))
            return
        log.info(
            "security policies in force: %d, with %d rules", len(policies.policies), sum(1 for _ in policies.rules)
        )
        self._policies, self._stamps, self._problem = policies, stamps, ""

    def _refuse(self, problem: str) -> None:
        if problem != self._problem:
            kept = "the last good ones stay in force" if self._stamps is not None else "none are in force"
            for line in problem.splitlines():
                log.error("security policies: %s: %s", kept, line)
        self._problem = problem

    def _stamp(self) -> Stamps:
        return tuple((str(file), stamp(file)) for file in reading.files(self._directory))
