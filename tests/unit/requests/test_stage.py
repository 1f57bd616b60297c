import json

import pytest
from tests.support.http_inputs import heads
from tests.support.planted import COUNT, planted
from tests.unit.hostile import STRINGS
from tests.unit.requests.asked import SHOP, Book, Clock, after, get, request

from agent.events import records
from agent.protocols.routes import Routes
from agent.requests.policy import Policies
from agent.requests.stage import RequestStage
from agent.settings import Requests
from agent.sinks.jsonl import Jsonl
from bpfleet.events import Attribute, Record

JSONL = Jsonl("-")


def staged(requests: Requests | None = None, durations: object = None, **annotations: str) -> RequestStage:
    book = Book()
    if annotations:
        book.annotate("shop", **annotations)
    made = Policies(requests or Requests(log="all"), book, Clock())
    return RequestStage(made, Routes({"shop": ["/teams/{team}"]}, 100), durations)  # type: ignore[arg-type]


CLOSED = staged()
OPEN = staged(queries_until=after(days=1), paths_until=after(days=1))


def told(stage: RequestStage, record: Record) -> dict[str, Attribute]:
    left = stage(record, SHOP)
    assert isinstance(left, Record)
    return dict(left.attributes)


def test_by_default_a_path_leaves_as_its_template_and_a_query_not_at_all() -> None:
    left = told(CLOSED, get("/users/23/orders?page=2&token=x#top", "Shop.Example:8080"))
    assert left == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "url.path": "/users/{id}/orders",
        "http.route": "/users/{id}/orders",
        "server.address": "shop.example",
        "server.port": 8080,
        "network.protocol.version": "1.1",
        "bpfleet.http.role": "server",
        "bpfleet.duration": 0.25,
    }


def test_a_namespace_that_has_opened_them_tells_paths_and_queries_without_secrets() -> None:
    left = told(OPEN, get("/users/23/orders?page=2&token=hunter2"))
    assert (left["url.path"], left["url.query"]) == ("/users/23/orders", "page=2&token=REDACTED")
    assert left["http.route"] == "/users/{id}/orders"
    assert "url.query" not in told(OPEN, get("/users/23"))


def test_patterns_name_routes() -> None:
    left = told(CLOSED, get("/teams/red"))
    assert left["url.path"] == left["http.route"] == "/teams/{team}"


def test_routes_beyond_the_bound_are_other_and_their_paths_still_templates() -> None:
    stage = RequestStage(Policies(Requests(log="all"), None, Clock()), Routes({}, 1))
    told(stage, get("/a"))
    left = told(stage, get("/b/23"))
    assert (left["http.route"], left["url.path"]) == ("other", "/b/{id}")


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"CONNECT db.example:5432 HTTP/1.1\r\nHost: x\r\n\r\n", {"server.address": "db.example", "server.port": 5432}),
        (b"GET * HTTP/1.1\r\nHost: [2001:DB8::1]:80\r\n\r\n", {"url.path": "*", "server.address": "2001:db8::1"}),
        (b"GET http://u:p@a.example/b HTTP/1.1\r\nHost: c\r\n\r\n", {"url.path": "/b", "server.address": "a.example"}),
        (b"BREW /pot HTTP/1.1\r\n\r\n", {"http.request.method_original": "BREW", "http.request.method": "_OTHER"}),
        (b"GET\t/login?next=sesame HTTP/1.1\r\n\r\n", {"http.request.method_original": "REDACTED"}),
        (b"GET /users/alice/pa", {"url.path": "/users/alice/..."}),
        (b"GET /users/alice/pa?q=ghp_01", {"url.path": "/users/alice/pa"}),
        (b"GET /a HTTP/1.1\r\nHost: a.example:99999\r\n\r\n", {"server.address": "a.example:99999"}),
    ],
)
def test_every_form_of_a_target(head: bytes, expected: dict[str, Attribute]) -> None:
    left = told(CLOSED, request(head))
    assert {name: left[name] for name in expected} == expected


@pytest.mark.parametrize("head", [b"GET http://alice:23", b"GET http://alice:sesame", b"CONNECT alice:23"])
def test_an_authority_whose_end_was_not_seen_may_be_a_password(head: bytes) -> None:
    """As when the next segment begins with @shop.example."""
    for stage in (CLOSED, OPEN):
        told_of = line(stage, request(head))
        assert not any(word in told_of for word in (b"alice", b"sesame", b"server.port")), told_of


def test_a_query_in_the_wrong_place_stays() -> None:
    for head in (b"CONNECT /login?next=sesame", b"GET / HTTP/1.1\r\nHost: a.example/login?next=sesame"):
        assert b"sesame" not in line(CLOSED, request(head + b" HTTP/1.1\r\n\r\n"))


def test_what_was_not_read_is_not_told() -> None:
    left = told(CLOSED, request(b""))
    assert not {"url.path", "http.route", "server.address", "server.port", "network.protocol.version"} & left.keys()
    assert "url.path" not in told(CLOSED, request(b"CONNECT db.example:5432 HTTP/1.1\r\n\r\n"))


