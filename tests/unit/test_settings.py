import jsonschema
import pytest
import yaml

from agent import settings
from agent.configuration import Configuration, show
from agent.options import MAX_BOUNDS, Value
from agent.settings import Settings, build, clashes, leaves, schema
from bpfleet.events import HTTP_REQUEST, SECURITY_EGRESS


def test_every_setting_has_help_a_flag_and_a_variable_of_its_own() -> None:
    found = list(leaves())
    assert all(leaf.option.help.endswith(".") for leaf in found)
    assert len({leaf.flag for leaf in found}) == len({leaf.variable for leaf in found}) == len(found)


def test_no_variable_looks_like_one_that_kubernetes_makes_for_a_service() -> None:
    from agent.configuration import SERVICE_LINK

    assert not [leaf.variable for leaf in leaves() if SERVICE_LINK.fullmatch(leaf.variable)]


def test_every_default_is_allowed() -> None:
    for leaf in leaves():
        if leaf.name != "collectors":  # the default set is the collectors' own declaration
            leaf.option.check(leaf.default)


def test_the_defaults_go_together() -> None:
    assert list(clashes(Settings())) == []


def test_default_bounds_ascend_and_are_few_enough_for_the_kernel() -> None:
    for bounds in (settings.RTT, settings.CONNECT, settings.LIFETIME, settings.CONGESTION_WINDOW, settings.WINDOW):
        assert list(bounds) == sorted(set(bounds)) and len(bounds) <= MAX_BOUNDS


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:9436", ("127.0.0.1", 9436)), ("[::1]:0", ("::1", 0)), ("node-1.example:80", ("node-1.example", 80))],
)
def test_listen_is_a_host_and_a_port(listen: str, address: tuple[str, int]) -> None:
    assert build({"listen": listen}).address == address


@pytest.mark.parametrize("listen", ["9436", ":9436", "localhost", "::1:80", "a b:80", "127.0.0.1:", "a:1\n"])
def test_what_is_no_address_is_refused(listen: str) -> None:
    option = next(leaf.option for leaf in leaves() if leaf.name == "listen")
    with pytest.raises(ValueError, match="does not look like that"):
        option.check(listen)


@pytest.mark.parametrize(
    ("values", "blamed"),
    [
        ({"limits.series": 100, "limits.series_per_metric": 101}, ("limits.series_per_metric", "limits.series")),
        ({"drain_interval_seconds": 16.0}, ("drain_interval_seconds", "scrape_interval_seconds")),
        ({"identity.keep_seconds": 4.0}, ("identity.keep_seconds", "drain_interval_seconds")),
        (
            {"collectors": ("sockets",), "sockets.interval_seconds": 4.0},
            ("sockets.interval_seconds", "drain_interval_seconds"),
        ),
        ({"flow_idle_seconds": 59.0}, ("flow_idle_seconds", "scrape_interval_seconds")),
        (
            {"identity.kubernetes": "off", "identity.kubeconfig": "/root/.kube/config"},
            ("identity.kubeconfig", "identity.kubernetes"),
        ),
        ({"listen": "127.0.0.1:65536"}, ("listen",)),
        ({"collectors": ("traffic",), "requests.log": "all"}, ("requests.log", "collectors")),
        ({"collectors": ("traffic", "http_log")}, ("collectors",)),
        ({"collectors": ("traffic", "http_bodies")}, ("collectors",)),
        ({"requests.queries": ("shop=2026-02-30T17:00:00Z",)}, ("requests.queries",)),
        ({"requests.paths": ("shop=2026-11-28T25:00:00Z",)}, ("requests.paths",)),
        ({"requests.patterns": ("shop=/a/*/b",)}, ("requests.patterns",)),
    ],
)
def test_impossible_combinations_name_the_settings_to_blame(values: dict[str, Value], blamed: tuple[str, ...]) -> None:
    assert [clash.names for clash in clashes(build(values))] == [blamed]


def test_kubernetes_with_a_static_file_is_fine() -> None:
    both = build({"identity.kubernetes": "on", "identity.static_file": "/etc/bpfleet/identity.yaml"})
    assert list(clashes(both)) == []


def test_the_schema_is_a_schema_and_accepts_what_show_prints() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    shown = yaml.safe_load(show(Configuration(build({"collectors": ("traffic",)}), {})))
    jsonschema.Draft202012Validator(schema()).validate(shown)


@pytest.mark.parametrize(
    "wrong",
    [
        {"limts": {}},
        {"limits": {"flows": "many"}},
        {"limits": {"flows": 1}},
        {"identity": {"kubernetes": "maybe"}},
        {"histograms": {"rtt_seconds": []}},
        {"listen": "nowhere"},
        {"collectors": ["Traffic"]},
        {"requests": {"namespaces": ["shop=some"]}},
        {"requests": {"namespaces": ["shop=all/10"]}},
        {"requests": {"queries": ["shop"]}},
        {"requests": {"patterns": ["shop=users"]}},
        {"requests": {"log": "on"}},
    ],
)
def test_the_schema_refuses_what_the_agent_refuses(wrong: dict[str, object]) -> None:
    assert not jsonschema.Draft202012Validator(schema()).is_valid(wrong)


def test_what_namespaces_may_ask_for_is_allowed() -> None:
    asked = {
        "namespaces": ["shop=errors", "lab=sampled", "lab-2=sampled/10", "_host=all", "db=off"],
        "queries": ["shop=2026-11-28T17:00:00Z", "lab=2026-11-28T17:00:00.5+02:00"],
        "patterns": ["shop=/users/{user}/orders/{order}", "*=/static/*", "shop=/"],
    }
    jsonschema.Draft202012Validator(schema()).validate({"requests": asked})
    values = {f"requests.{name}": tuple(each) for name, each in asked.items()}
    assert list(clashes(build({"collectors": ("http",), **values}))) == []


def test_the_problem_of_a_route_is_told_with_its_braces() -> None:
    (clash,) = clashes(build({"requests.patterns": ("shop=/a/{}",)}))
    assert clash.problem.format("requests.patterns").startswith("requests.patterns: shop=/a/{}: each part of a route")


@pytest.mark.parametrize(
    ("annotations", "watch", "events", "asks"),
    [
        ("on", "off", [HTTP_REQUEST], True),
        ("off", "annotated", [HTTP_REQUEST], False),
        ("off", "annotated", [SECURITY_EGRESS], True),
        ("off", "all", [SECURITY_EGRESS], True),  # a reload may say annotated
        ("on", "annotated", [], False),
    ],
)
def test_namespaces_are_asked_by_who_heeds_them(annotations: str, watch: str, events: list[str], asks: bool) -> None:
    made = build({"requests.annotations": annotations, "security.watch": watch})
    assert made.asks_namespaces(events) is asks
