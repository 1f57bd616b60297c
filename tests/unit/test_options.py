import pytest

from agent.options import MAX_BOUNDS, Leaf, Option, Value, numeral, shown


def leaf(default: Value, **rules: object) -> Leaf:
    return Leaf(("limits", "some_rows"), Option("Rows.", **rules), default)  # type: ignore[arg-type]


def test_one_name_makes_the_flag_and_the_variable() -> None:
    assert leaf(1).name == "limits.some_rows"
    assert leaf(1).flag == "--limits-some-rows"
    assert leaf(1).variable == "BPFLEET_LIMITS_SOME_ROWS"


@pytest.mark.parametrize(
    ("default", "kind"),
    [("", "text"), (1, "integer"), (1.0, "number"), ((), "names"), (("a",), "names"), ((1.0,), "numbers")],
)
def test_the_default_tells_the_kind(default: Value, kind: str) -> None:
    assert leaf(default).kind == kind


def test_what_is_allowed_is_told_in_words() -> None:
    assert leaf("a", choices=("a", "b")).allowed == "one of a, b"
    assert leaf(5, minimum=1, maximum=4_194_304).allowed == "a whole number from 1 to 4194304"
    assert leaf((1.0,), minimum=1e-6, maximum=60.0).allowed == "1 to 64 ascending numbers from 0.000001 to 60"
    assert leaf("", pattern="x*", allowed="some x").allowed == "some x"
    assert leaf("").allowed == "text"


@pytest.mark.parametrize("value", [0, 11, float("nan"), float("inf"), -(10**400), 10**400])
def test_numbers_outside_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="is out of range"):
        Option("", minimum=1, maximum=10).check(value)


def test_a_list_is_not_too_long() -> None:
    bounds = Option("", minimum=0, maximum=1000)
    bounds.check(tuple(float(n) for n in range(MAX_BOUNDS)))
    with pytest.raises(ValueError, match="it has 65 elements"):
        bounds.check(tuple(float(n) for n in range(MAX_BOUNDS + 1)))


def test_a_pattern_holds_for_the_whole_text() -> None:
    with pytest.raises(ValueError, match="does not look like that"):
        Option("", pattern="[a-z]+").check("abc\n")


@pytest.mark.parametrize(("value", "text"), [(1e-6, "0.000001"), (0.5, "0.5"), (2592000.0, "2592000"), (7, "7")])
def test_a_numeral_has_no_exponent(value: float, text: str) -> None:
    assert numeral(value) == text


def test_a_shown_value_is_short_and_cannot_move_the_cursor() -> None:
    assert shown("\x1b[2J" + "a" * 100) == "'\\x1b[2J" + "a" * 49 + "..."
