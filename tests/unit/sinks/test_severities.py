import pytest

from agent.sinks import severities
from bpfleet.events import Attribute, Record


@pytest.mark.parametrize(
    ("attributes", "number", "priority"),
    [
        ({}, 9, 6),
        ({"error.type": "reset"}, 13, 4),
        ({"bpfleet.security.severity": "critical"}, 18, 2),
        ({"bpfleet.security.severity": "warning", "error.type": "EACCES"}, 13, 4),
        ({"bpfleet.security.severity": "info", "error.type": "EACCES"}, 9, 6),
        ({"bpfleet.security.severity": "forged"}, 9, 6),
        ({"bpfleet.security.severity": 5}, 9, 6),
    ],
)
def test_a_policy_says_how_bad_it_is_else_whether_it_is_an_error(
    attributes: dict[str, Attribute], number: int, priority: int
) -> None:
    found = severities.of(Record("x", 0, {}, attributes))
    assert (found.number, found.priority) == (number, priority)
