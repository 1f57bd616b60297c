import argparse

import pytest

from agent.request_filters import add_to, question_of
from agent.request_pages import Request

REQUEST: Request = {
    "k8s.namespace.name": "shop",
    "k8s.pod.name": "web-7d9f8b6c5d-x2x4z",
    "bpfleet.workload.name": "web",
    "bpfleet.http.role": "server",
    "http.request.method": "GET",
    "http.response.status_code": 404,
    "bpfleet.duration": 0.05,
    "server.address": "shop.example.org",
    "url.path": "/api/orders/new",
}


def matches(words: str) -> bool:
    parser = argparse.ArgumentParser()
    add_to(parser)
    return question_of(parser.parse_args(words.split()))(REQUEST)


def test_without_filters_everything_is_shown() -> None:
    assert matches("")
    parser = argparse.ArgumentParser()
    add_to(parser)
    assert question_of(parser.parse_args([]))({})


@pytest.mark.parametrize(
    ("words", "is_shown"),
    [
        ("--namespace shop", True),
        ("--namespace sho*", True),
        ("--namespace a,shop", True),
        ("--namespace Shop", False),
        ("--workload web", True),
        ("--workload db", False),
        ("--pod web-*", True),
        ("--pod web", False),
        ("--role server", True),
        ("--role client", False),
        ("--method GET", True),
        ("--method POST,GET", True),
        ("--method get", False),
        ("--host *.example.org", True),
        ("--host example.org", False),
        ("--path /api", True),
        ("--path /api/orders/new", True),
        ("--path /api/*/new", True),
        ("--path *new", True),
        ("--path /orders", False),
        ("--path /api/orders/new/", False),
        ("--namespace shop --method POST", False),
    ],
)
def test_names_methods_and_paths(words: str, is_shown: bool) -> None:
    assert matches(words) == is_shown


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("404", {404}),
        ("4xx", {400, 404, 499}),
        ("4XX", {400, 404, 499}),
        (">=400", {400, 404, 499, 500, 599}),
        (">404", {499, 500, 599}),
        ("<400", {101, 200, 399}),
        ("<=200", {101, 200}),
        ("200-399", {200, 399}),
        ("5xx,200", {200, 500, 599}),
        ("none", {None}),
        ("none,5xx", {None, 500, 599}),
    ],
)
def test_statuses(words: str, shown: set[int | None]) -> None:
    every = (None, 101, 200, 399, 400, 404, 499, 500, 599)
    name = "http.response.status_code"
    parser = argparse.ArgumentParser()
    add_to(parser)
    is_wanted = question_of(parser.parse_args(["--status", words]))
    assert {number for number in every if is_wanted({**REQUEST, name: number})} == shown


@pytest.mark.parametrize(
    ("words", "is_shown"), [("50ms", True), ("0.05s", True), ("50000us", True), ("50.1ms", False), ("1s", False)]
)
def test_a_duration_of_at_least(words: str, is_shown: bool) -> None:
    assert matches(f"--min-duration {words}") == is_shown


def test_a_method_that_is_no_usual_one_is_found_as_it_was_written() -> None:
    parser = argparse.ArgumentParser()
    add_to(parser)
    brew: Request = {"http.request.method": "_OTHER", "http.request.method_original": "BREW"}
    assert question_of(parser.parse_args(["--method", "BREW"]))(brew)
    assert not question_of(parser.parse_args(["--method", "_OTHER"]))(brew)


@pytest.mark.parametrize("value", [None, True, [], {}, "x", 10**400, float("inf")])
@pytest.mark.parametrize(
    "words", ["--status 404", "--min-duration 1us", "--path /", "--namespace shop", "--method GET"]
)
def test_what_has_another_type_than_it_should_is_not_found(words: str, value: object) -> None:
    parser = argparse.ArgumentParser()
    add_to(parser)
    assert not question_of(parser.parse_args(words.split()))(dict.fromkeys(REQUEST, value))


@pytest.mark.parametrize(
    ("words", "allowed"),
    [
        *((f"--status {wrong}", "200, 5xx") for wrong in ("x", "4x", "=400", "=>400", "1000", "99", "200-", "٢٠٠")),
        *((f"--min-duration {wrong}", "50ms") for wrong in ("5", "ms", "1m", "nan", "1e3s", "inf")),
        *((f"--method {wrong}", "") for wrong in ("GET,", "G(T", "x" * 41)),
        ("--role peer", "client"),
        ("--status 200,", "empty part"),
        ("--min-duration=-1s", "50ms"),
    ],
)
def test_wrong_words_are_refused_with_what_is_allowed(
    words: str, allowed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        matches(words)
    assert allowed in capsys.readouterr().err
