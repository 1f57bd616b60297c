"""What a reload does to an agent that runs, with collectors of every kind on a fake door."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.made_collectors import made_collector
from tests.unit.metrics.fakes import INTERVAL, Clock, values

from agent.agent import Agent
from agent.configuration import Configuration
from agent.credentials import Credentials
from agent.events.routing import Router
from agent.identity import resolver
from agent.identity.model import Owner
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.kernel.loaded import Loaded
from agent.metrics import exposition
from agent.metrics.accumulate import Accumulator
from agent.metrics.exposition import Form
from agent.metrics.health import CollectorState, Report
from agent.options import Value
from agent.protocols.routes import Routes
from agent.requests.policy import Policies
from agent.requests.stage import RequestStage
from agent.running import Running
from agent.settings import Security, build
from bpfleet import catalogue
from bpfleet.api import Collector, Maps, Metric, Sample
from bpfleet.errors import HostError, LoadError, SettingsError

METRICS: dict[str, Metric] = {
    "steady": catalogue.CONNECTIONS_OPENED,
    "lone": catalogue.CONNECTIONS_CLOSED,
    "same": catalogue.CONNECTIONS_CLOSED,
}
OPENED, CLOSED = "bpfleet_tcp_connections_opened_total", "bpfleet_tcp_connections_closed_total"


class Adjusted:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.settings = Security()

    def adjust(self, settings: Security) -> None:
        self.settings = settings


class Bench:
    """An agent on the tree of a made cgroup, /unit.service. Each collector counts one metric from a hash of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.root = folder / "cgroups"
        (self.root / "unit.service").mkdir(parents=True)
        self.cgroup_id = (self.root / "unit.service").stat().st_ino
        self.key = self.cgroup_id.to_bytes(8, "little")
        self.clock = Clock()
        self.door = FakeDoor({name: FakeTables(hashes={"rows": {}}) for name in METRICS})
        self.identity = resolver.assemble(
            self.root, node="box", kubernetes="off", docker=False, clock=self.clock, proc=folder
        )
        self.totals: Accumulator[Owner] = Accumulator(
            self.identity, [catalogue.CONNECTIONS_OPENED], {}, scrape_interval=INTERVAL, clock=self.clock
        )
        self.reports: list[Report] = []
        kernel, first = KernelSettings(), [self.made("steady")]
        self.agent = Agent(
            self.door.load(first, kernel),
            first,
            self.identity,
            self.totals,
            Router(self.identity, [], [], 10_000),
            self.reports.append,
            self.clock,
        )
        before = self.asked()
        self.requests = RequestStage(Policies(before.settings.requests), Routes({}, 100))
        self.security = Adjusted()
        kinds = {name: (lambda name=name: self.made(name)) for name in METRICS}
        self.running = Running(
            *(before.settings, kinds, self.door, kernel, self.agent, self.identity, self.totals, Credentials(before)),
            lambda settings: {},
            self.requests,
            security=(self.security,),
        )
        self.page()  # the first scrape

    def made(self, name: str) -> Collector:
        made = made_collector(self.folder, name, base=None, metrics=(METRICS[name],))

        def collect(maps: Maps) -> Iterator[Sample]:
            for _, (count,) in maps.growth("rows"):
                yield Sample(METRICS[name], count, self.cgroup_id)

        made.collect = collect  # type: ignore[method-assign]
        return made

    def asked(self, *collectors: str, **others: Value) -> Configuration:
        named = {name.replace("__", "."): value for name, value in others.items()}
        named |= {"collectors": collectors or ("steady",), "scrape_interval_seconds": INTERVAL}
        return Configuration(build(named), dict.fromkeys(named, "agent.yaml:3"))

    def apply(self, *collectors: str, **others: Value) -> list[str]:
        asked = self.asked(*collectors, **others)
        return list(self.running.apply(asked, asked.settings))

    def grow(self, name: str, count: int) -> None:
        rows = self.door.tables[name].hashes["rows"]
        rows[self.key] = (rows.get(self.key, (0,))[0] + count,)

    def page(self) -> str:
        with self.totals.view() as view:
            return "".join(exposition.lines(view, Form.TEXT))

    def counted(self, name: str) -> dict[str, float]:
        """By workload, when every hold is over."""
        self.agent.drain()
        self.clock.sleep(2 * INTERVAL)
        return {dict(labels)["workload"]: value for labels, value in values(self.page(), name).items()}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    level = logging.getLogger().level
    yield Bench(tmp_path)
    logging.getLogger().setLevel(level)


def test_a_collector_is_switched_on_and_off_and_the_others_count_on(bench: Bench) -> None:
    bench.grow("steady", 7)
    assert bench.counted(OPENED) == {"unit.service": 7}
    bench.apply("steady", "lone")
    bench.grow("lone", 23)
    bench.grow("steady", 16)
    assert bench.counted(CLOSED) == {"unit.service": 23}
    assert bench.counted(OPENED) == {"unit.service": 23}
    bench.grow("lone", 6)
    bench.grow("steady", 100)
    bench.apply("steady")
    assert bench.door.tables["lone"].closed and bench.door.tables["steady"].attached
    with bench.totals.view() as view:
        assert values("".join(exposition.lines(view, Form.TEXT)), CLOSED) != {}
    assert bench.counted(CLOSED) == {"unit.service": 29}, "what came in before its end is there until it was scraped"
    bench.clock.sleep(INTERVAL)
    assert bench.counted(CLOSED) == {}
    assert bench.counted(OPENED) == {"unit.service": 123}
    assert list(bench.reports[-1].collectors) == ["steady"]


