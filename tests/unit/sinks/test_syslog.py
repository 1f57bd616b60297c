import string

import pytest
from tests.unit.hostile import STRINGS

from agent.events import records
from agent.sinks import syslog
from agent.sinks.syslog import Syslog
from agent.sinks.trust import Trust
from bpfleet.events import Attribute, Record

TIME_NS = 1_795_282_465_000_000_007
PRINTABLE = set(string.printable) - set("\t\n\r\x0b\x0c")


def made(max_bytes: int = 8192) -> Syslog:
    return Syslog("localhost", 1, Trust, 16, "bpfleet@32473", max_bytes, 1.0)


def message(max_bytes: int = 8192, name: str = "test.happened", **attributes: Attribute) -> str:
    """Without its length, which is right."""
    resource = {"k8s.node.name": "node-1"}
    frame = made(max_bytes).encode(Record(name, TIME_NS, resource, attributes))
    length, _, rest = frame.partition(b" ")
    assert int(length) == len(rest)
    return rest.decode()


def test_a_message_is_what_the_standard_says() -> None:
    assert message(count=23, share=0.5, known=True, text='say "x] \\') == (
        "<134>1 2026-11-21T17:34:25.000000Z node-1 bpfleet - test.happened "
        '[bpfleet@32473 count="23" share="0.5" known="true" text="say \\"x\\] \\\\\\\\" k8s.node.name="node-1" '
        'time="2026-11-21T17:34:25.000000007Z" event.name="test.happened"] test.happened'
    )


def test_an_event_with_an_error_is_a_warning() -> None:
    assert message(**{"error.type": "reset"}).startswith("<132>1 ")


@pytest.mark.parametrize("text", STRINGS)
def test_hostile_text_cannot_end_a_value_or_do_anything_to_a_terminal(text: str) -> None:
    clean = records.clean(text)
    told = message(1 << 20, **{"text": clean, f"name {text[:40]}": 1})
    inside = told.partition(' text="')[2]
    assert inside.partition('" name_')[1]
    assert all(each in PRINTABLE or each.isprintable() for each in told)
    assert "\n" not in told


def test_names_have_the_characters_and_the_length_that_names_may_have() -> None:
    assert syslog.parameter_name('a b="c"]' + "d" * 50) == "a_b__c__" + "d" * 24
    assert syslog.parameter_name("") == "-"
    told = message(name="event name with [a] very long name in it")
    assert " bpfleet - event_name_with_[a]_very_long_na [" in told
    assert ' event.name="event name with [a\\] very long name in it"]' in told


def test_a_message_that_is_too_long_has_shorter_values_and_says_which() -> None:
    told = message(2048, short="x", long="y" * 1000, longer="é" * 1000)
    assert len(told.encode()) <= 2048
    assert f' long="{"y" * 256}"' in told and f' longer="{"é" * 256}"' in told
    assert ' short="x"' in told and ' bpfleet.cut="long,longer"' in told


def test_a_message_that_is_too_long_even_then_is_refused() -> None:
    with pytest.raises(ValueError, match="where 2048 are allowed"):
        message(2048, **{f"name{number}": "z" * 100 for number in range(100)})
