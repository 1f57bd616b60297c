from tests.unit.metrics.fakes import FakeResolver, owner

from agent.metrics.accumulate import Accumulator
from agent.metrics.series import Buckets
from agent.requests.durations import MAX_ROWS, OTHER, RouteDurations
from bpfleet.catalogue import HTTP_ROUTE_DURATION
from bpfleet.metrics import Distribution, Sample

BOUNDS = (0.1, 0.5, 1.0)


def test_each_duration_is_counted_into_the_first_bucket_that_is_not_below_it() -> None:
    made = RouteDurations(BOUNDS)
    for seconds in (0.05, 0.1, 0.11, 1.0, 7.0):
        made.take(1, "GET", "200", "/users/{id}", seconds)
    made.take(2, "GET", "200", "/", 0.5)
    assert list(made.samples()) == [
        Sample(HTTP_ROUTE_DURATION, Distribution((2, 1, 1, 1), 8.26), 1, ("GET", "200", "/users/{id}")),
        Sample(HTTP_ROUTE_DURATION, Distribution((0, 1, 0, 0), 0.5), 2, ("GET", "200", "/")),
    ]
    assert list(made.samples()) == []


def test_what_finds_no_row_is_counted_as_other() -> None:
    made = RouteDurations(BOUNDS)
    for number in range(MAX_ROWS + 23):
        made.take(1, "GET", "200", f"/{number}", 0.25)
    found = list(made.samples())
    assert len(found) == MAX_ROWS + 1
    assert sum(sum(sample.value.counts) for sample in found) == MAX_ROWS + 23  # type: ignore[union-attr]
    assert found[-1].labels == ("GET", "200", OTHER) and sum(found[-1].value.counts) == 23  # type: ignore[union-attr]


def test_the_accumulator_takes_them() -> None:
    made = RouteDurations(BOUNDS)
    made.take(1, "GET", "200", "/users/{id}", 0.25)
    totals = Accumulator(FakeResolver({1: owner("web")}), [HTTP_ROUTE_DURATION], {"request_seconds": BOUNDS})
    totals.add(made.samples())
    (series,) = [each for family in totals._families.values() for each in family.series]
    assert isinstance(series, Buckets) and series.counts == [0, 1, 0, 0] and series.total == 0.25
