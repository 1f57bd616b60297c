import pytest
from tests.support.http_inputs import paths
from tests.unit.hostile import STRINGS

from agent.protocols.routes import CUT, MAX_ROUTE, MAX_ROUTES, MAX_WORKLOADS, OTHER, Routes, pattern, template


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/", "/"),
        ("*", "*"),
        ("/users/23/orders/42", "/users/{id}/orders/{id}"),
        ("/users/%32%33", "/users/{id}"),
        ("/users/-1.5", "/users/{id}"),
        ("/a/550E8400-e29b-41d4-a716-446655440000/b", "/a/{uuid}/b"),
        ("/a/urn:uuid:550e8400-e29b-41d4-a716-446655440000", "/a/{uuid}"),
        ("/2026-11-21/20261121/2026-11", "/{date}/{date}/{date}"),
        ("/2026-11-21T17:00:00Z", "/{date}"),
        ("/20261399", "/{id}"),
        ("/mail/alice%40example.com", "/mail/{email}"),
        ("/mail/alice%2540example.com", "/mail/{email}"),
        ("/192.0.2.7/[2001:db8::1]", "/{address}/{address}"),
        ("/commit/2bd4e9c", "/commit/{token}"),
        ("/commit/397fdde0123456789012345678901234567890ab", "/commit/{hash}"),
        ("/main.3f2a9c1b.js", "/main.{hash}.js"),
        ("/order-23/item42", "/order-{id}/item{id}"),
        ("/web-99b876dc4-4wqmg", "/web-{hash}-{token}"),
        ("/1.2.3", "/{id}"),
        ("/1-a-2-b-3-c-4", "/{id}"),
        ("/dGhpc2lzYXNlY3JldHRva2Vu", "/{token}"),
        ("/eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln", "/{token}"),
        ("/ghp_0123456789abcdefghijABCDEFGHIJ012345", "/{token}"),
        ("/reset-password/hunter", "/reset-password/{token}"),
        ("/password/reset", "/password/reset"),
        ("/password//sesame", "/password//{token}"),
        ("/password/./sesame", "/password/{token}/{token}"),
        ("/proxy/https://alice:sesame@box/x", "/proxy/https://{token}/x"),
        ("/proxy/https:/alice:sesame@box/x", "/proxy/https:/{token}/x"),
        ("//sesame@box/x", "//{token}/x"),
        ("/left-pad@latest", "/left-pad@latest"),
        ("/search/red%20shoes", "/search/{text}"),
        ("/a/caf%C3%A9", "/a/{text}"),
        ("/map;zoom=12", "/{text}"),
        ("/@babel/core/~alice", "/@{name}/core/~{name}"),
        ("/api/v1/oauth2/authorize", "/api/v1/oauth2/authorize"),
        ("/apis/apps/v1beta1/deployments", "/apis/apps/v1beta1/deployments"),
        ("/getUserAccountDetailsByIdentifier", "/getUserAccountDetailsByIdentifier"),
        ("/internationalization/index.php", "/internationalization/index.php"),
        ("/.well-known/openid-configuration", "/.well-known/openid-configuration"),
        ("/v1/books:batchGet", "/v1/books:batchGet"),
        ("/static/css/main.css", "/static/css/main.css"),
        ("//a//", "//a//"),
        ("/a/../b", "/a/../b"),
        ("/" + "a" * 300, "/{token}"),
        ("/a" * 30, "/a" * 16 + "/..."),
    ],
)
def test_what_is_somebodys_becomes_the_name_of_its_kind(path: str, route: str) -> None:
    assert template(path) == route


def test_the_end_of_a_path_that_was_cut_is_not_guessed() -> None:
    assert template("/users/alice/pass", is_cut=True) == f"/users/alice/{CUT}"
    assert template("/" + "ab/" * 1000).endswith(CUT)


def test_patterns_come_first_the_namespaces_own_before_those_for_all() -> None:
    made = Routes({"shop": ["/users/{user}/orders/{order}", "/files/*"], "*": ["/users/{name}", "/files/{x}/y"]}, 9)
    for namespace, path, route in (
        ("shop", "/users/alice/orders/red", "/users/{user}/orders/{order}"),
        ("shop", "/users/alice/orders/red/", "/users/{user}/orders/{order}"),
        ("shop", "/users/alice", "/users/{name}"),
        ("shop", "/users/alice/orders", "/users/alice/orders"),
        ("shop", "/users//orders/red", "/users//orders/red"),
        ("shop", "/files/a/b/c", "/files/*"),
        ("shop", "/files/x/y", "/files/*"),
        ("lab", "/files/x/y", "/files/{x}/y"),
        ("lab", "/users/23/orders/42", "/users/{id}/orders/{id}"),
    ):
        assert made.route(namespace, "web", path) == route


@pytest.mark.parametrize(
    "text", ["", "users", "/a/{", "/a/{}", "/a/*/b", "/a//b", "/a b", "/ü", "/" + "a" * 300, "/a?b"]
)
def test_a_pattern_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a route|each part"):
        pattern(text)


def test_a_workload_has_so_many_routes_and_the_rest_are_other() -> None:
    made = Routes({}, 23)
    words = ["".join(chr(ord("a") + (number // 26**place) % 26) for place in range(3)) for number in range(2000)]
    found = [made.route("shop", "web", f"/{word}") for word in words]
    assert found[:23] == [f"/{word}" for word in words[:23]]
    assert set(found[23:]) == {OTHER}
    assert made.route("shop", "web", f"/{words[7]}") == f"/{words[7]}"
    assert made.route("shop", "db", f"/{words[99]}") == f"/{words[99]}"


def test_memory_is_bounded_over_all_workloads() -> None:
    made = Routes({}, 10_000)
    for number in range(MAX_WORKLOADS + 100):
        made.route("shop", f"web-{number}", "/")
    assert len(made) == MAX_WORKLOADS
    for number in range(2 * MAX_ROUTES):
        made.bounded("shop", f"many-{number % 3}", f"/{number}")
    assert len(made) <= MAX_ROUTES


def test_twenty_thousand_paths_give_inert_routes_of_bounded_length() -> None:
    made = Routes({"shop": ["/users/{user}/*"]}, 100)
    for path in paths(20_000):
        found = made.template("shop", path)
        assert len(found) <= MAX_ROUTE and found.isascii() and (found.isprintable() or not found)
    assert len(made) == 0


@pytest.mark.parametrize("text", STRINGS)
def test_a_hostile_path_gives_an_inert_route(text: str) -> None:
    for path in (
        text,
        "/" + text,
        f"/users/{text}/x",
        "".join(f"%{byte:02x}" for byte in text.encode("utf-8", "replace")),
    ):
        found = template(path)
        assert found.isascii() and (found.isprintable() or not found) and len(found) <= MAX_ROUTE


def test_distinct_paths_leave_no_more_than_the_bound() -> None:
    made = Routes({}, MAX_ROUTES)
    for number in range(2 * MAX_ROUTES):
        made.route("shop", "web", f"/{number:x}x/{number}")
    assert len(made) <= MAX_ROUTES
