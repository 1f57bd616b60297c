import pytest
from tests.support.http_inputs import CAPTURES, heads

from agent.protocols import http1
from agent.protocols.http1 import MAX_HEAD, Head, Target, parse_request, split_target

READ = (
    Head("GET", "/index.html?q=1", "shop.example:8080", "1.1", True),
    Head("POST", "/api/v1/users/23/orders", "api.shop.example", "1.1", True),
    Head("GET", "/orders/550e8400-e29b-41d4-a716-446655440000", "backend", "1.0", True),
    Head("CONNECT", "db.example:5432", "db.example:5432", "1.1", True),
    Head("GET", "http://user:geheim@proxy.example/a/b?c=d", "user:geheim@proxy.example", "1.1", True),
    Head("OPTIONS", "*", "[2001:db8::1]:8443", "1.1", True),
    Head("BREW", "/pot-0", "pot.example", "1.1", True),
    Head("PUT", "/a%20b/%C3%BC", "folded.example", "1.1", True),
    Head("PATCH", "/caf\xc3\xa9/\x1b[31m", "first.example", "1.1", True),
)

BOTH = list(zip(CAPTURES, READ, strict=True))


@pytest.mark.parametrize(("capture", "read"), BOTH)
def test_each_capture_says_what_it_asks_for(capture: bytes, read: Head) -> None:
    assert parse_request(capture) == read


@pytest.mark.parametrize(("capture", "read"), BOTH)
def test_a_head_that_is_cut_anywhere_says_nothing_wrong(capture: bytes, read: Head) -> None:
    for length in range(len(capture)):
        cut = parse_request(capture[:length])
        assert cut.method in ("", read.method)
        assert read.target.startswith(cut.target)
        assert cut.host in ("", read.host) or read.target.startswith("http://") or cut.host == _own_field(capture)
        assert cut.version in ("", read.version)
        assert not cut.version or cut.target == read.target
        assert not cut.is_complete


def _own_field(capture: bytes) -> str:
    """What the Host field says, where the target names another."""
    return parse_request(b"GET / HTTP/1.1\r\n" + capture.partition(b"\n")[2]).host


@pytest.mark.parametrize("capture", CAPTURES)
def test_what_is_left_of_a_head_that_was_split_anywhere_is_read_without_harm(capture: bytes) -> None:
    for at in range(len(capture) + 1):
        rest = parse_request(capture[at:])
        assert all(text in capture.decode("latin-1") for text in rest[:2])
        assert parse_request(capture[:at] + capture[at:]) == parse_request(capture)


@pytest.mark.parametrize(
    ("head", "read"),
    [
        (b"", Head("", "", "", "", False)),
        (b"\r\n", Head("", "", "", "", False)),
        (b"GET", Head("", "", "", "", False)),
        (b"GET /a", Head("GET", "/a", "", "", False)),
        (b"GET /a HTT", Head("GET", "/a", "", "", False)),
        (b"GET /a b HTTP/1.1\n\n", Head("GET", "/a b", "", "1.1", True)),
        (b"GET /a\r\n\r\n", Head("GET", "/a", "", "", True)),
        (b"GET /a HTTP/2.0\r\n\r\n", Head("GET", "/a HTTP/2.0", "", "", True)),
        (b"GET / HTTP/1.1\r\nHost : spaced\r\n\r\n", Head("GET", "/", "spaced", "1.1", True)),
        (b"GET / HTTP/1.1\r\nX-Host: no\r\nHost: yes\r\n\r\n", Head("GET", "/", "yes", "1.1", True)),
        (b"GET / HTTP/1.1\r\nHost: half", Head("GET", "/", "", "1.1", False)),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b", Head("GET", "/", "", "1.1", False)),
        (b"\x00\xff\n\n", Head("\x00\xff", "", "", "", True)),
    ],
)
def test_what_is_not_there_is_empty(head: bytes, read: Head) -> None:
    assert parse_request(head) == read


@pytest.mark.parametrize(
    ("method", "target", "parts"),
    [
        ("GET", "/a?b#c", Target("", "/a", "b", True)),
        ("GET", "/a#b?c", Target("", "/a", "", False)),
        ("GET", "", Target("", "", "")),
        ("GET", "?", Target("", "/", "", True)),
        ("GET", "//a/b", Target("", "//a/b", "")),
        ("GET", "/go?to=http://b.example/", Target("", "/go", "to=http://b.example/", True)),
        ("GET", "http://a.example", Target("a.example", "/", "")),
        ("GET", "HTTPS://a.example:1?b", Target("a.example:1", "/", "b", True)),
        ("GET", "a b://c/", Target("", "a b://c/", "")),
        ("OPTIONS", "*", Target("", "*", "")),
        ("CONNECT", "a.example:443", Target("a.example:443", "", "")),
    ],
)
def test_a_target_is_taken_apart_by_its_form(method: str, target: str, parts: Target) -> None:
    assert split_target(method, target) == parts


def test_only_so_much_of_a_head_is_looked_at() -> None:
    long = b"GET /" + b"a" * 100_000
    assert len(parse_request(long).target) == MAX_HEAD - len("GET ")
    assert parse_request(long + b" HTTP/1.1\r\n\r\n") == parse_request(long)
    many = b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * http1.MAX_LINES + b"Host: late\r\n\r\n"
    assert parse_request(many) == Head("GET", "/", "", "1.1", False)


def test_twenty_thousand_heads_raise_nothing() -> None:
    complete = 0
    for head in heads(20_000):
        found = parse_request(head)
        assert len(found.method) + len(found.target) <= len(head)
        assert found.version == "" or (found.version[:2] == "1." and found.version[2].isdigit())
        split_target(found.method, found.target)
        complete += found.is_complete
    assert 1000 < complete < 19_000
