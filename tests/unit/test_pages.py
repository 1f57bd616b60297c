import pytest

from agent.pages import Point, parse

HOSTILE = [
    'a"b',
    "a\\b",
    "a\nb",
    "}",
    '"} 1\nother{x="',
    "\\n",
    "\x1b[31m",
    "[bold]x[/bold]",
    "é\u202e\u0000",
    "",
]


def escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def test_only_the_families_asked_for_are_read() -> None:
    page = '# HELP a_total x\n# TYPE a_total counter\na_total{x="1"} 5\na_total_more 6\nb 7\n'
    assert list(parse(page, {"a_total", "b"})) == [Point("a_total", {"x": "1"}, 5.0), Point("b", {}, 7.0)]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_value_comes_back_as_it_was(text: str) -> None:
    page = f'a{{first="{escape(text)}",second="2"}} 1\n'
    assert list(parse(page, {"a"})) == [Point("a", {"first": text, "second": "2"}, 1.0)]


@pytest.mark.parametrize(
    ("text", "value"), [("+Inf", float("inf")), ("1e+06", 1e6), ("0.5", 0.5), ("3 1700000000", 3.0)]
)
def test_values_are_floats_and_a_timestamp_is_passed_over(text: str, value: float) -> None:
    assert next(parse(f"a {text}\n", {"a"})).value == value


@pytest.mark.parametrize("line", ["a", "a{", 'a{x="1} 5', "a{x=1} 5 6 7{", "a x"])
def test_what_is_no_line_of_metrics_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        list(parse(line, {"a"}))
