import pytest

from bpfleet.options import Option, OptionValue


@pytest.mark.parametrize(
    ("option", "value", "given"),
    [
        (Option("a", 1, "", minimum=1, maximum=9), 9, 9),
        (Option("a", 1.5, ""), 2, 2.0),
        (Option("a", False, ""), True, True),
        (Option("a", "x", "", choices=("x", "y")), "y", "y"),
        (Option("a", (), "", pattern="/.*"), ["/a", "/b"], ("/a", "/b")),
        (Option("a", ("x",), ""), [], ()),
    ],
)
def test_a_value_of_the_defaults_type_is_taken(option: Option, value: object, given: OptionValue) -> None:
    assert option.checked(value) == given
    assert type(option.checked(value)) is type(option.default)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        (Option("a", 1, "", minimum=1, maximum=9), 0, "a whole number, at least 1, at most 9"),
        (Option("a", 1, ""), 1.5, "a whole number"),
        (Option("a", 1, ""), True, "a whole number"),
        (Option("a", 1.0, "", minimum=0), float("nan"), "a number, at least 0"),
        (Option("a", False, ""), 1, "true or false"),
        (Option("a", False, ""), "yes", "true or false"),
        (Option("a", "x", "", choices=("x", "y")), "z", "text, one of x, y"),
        (Option("a", "x", ""), 3, "text"),
        (Option("a", (), "", pattern="/.*"), ["a"], "a list of texts, like /.*"),
        (Option("a", (), ""), "a", "a list of texts"),
        (Option("a", (), ""), [1], "a list of texts"),
    ],
)
def test_another_one_is_refused_with_what_is_allowed(option: Option, value: object, allowed: str) -> None:
    with pytest.raises(ValueError, match=f"^it must be {allowed.replace('*', '[*]')}$"):
        option.checked(value)