@pytest.mark.parametrize(
    ("mode", "left"),
    [
        ("off", []),
        ("errors", [500, 404, "slow"]),
        ("sampled", [200, 500, 404, "slow"]),
        ("all", [200, 500, 404, "slow"]),
    ],
)
def test_what_a_namespace_does_not_want_stays(mode: str, left: list[object]) -> None:
    stage = staged(Requests(log=mode, slow_seconds=0.5))
    asked = {
        200: get("/", status=200),
        500: get("/", status=500),
        404: request(b"GET / HTTP/1.1\r\n\r\n", 404, role="client"),
        "slow": get("/", seconds=0.5),
    }
    assert [what for what, record in asked.items() if stage(record, SHOP) != "policy"] == left
    assert stage.reasons == ("policy",)


def test_whose_requests_nobody_knows_are_not_told() -> None:
    for namespace in ("_unknown", "_other"):
        assert CLOSED(get("/"), (namespace, "", "", namespace, "")) == "policy"
    assert isinstance(CLOSED(get("/"), ("_host", "", "", "nginx.service", "SystemdUnit")), Record)


def test_durations_are_taken_of_what_servers_of_namespaces_that_record_all_have_answered() -> None:
    taken: list[tuple[object, ...]] = []

    class Durations:
        def take(self, *told: object) -> None:
            taken.append(told)

    for mode in ("all", "errors", "sampled"):
        stage = staged(Requests(log=mode), Durations())
        stage(get("/users/23", status=500), SHOP, 7)
        stage(request(b"GET /users/23 HTTP/1.1\r\n\r\n", role="client"), SHOP, 7)
        stage(request(b""), SHOP, 7)
    assert taken == [(7, "GET", "500", "/users/{id}", 0.25)]


def test_settings_change_under_it() -> None:
    stage = staged()
    stage.adjust(Requests(log="off", patterns=("shop=/a/{b}",), namespaces=("lab=all",)))
    assert stage(get("/a/c"), SHOP) == "policy"
    left = stage(get("/a/c"), ("lab", *SHOP[1:]))
    assert isinstance(left, Record) and left.attributes["url.path"] == "/a/c"


# Hostile and secret


def line(stage: RequestStage, record: Record) -> bytes:
    """As it is written, after the way that every event goes."""
    cleaned = {name: records.clean(value) for name, value in record.attributes.items()}
    left = stage(record._replace(attributes=cleaned), SHOP)
    assert isinstance(left, Record)
    for value in left.attributes.values():
        assert not isinstance(value, str) or (value.isascii() and value.isprintable())
    return JSONL.encode(left)


@pytest.mark.parametrize("text", STRINGS)
def test_a_hostile_path_host_or_method_is_inert(text: str) -> None:
    for stage in (CLOSED, OPEN):
        for sent in (
            {"url.path": text},
            {"url.path": f"/{text}?{text}={text}"},
            {"url.path": f"http://{text}/{text}"},
            {"server.address": text},
            {"server.address": f"{text}:80"},
            {"http.request.method": text},
            {"http.request.method": "_OTHER", "http.request.method_original": text},
            {"network.protocol.version": text},
        ):
            written = line(stage, Record("bpfleet.http.request", 0, {}, {"network.protocol.version": "1.1", **sent}))
            assert written.count(b"\n") == 1 and written.endswith(b"\n")
            assert all(0x20 <= byte < 0x7F for byte in written[:-1])
            assert json.loads(written)["event.name"] == "bpfleet.http.request"
            assert len(written) < 4096


def test_three_hundred_planted_secrets_stay() -> None:
    found = planted()
    assert len({secret for secret, _ in found}) == COUNT == 300
    for secret, head in found:
        assert len(secret) >= 6
        for stage in (CLOSED, OPEN):
            for is_whole in (True, False):
                written = line(stage, request(head if is_whole else head[: head.rindex(b" HTTP/1.1")]))
                for form in forms(secret):
                    assert form not in written, (secret, head, written)


def forms(secret: str) -> list[bytes]:
    """What a reader would know it by: whole, percent-encoded, and two thirds of it from its end."""
    quoted = "".join(character if character.isalnum() else f"%{ord(character):02X}" for character in secret)
    return [each.encode() for each in (secret, quoted, secret[len(secret) // 3 :], secret[: 2 * len(secret) // 3])]


def test_a_secret_that_is_cut_at_any_byte_stays() -> None:
    secret = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
    for prefix in ("/files/", "/search?q=", "/a?token="):
        for length in range(6, len(secret) + 1):
            for stage in (CLOSED, OPEN):
                assert b"ghp" not in line(stage, request(f"GET {prefix}{secret[:length]}".encode())), length


def test_four_thousand_heads_go_through_and_come_out_inert() -> None:
    for number, head in enumerate(heads(4_000, seed=7)):
        line((CLOSED, OPEN)[number % 2], request(head))
