import pytest

from bpfleet.times import rfc3339, span


@pytest.mark.parametrize(
    ("time_ns", "text"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1, "1970-01-01T00:00:00.000000001Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (1_795_282_465_123_456_789, "2026-11-21T17:34:25.123456789Z"),
        (1_709_210_096_000_000_000, "2024-02-29T12:34:56.000000000Z"),
    ],
)
def test_a_moment_is_written_in_utc_with_all_its_nanoseconds(time_ns: int, text: str) -> None:
    assert rfc3339(time_ns) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.0, "0 us"), (0.0000005, "0.5 us"), (0.00012345, "123 us"), (0.0009994, "999 us"), (0.0009996, "1 ms")),
        *((0.25, "250 ms"), (1.0, "1 s"), (59.94, "59.9 s"), (3600.0, "3600 s"), (1e6, "1000000 s")),
    ],
)
def test_a_span_has_three_digits_and_its_unit(seconds: float, text: str) -> None:
    assert span(seconds) == text
