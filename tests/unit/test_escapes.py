import pytest

from agent.escapes import MAX_NAME, clean, inert


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("nginx.service", "nginx.service"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\ttab", r"two\nlines\ttab"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_what_is_not_printable_is_escaped_and_the_rest_stays(text: str, shown: str) -> None:
    assert inert(text) == shown


def test_a_long_name_keeps_its_end() -> None:
    assert clean("/system.slice/" + "x" * 100 + "/leaf") == "..." + "x" * (MAX_NAME - 8) + "/leaf"
    assert len(clean("\x00" * 100)) == MAX_NAME
