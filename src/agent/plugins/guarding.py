"""What a collector or a sink gives back is looked at before anybody else relies on it, and never asked for without end.

The cost is a comparison for each sample; in return a plugin's mistake is an exception with its name on it.
"""

import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from agent.plugins.sources import Source
from bpfleet.api import (
    Batch,
    CgroupChange,
    Collector,
    Event,
    Maps,
    Plugin,
    Record,
    Retry,
    Sample,
    Sink,
    Unavailable,
    Written,
)
from bpfleet.errors import LoadError

MAX_YIELDED = 250_000
"""Of one collector in one drain, at least: four times what the largest ring buffer holds, 60 for each cgroup of a full
map. Whoever yields without end is found out within seconds."""

YIELDED_A_FLOW = 32
"""Rows of both flow maps, each with eight samples, twice over."""

RETRY_SECONDS = 0.1
"""After a sink has sent nothing, so that one that does not wait itself takes no CPU."""

MAX_SECONDS = 86_400.0
"""Of a batch or a pause: what is longer is a mistake, and what is endless no thread can wait for."""

Given = TypeVar("Given")


class Endless(RuntimeError):
    """A generator that does not end."""


def most(flows: int) -> int:
    """What one collector may yield in one drain, with so many rows in the kernel's maps."""
    return max(MAX_YIELDED, YIELDED_A_FLOW * flows)


def samples(collector: Collector, maps: Maps, most: int) -> Iterator[Sample]:
    """What collect() yields. Raises what it raises; TypeError or ValueError for what is no sample of its metrics."""
    declared = set(collector.metrics)
    for sample in _some(lambda: collector.collect(maps), Sample, f"{collector.name}.collect()", most):
        if sample.metric not in declared:
            raise ValueError(f"{sample.metric.family} is not among the metrics that it declares")
        yield sample


def events(collector: Collector, maps: Maps, most: int) -> Iterator[Event]:
    """What events() yields."""
    return _some(lambda: collector.events(maps), Event, f"{collector.name}.events()", most)


def changes(collector: Collector, maps: Maps, most: int) -> Iterator[CgroupChange]:
    """What cgroups() yields."""
    return _some(lambda: collector.cgroups(maps), CgroupChange, f"{collector.name}.cgroups()", most)


def _some(ask: Callable[[], Iterable[object]], kind: type[Given], what: str, most: int) -> Iterator[Given]:
    try:
        for number, item in enumerate(ask()):
            if number >= most:
                raise Endless(f"{what} yielded more than {most} things in one drain: it is off until a restart")
            if not isinstance(item, kind):
                raise TypeError(f"{what} yielded {type(item).__name__}, not {kind.__name__}")
            yield item
    except SystemExit as error:  # it may not end the agent
        raise RuntimeError(f"{what} asked Python to exit") from error


def place(error: BaseException, kind: type[Plugin]) -> str:
    """`file.py:7: `, where it happened in the plugin's own file; empty where it did not."""
    module = sys.modules.get(kind.__module__)
    file = getattr(module, "__file__", None)
    traces = [each.__traceback__ for each in (error, error.__cause__) if each]
    frames = ((frame.f_code.co_filename, line) for trace in traces for frame, line in traceback.walk_tb(trace))
    lines = [line for name, line in frames if name == file]
    return f"{Path(file).name}:{lines[-1]}: " if file and lines else ""


class Held(Sink):
    """A sink held to its word: bytes from encode(), a possible number from write(). Raises LoadError where its batch or
    retry is impossible: the queue's own thread would fail."""

    def __init__(self, sink: Sink, wait: Callable[[float], None] = time.sleep) -> None:
        super().__init__()
        self._sink, self._wait = sink, wait
        self.name = sink.name  # type: ignore[misc]
        self.batch, self.retry = sink.batch, sink.retry
        if not isinstance(self.batch, Batch) or not _whole(*self.batch[:2]) or not _seconds(self.batch.seconds):
            at = Source(type(sink)).place("batch")
            raise LoadError(f"{at}: batch is {self.batch!r}: a Batch of 1 or more, with 0 to {MAX_SECONDS:.0f} seconds")
        if not isinstance(self.retry, Retry) or not _seconds(*self.retry):
            at = Source(type(sink)).place("retry")
            raise LoadError(f"{at}: retry is {self.retry!r}: a Retry with 0 to {MAX_SECONDS:.0f} seconds each")

    def encode(self, record: Record) -> bytes:
        try:
            data = self._sink.encode(record)
        except SystemExit as error:
            raise RuntimeError("encode() asked Python to exit") from error
        if not isinstance(data, bytes):
            raise TypeError(f"encode() returned {type(data).__name__}, not bytes")
        return data

    def write(self, items: Sequence[bytes]) -> int | Written:
        try:
            done = self._sink.write(items)
        except Unavailable as error:
            after = getattr(error, "after_seconds", None)
            if type(after) not in (int, float):
                raise TypeError(f"Unavailable has {after!r} for after_seconds, which is no number") from error
            raise
        except SystemExit as error:
            raise RuntimeError("write() asked Python to exit") from error
        counts = (done.delivered, done.rejected, done.unanswered) if isinstance(done, Written) else (done,)
        if any(type(each) is not int or each < 0 for each in counts) or sum(counts) > len(items):
            raise ValueError(f"write() returned {done!r} for {len(items)} items")
        if not sum(counts):
            self._wait(RETRY_SECONDS)
        return done

    def close(self) -> None:
        try:
            self._sink.close()
        except SystemExit as error:
            raise RuntimeError("close() asked Python to exit") from error


def _whole(*values: object) -> bool:
    return all(type(each) is int and each > 0 for each in values)


def _seconds(*values: object) -> bool:
    return all(type(each) in (int, float) and 0 <= each <= MAX_SECONDS for each in values)  # type: ignore[operator]
