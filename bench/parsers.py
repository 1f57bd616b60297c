"""R6: does anything that a stranger may send break what reads it? A million inputs each, and what one costs.

What comes out is held to its bounds as the unit tests hold it, which try fewer. It needs no root:
`python -m bench.parsers`.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from bench import rows
from bench.rows import Row
from tests.support import http_inputs

from agent.events import redaction
from agent.protocols import http1
from agent.protocols.routes import MAX_ROUTE, MAX_ROUTES, Routes

INPUTS, QUICK_INPUTS = 1_000_000, 50_000
BATCH = 10_000


def measure(quick: bool) -> Iterator[Row]:
    count = QUICK_INPUTS if quick else INPUTS
    made = Routes({"shop": ["/users/{user}/*"]}, MAX_ROUTES)
    yield from _tried("heads of requests", http_inputs.heads(count), _read)
    yield from _tried("paths to routes", http_inputs.paths(count), lambda path: _route(made, path))
    yield from _tried("queries redacted", (path[1:] for path in http_inputs.paths(count, seed=7)), _query)
    yield rows.of("R5", f"routes remembered of {count:,} paths", "", [float(len(made))], limit=float(MAX_ROUTES))


def _tried(what: str, inputs: Iterable[object], read: Callable[..., None]) -> Iterator[Row]:
    """Failures of all of them, and microseconds for each, by batches; making the inputs is not in it."""
    failed, count, spent = 0, 0, []
    source = iter(inputs)
    while batch := list(islice(source, BATCH)):
        begun = time.thread_time()
        for each in batch:
            try:
                read(each)
            except Exception:  # the very thing that is counted
                failed += 1
        spent.append((time.thread_time() - begun) / len(batch) * 1e6)
        count += len(batch)
    yield rows.of("R6", f"failures of {count:,} {what}", "", [float(failed)], limit=0.0)
    yield rows.of("R6", f"time for one of {what}", "us", spent)


def _read(head: bytes) -> None:
    found = http1.parse_request(head)
    http1.split_target(found.method, found.target)
    if len(found.target) > len(head) or (found.version and not found.target and b" " not in head):
        raise AssertionError(head)


def _route(made: Routes, path: str) -> None:
    route = made.route("shop", "web", path)
    if len(route) > MAX_ROUTE or not route.isascii() or not (route.isprintable() or not route):
        raise AssertionError(path)


def _query(text: str) -> None:
    told = redaction.query(text)
    if not told.isascii() or (told and not told.isprintable()):
        raise AssertionError(text)


if __name__ == "__main__":
    print(rows.table(list(measure(quick=False))))
