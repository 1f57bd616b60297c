"""Reading YAML with lines."""

from pathlib import Path

import pytest

from bpfleet.documents import parse, read
from bpfleet.errors import BundleError

FILE = Path("some.yaml")


def test_a_place_is_the_line_of_the_key_or_item() -> None:
    (document,) = parse("a:\n  b:\n    - x\n    - c: 1\n      d: 2\n", FILE)

    assert document.value == {"a": {"b": ["x", {"c": 1, "d": 2}]}}
    assert [document.line(keys) for keys in ((), ("a",), ("a", "b"), ("a", "b", 1), ("a", "b", 1, "d"))] == [
        1,
        1,
        2,
        4,
        5,
    ]
    assert document.place(("a", "b", 1, "missing")) == "some.yaml:4"


def test_a_key_that_is_no_text_has_its_line_too() -> None:
    (document,) = parse("a:\n  =: v\n  23: x\n  yes: y\n  null: z\n", FILE)

    assert [document.line(("a", key)) for key in (23, True, None, 2)] == [3, 4, 5, 1]  # type: ignore[list-item]


def test_lines_go_on_from_document_to_document_and_empty_ones_are_left_out() -> None:
    documents = list(parse("# nothing\n---\na: 1\n---\n---\nb: 2\n", FILE))

    assert [(each.value, each.line()) for each in documents] == [({"a": 1}, 3), ({"b": 2}, 6)]


def test_a_bare_equals_sign_and_a_date_are_texts() -> None:
    (document,) = parse("a: =\nb: 2026-01-02\n", FILE)

    assert document.value == {"a": "=", "b": "2026-01-02"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "some.yaml:3: not valid YAML: a stands twice"),
        ("a: [1\n", "some.yaml:2: not valid YAML"),
        ("ok: 1\n---\na: &x [*x, b: ]:\n", "some.yaml:3: not valid YAML"),
        ("a: !!python/object:os.system 1\n", "some.yaml:1: not valid YAML"),
        ("[" * 600, "some.yaml:1: not valid YAML: maximum recursion"),
        ("a: 1\nb: !!map [x]\n", "some.yaml:2: not valid YAML: expected a mapping"),
        ("a: 1\nb: !!int ''\n", "some.yaml:2: not valid YAML: no value of tag:yaml.org,2002:int"),
        ("a: 1\nb: !!bool maybe\n", "some.yaml:2: not valid YAML: no value of tag:yaml.org,2002:bool"),
        ("a: 1\nb: [!!float x]\n", "some.yaml:2: not valid YAML: no value of tag:yaml.org,2002:float"),
        ("a: 1\nb: 0x\n? !!float ''\n: c", "some.yaml:3: not valid YAML: no value of"),
        ("a: 1\nb: \x07\n", r"some.yaml:2: not valid YAML: '\x07' is not allowed"),
    ],
)
def test_bad_yaml_is_named_with_its_line(text: str, message: str) -> None:
    with pytest.raises(BundleError) as error:
        list(parse(text, FILE))

    assert str(error.value).startswith(message)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content in (None, b"a: 1\nb: \xff\n"):
        file = tmp_path / "x.yaml"
        if content:
            file.write_bytes(content)
        with pytest.raises(BundleError, match="x.yaml(: No such file|:2: not UTF-8)"):
            read(file)
