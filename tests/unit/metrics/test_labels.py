import pytest
from prometheus_client.parser import text_string_to_metric_families as parse

from agent.metrics import labels

HOSTILE = (
    'quote"quote',
    "back\\slash",
    "line\nfeed",
    "\\n is not a line feed",
    'all\\"\n\\\\"',
    'a="b",c="d"} 1\nforged_total 23',
    "\r\n\t\x00\x1b[31mred\x07",
    "<script>alert(1)</script>",
    "${jndi:ldap://x}",
    "naïve Grüße 日本語 🐝",
    "\u202eright to left",
    "zero\u200bwidth",
    " leading and trailing ",
    "# HELP x y",
    "",
)


@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_values_are_read_back_as_they_were(value: str) -> None:
    (family,) = parse(f"x{{{labels.pairs(('one', 'two'), (labels.clean(value), 'end'))}}} 1\n")
    assert family.samples[0].labels == {"one": value, "two": "end"}


def test_bytes_that_are_not_utf8_become_visible_and_can_be_encoded() -> None:
    """A cgroup's name is any bytes; Python decodes them to surrogates, which no page can hold."""
    shown = labels.clean(b"caf\xe9".decode("utf-8", "surrogateescape"))
    assert shown.startswith("caf\\udce9~")
    assert shown.encode()


def test_different_values_stay_different_however_they_are_repaired() -> None:
    surrogate, literal = "caf\udce9", "caf\\udce9"
    assert labels.clean(surrogate) != labels.clean(literal)
    long = "x" * 5000
    cut = labels.clean(long + "a"), labels.clean(long + "b")
    assert cut[0] != cut[1]
    assert {len(value) for value in cut} == {labels.MAX_LENGTH}


def test_a_kubernetes_name_of_the_longest_kind_is_not_cut() -> None:
    assert labels.clean("a" * 253) == "a" * 253
