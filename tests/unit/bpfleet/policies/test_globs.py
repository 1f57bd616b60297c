import random
import re
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from bpfleet.policies.globs import MAX_PATTERN, PathGlob, TextGlob

PATHS = (
    ("/etc/shadow", ["/etc/shadow", "/etc//shadow", "/etc/./shadow", "/etc/../etc/shadow"], ["/etc/shadow-", "/etc"]),
    ("/tmp/**", ["/tmp/x", "/tmp/a/b/c", "/tmp/.x"], ["/tmp", "/tmpx/a", "/var/tmp/x", "tmp/x"]),
    ("/tmp/*", ["/tmp/x"], ["/tmp/a/b", "/tmp"]),
    ("/run/**/token", ["/run/token", "/run/a/token", "/run/a/b/token"], ["/run/a/tokens", "/var/run/token"]),
    ("/**/id_rsa", ["/id_rsa", "/root/.ssh/id_rsa"], ["/root/id_rsa.pub"]),
    ("/a/**/b/**/c", ["/a/b/c", "/a/x/b/y/z/c", "/a/b/b/c"], ["/a/c", "/a/x/c/b", "/b/c"]),
    ("/usr/bin/python3.?", ["/usr/bin/python3.1"], ["/usr/bin/python3.", "/usr/bin/python3/x"]),
    ("/proc/*/mem", ["/proc/1/mem", "/proc/self/mem"], ["/proc/1/task/1/mem"]),
    ("bash", ["/bin/bash", "bash", "/usr/local/bin/bash"], ["/bin/bash/x", "/bin/rbash", "/bin/bash5"]),
    ("*.sock", ["/run/a.sock", "x.sock"], ["/run/a.sock/x"]),
)


@pytest.mark.parametrize(("pattern", "inside", "outside"), PATHS)
def test_a_path_is_matched_by_its_components(pattern: str, inside: list[str], outside: list[str]) -> None:
    glob = PathGlob(pattern)
    assert [path for path in inside if not glob.matches(path)] == []
    assert [path for path in outside if glob.matches(path)] == []


@pytest.mark.parametrize(
    ("pattern", "path", "may"),
    [
        ("/tmp/**", "/tmp/.../x", True),
        ("/tmp/**", ".../a/x", True),
        ("/tmp/**", "/usr/.../x", False),
        ("/etc/shadow", "/etc/.../shadow", True),
        ("/etc/shadow", ".../shadow", True),
        ("/etc/shadow", ".../passwd", False),
        ("/a/**/b", "/a/x/.../b", True),
        ("/a/**/b", "/a/x/.../c", False),
        ("/tmp/**", "/tmp/x", False),
        ("shadow", ".../shadow", False),
        ("shadow", "/etc/...", True),
    ],
)
def test_what_was_left_out_of_a_path_may_be_what_is_asked_for(pattern: str, path: str, may: bool) -> None:
    assert PathGlob(pattern).may_match(path) == may


@pytest.mark.parametrize(
    ("pattern", "anchor"),
    [
        ("/etc/shadow", b"shadow"),
        ("/tmp/**", b"tmp"),
        ("/run/*/token", b"token"),
        ("/run/**/a*", b"run"),
        ("id_rsa", b"id_rsa"),
        ("*.pem", b""),
        ("/**", b""),
        ("/etc/p\u00e4sse", "p\u00e4sse".encode()),
    ],
)
def test_the_anchor_is_the_last_component_without_a_wildcard(pattern: str, anchor: bytes) -> None:
    assert PathGlob(pattern).anchor == anchor


def test_what_matches_has_the_anchor_among_its_components() -> None:
    for pattern, inside, _ in PATHS:
        glob = PathGlob(pattern)
        for path in inside:
            assert not glob.anchor or glob.anchor.decode() in path.split("/")


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "an empty pattern"),
        ("etc/shadow", "neither an absolute path nor a name"),
        ("/etc//shadow", "empty, . or .."),
        ("/etc/../shadow", "empty, . or .."),
        ("/etc/**.conf", "a component of its own"),
        ("/etc/\x1b[31m", "cannot be seen"),
        ("/" + "a" * MAX_PATTERN, f"{MAX_PATTERN + 1} characters; {MAX_PATTERN} are allowed"),
    ],
)
def test_a_path_that_can_never_be_is_refused(pattern: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        PathGlob(pattern)


def test_a_text_is_matched_as_the_regular_expression_of_the_same_meaning_does() -> None:
    """On short texts, where that one has no time to explode."""
    dice = random.Random(23)
    for _ in range(5_000):
        pattern = "".join(dice.choices("ab*?/.", k=dice.randrange(1, 7)))
        text = "".join(dice.choices("ab/.\n", k=dice.randrange(8)))
        expected = "".join({"*": ".*", "?": "."}.get(each, re.escape(each)) for each in pattern)
        assert TextGlob(pattern).matches(text) == bool(re.fullmatch(expected, text, re.DOTALL)), (pattern, text)


def test_a_path_is_matched_as_the_regular_expression_of_the_same_meaning_does() -> None:
    dice = random.Random(29)
    for _ in range(5_000):
        components = [dice.choice(("a", "b", "*", "**", "a*", "?", "*b*")) for _ in range(dice.randrange(1, 5))]
        text = "/" + "/".join(dice.choice(("a", "b", "ab", "aab")) for _ in range(dice.randrange(1, 6)))
        found = PathGlob("/" + "/".join(components)).matches(text)
        assert found == bool(re.fullmatch(_expression(components), text)), (components, text)


def _expression(components: list[str]) -> str:
    *first, last = components
    inner = "".join("(/[^/]+)*" if each == "**" else f"/{_component(each)}" for each in first)
    return inner + ("(/[^/]+)+" if last == "**" else f"/{_component(last)}")


def _component(text: str) -> str:
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(each, each) for each in text)


def steps(work: Callable[[], object]) -> int:
    """Calls of functions, ours and the interpreter's."""
    count = 0

    def on_call(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(on_call)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


def test_a_pattern_that_makes_others_explode_takes_as_many_steps_as_it_has_pieces() -> None:
    """`.*a.*a.*a...b` takes an engine that goes back some 10**20 steps on this text."""
    stars = "*a" * 200 + "*b"
    for glob, text in ((TextGlob(stars), "a" * 1024), (TextGlob("*?a" * 150 + "b"), "a" * 1024)):
        assert not glob.matches(text)
        assert steps(lambda glob=glob, text=text: glob.matches(text)) < 5 * 202  # type: ignore[misc]
    deep = PathGlob("/" + "**/a*b*/" * 50 + "c")
    path = "/" + "ab/" * 341 + "d"
    assert not deep.matches(path)
    assert steps(lambda: deep.matches(path)) < 20 * 342 * 51