def test_what_did_not_change_is_not_loaded_again(bench: Bench) -> None:
    tables = bench.door.tables["steady"]
    for _ in range(3):
        bench.apply("steady", log_level="debug")
    assert tables.attached and bench.door.loads == 1


def test_a_collector_that_cannot_load_is_off_with_its_reason_and_the_others_count(bench: Bench) -> None:
    bench.door.refused["lone"] = "no hook"
    bench.apply("steady", "lone")
    bench.grow("steady", 7)
    assert bench.counted(OPENED) == {"unit.service": 7}
    assert (bench.reports[-1].collectors["lone"].up, bench.reports[-1].collectors["lone"].reason) == (False, "no hook")
    bench.apply("steady")
    assert bench.counted(OPENED) == {"unit.service": 7}
    assert list(bench.reports[-1].collectors) == ["steady"]


def test_one_that_cannot_even_be_made_is_off_with_its_reason_until_nobody_asks_for_it(bench: Bench) -> None:
    def broken() -> Collector:
        raise LoadError("lone.py:3: no")

    bench.running._kinds = {**bench.running._kinds, "lone": broken}
    bench.apply("steady", "lone")
    bench.grow("steady", 7)
    assert bench.counted(OPENED) == {"unit.service": 7}
    assert bench.reports[-1].collectors["lone"] == CollectorState(False, (), "lone.py:3: no")
    bench.apply("steady")
    assert bench.counted(OPENED) == {"unit.service": 7}
    assert list(bench.reports[-1].collectors) == ["steady"]


@pytest.mark.parametrize("error", [HostError("no BCC"), RuntimeError("no BCC")])
def test_a_loader_that_fails_costs_the_new_collector_only(bench: Bench, error: Exception) -> None:
    def load(collectors: object, settings: object) -> Loaded:
        raise error

    bench.door.load = load  # type: ignore[method-assign]
    bench.apply("steady", "lone")
    bench.grow("steady", 7)
    assert bench.counted(OPENED) == {"unit.service": 7}
    assert bench.reports[-1].collectors["lone"].reason == "no BCC"


def test_a_metric_that_another_collector_has_too_stays(bench: Bench) -> None:
    bench.apply("steady", "lone", "same")
    bench.grow("lone", 7)
    bench.grow("same", 16)
    bench.apply("steady", "same")
    for _ in range(3):
        assert bench.counted(CLOSED) == {"unit.service": 23}


def test_a_collector_that_is_loaded_later_is_compiled_with_what_is_in_force(bench: Bench) -> None:
    """limits.flows waits for a restart: the new one must not have other limits than those that run."""
    settings = KernelSettings(limits={"flows": 64})
    bench.running._kernel = settings
    bench.apply("steady", "lone", limits__flows=128)
    assert bench.door.settings is settings


def test_paces_and_budgets_are_applied(bench: Bench) -> None:
    bench.apply(
        "steady",
        log_level="warning",
        drain_interval_seconds=1.0,
        limits__series=50_000,
        limits__series_per_metric=10_000,
        identity__keep_seconds=60.0,
    )
    assert bench.running.interval() == 1.0
    assert logging.getLogger().level == logging.WARNING
    assert (bench.totals._budget.total, bench.totals._budget.per_metric) == (50_000, 10_000)
    assert bench.identity.tree.keep_seconds == 60.0


def test_a_static_file_names_those_who_live_anew_and_no_count_is_lost(bench: Bench) -> None:
    file = bench.folder / "identity.yaml"
    file.write_text("- {cgroup: /unit.service, workload: web}\n")
    bench.grow("steady", 7)
    assert bench.counted(OPENED) == {"unit.service": 7}
    assert bench.apply("steady", identity__static_file=str(file)) == ["identity.static_file"]
    assert bench.apply("steady", identity__static_file=str(file)) == [], "it says the same"
    bench.grow("steady", 16)
    assert bench.counted(OPENED) == {"unit.service": 7, "web": 16}
    bench.clock.sleep(INTERVAL)
    file.write_text("- {cgroup: /unit.service, workload: shop}\n")
    assert bench.apply("steady", identity__static_file=str(file)) == ["identity.static_file"]
    bench.grow("steady", 1)
    assert bench.counted(OPENED)["shop"] == 1


@pytest.mark.parametrize("broken", ["identity.static_file", "server.token_file"])
def test_a_file_that_cannot_be_used_changes_nothing(bench: Bench, broken: str) -> None:
    file = bench.folder / "broken"
    file.write_text("nonsense")
    asked = bench.asked("steady", "lone", drain_interval_seconds=1.0, **{broken.replace(".", "__"): str(file)})
    with pytest.raises(SettingsError, match=str(file)):
        bench.running.apply(asked, asked.settings)
    assert bench.running.interval() == 5.0
    bench.agent.drain()
    assert list(bench.reports[-1].collectors) == ["steady"]


def test_what_namespaces_ask_for_by_the_settings_holds_at_once(bench: Bench) -> None:
    assert bench.requests.policies.of("shop").mode == "off"
    bench.apply("steady", requests__namespaces=("shop=all",), requests__patterns=("shop=/a/{b}",))
    assert bench.requests.policies.of("shop").mode == "all"
    assert bench.requests.routes.template("shop", "/a/c") == "/a/{b}"


def test_what_is_asked_of_security_holds_at_once(bench: Bench) -> None:
    bench.apply("steady", security__watch="all", security__rule_burst=7)
    assert bench.security.settings == Security(watch="all", rule_burst=7)
