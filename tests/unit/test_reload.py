"""What of new settings can be had now, what waits for a restart, and what a reading with a mistake changes: nothing."""

import os
import signal
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent import configuration
from agent.collectors import BUILT_IN
from agent.configuration import Configuration
from agent.metrics.health import Reloads
from agent.options import Leaf, PluginOptions, Value
from agent.reload import Change, Reloader, Requests, compare
from agent.settings import Settings, build, clashes, get, leaves
from bpfleet.errors import SettingsError

ALONE = {"cgroups": True, "traffic": False, "tcp": False, "sockets": True}
KNOWN = dict.fromkeys(ALONE, True) | {"sockets": False}
DEFAULT = ("cgroups", "traffic", "tcp")
LIVE = {
    "collectors",
    "log_level",
    "drain_interval_seconds",
    "scrape_interval_seconds",
    "flow_idle_seconds",
    "limits.series",
    "limits.series_per_metric",
    "identity.static_file",
    "identity.external",
    "identity.keep_seconds",
    "sockets.interval_seconds",
    "requests.log",
    "security.watch",
    "security.per_second",
    "security.burst",
    "security.rule_per_second",
    "security.rule_burst",
    "security.fold_seconds",
    "requests.slow_seconds",
    "requests.one_in",
    "requests.per_second",
    "requests.namespaces",
    "requests.queries",
    "requests.paths",
    "requests.patterns",
    "requests.routes_per_workload",
}


def other(leaf: Leaf) -> Value:
    """Another value than the default, of the same type."""
    if isinstance(leaf.default, str):
        return leaf.default + "x"
    if isinstance(leaf.default, PluginOptions):
        return PluginOptions({"fsyncs": {"every": 2}})
    return (*leaf.default, 1e9) if isinstance(leaf.default, tuple) else leaf.default + 1  # type: ignore[return-value]


def settings(*collectors: str, **values: Value) -> Settings:
    return build({"collectors": collectors or DEFAULT, **{name.replace("__", "."): v for name, v in values.items()}})


def test_each_setting_is_live_or_waits_for_a_restart() -> None:
    assert {leaf.name for leaf in leaves() if leaf.option.live} == LIVE


OTHERS = [leaf for leaf in leaves() if leaf.name not in ("collectors", "requests.log", "requests.namespaces")]


@pytest.mark.parametrize("leaf", OTHERS, ids=lambda leaf: leaf.name)
def test_a_setting_that_changed_is_applied_or_waits_and_never_both(leaf: Leaf) -> None:
    wanted = build({"collectors": DEFAULT, leaf.name: other(leaf)})
    change = compare(settings(), wanted, ALONE)
    assert change.applied == ((leaf.name,) if leaf.name in LIVE else ())
    assert [(each.name, each.in_force, each.wanted) for each in change.waiting] == (
        [] if leaf.name in LIVE else [(leaf.name, leaf.default, other(leaf))]
    )
    assert get(change.settings, leaf) == (other(leaf) if leaf.name in LIVE else leaf.default)
    assert change.settings == (wanted if leaf.name in LIVE else settings())


def test_settings_that_are_as_they_were_are_no_change() -> None:
    assert compare(settings(), settings(), ALONE) == Change(settings(), (), ())


@pytest.mark.parametrize(
    ("before", "is_applied"),
    [(settings(), False), (settings(requests__log="errors"), True), (settings(*DEFAULT, "http_log"), True)],
    ids=["its programs are not there", "they are", "they are by name"],
)
def test_the_request_log_waits_where_its_programs_are_not_there(before: Settings, is_applied: bool) -> None:
    wanted = build({"collectors": before.collectors, "requests.log": "all"})
    change = compare(before, wanted, ALONE | {"http_log": False}, before.runs("http_log"))
    assert change.applied == ("requests.log",) * is_applied
    assert change.settings.requests.log == ("all" if is_applied else before.requests.log)
    assert [each.name for each in change.waiting] == ["requests.log"] * (not is_applied)


@pytest.mark.parametrize(
    ("wanted", "in_force", "is_applied", "waits"),
    [
        (("traffic", "tcp"), ("traffic", "tcp"), True, False),
        (("cgroups", "traffic", "tcp", "sockets"), ("cgroups", "traffic", "tcp", "sockets"), True, False),
        (("cgroups", "traffic"), DEFAULT, False, True),
        (("traffic", "sockets"), ("traffic", "tcp", "sockets"), True, True),
        (("cgroups",), DEFAULT, False, True),
    ],
)
def test_collectors_that_share_no_program_are_switched_and_the_others_wait(
    wanted: tuple[str, ...], in_force: tuple[str, ...], is_applied: bool, waits: bool
) -> None:
    change = compare(settings(), settings(*wanted), ALONE)
    assert change.settings.collectors == in_force
    assert change.applied == ("collectors",) * is_applied
    assert [each.name for each in change.waiting] == ["collectors"] * waits


def test_what_waits_is_still_waited_for_at_the_next_reading_and_not_when_it_is_taken_back() -> None:
    first = compare(settings(), settings(limits__flows=64), ALONE)
    again = compare(first.settings, settings(limits__flows=64, log_level="debug"), ALONE)
    assert [each.name for each in again.waiting] == ["limits.flows"]
    assert compare(again.settings, settings(), ALONE).waiting == ()


def test_settings_that_clash_change_together() -> None:
    """Or half of an allowed change could be a combination that is not allowed."""
    found = {leaf.name: leaf.option.live for leaf in leaves()}
    impossible = [
        {"limits.series": 1000, "limits.series_per_metric": 1001},
        {"drain_interval_seconds": 16.0},
        {"collectors": ("sockets",), "sockets.interval_seconds": 4.0},
        {"identity.keep_seconds": 4.0},
        {"collectors": ("traffic",), "requests.log": "all"},
        {"collectors": ("http_log",)},
        {"collectors": ("http_bodies",)},
        {"flow_idle_seconds": 59.0},
        {"identity.kubernetes": "off", "identity.kubeconfig": "/k"},
        {"listen": "127.0.0.1:65536"},
        {"server.certificate_file": "/c"},
    ]
    seen = [clash.names for values in impossible for clash in clashes(build(values))]  # type: ignore[arg-type]
    assert len(seen) == len(impossible)
    for names in seen:
        assert len({found[name] for name in names}) == 1, names


def test_of_the_built_in_collectors_those_of_the_packet_programs_share_them() -> None:
    sharing = {kind.name for kind in BUILT_IN if kind.base is not None}
    assert sharing == {"traffic", "tcp", "connections", "http", "http_log", "http_bodies", "dns_names"}


class Told:
    """Applies nothing, and remembers what it was told. broken: what it raises instead."""

    def __init__(self) -> None:
        self.applied: list[Settings] = []
        self.broken: Exception | None = None
        self.touched: Sequence[str] = ()

    def __call__(self, wanted: Configuration, settings: Settings) -> Sequence[str]:
        if self.broken:
            raise self.broken
        self.applied.append(settings)
        return self.touched


class Bench:
    """A settings file, what reads it, and a clock that goes on a minute with each look."""

    def __init__(self, folder: Path) -> None:
        self.file, self.told = folder / "agent.yaml", Told()
        self.known = dict(KNOWN)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self.file.write_text("")
        self.reloader = Reloader(self.read().settings, ALONE, self.read, self.clock)

    def clock(self) -> datetime:
        self.now += timedelta(minutes=1)
        return self.now

    def read(self) -> Configuration:
        return configuration.load(self.file, {}, {}, self.known)

    def reload(self, text: str) -> dict[str, object]:
        self.file.write_text(text)
        self.reloader.attempt(self.told)
        return dict(self.reloader.page())


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_request_log_that_was_switched_off_is_switched_on_again_without_a_restart(bench: Bench) -> None:
    """Its programs stay where they are."""
    bench.known["http"] = True
    alone = {**ALONE, "http": False}
    logged = "collectors: [traffic, http]\nrequests: {log: %s}"
    bench.file.write_text(logged % "errors")
    bench.reloader = Reloader(bench.read().settings, alone, bench.read, bench.clock)
    for mode in ("'off'", "all"):
        page = bench.reload(logged % mode)
        assert (page["applied"], page["restart_required"]) == (["requests.log"], {})
    assert bench.reloader.settings.requests.log == "all"


def test_the_start_counts_as_a_good_reading(bench: Bench) -> None:
    assert bench.reloader.state() == Reloads(True, datetime(2026, 1, 1, 0, 1, tzinfo=UTC).timestamp(), 0)
    assert bench.reloader.page() == {
        "attempts": 0,
        "last_attempt": "2026-01-01T00:01:00.000+00:00",
        "last_success": "2026-01-01T00:01:00.000+00:00",
        "successful": True,
        "error": "",
        "applied": [],
        "restart_required": {},
    }


def test_what_is_applied_and_what_waits_is_told(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    page = bench.reload("log_level: debug\nlimits:\n  series: 50000\n  flows: 64\n")
    assert bench.told.applied == [settings(log_level="debug", limits__series=50000)]
    assert page["applied"] == ["log_level", "limits.series"]
    assert page["restart_required"] == {"limits.flows": f"32768 is in force, 64 is wanted ({bench.file}:4)"}
    assert (page["successful"], page["attempts"]) == (True, 1)
    assert page["last_success"] == page["last_attempt"] == "2026-01-01T00:02:00.000+00:00"
    assert bench.reloader.state().waiting == 1
    assert [record.getMessage() for record in caplog.records] == [
        "settings read again; applied: log_level, limits.series",
        f"limits.flows waits for a restart: 32768 is in force, 64 is wanted ({bench.file}:4)",
    ]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("nonsense: 1\n", "agent.yaml:1: nonsense is not a setting"),
        ("log_level: info\nlimits:\n  series: many\n", "agent.yaml:3: limits.series must be a whole number"),
        ("collectors: [trafic]\n", "agent.yaml:1: there is no collector 'trafic'; did you mean traffic?"),
        ("server:\n  certificate_file: /c\n", "agent.yaml:2"),
        ("log_level: [", "agent.yaml:1: not valid YAML"),
    ],
)
def test_a_file_with_a_mistake_changes_nothing_and_says_where(
    bench: Bench, caplog: pytest.LogCaptureFixture, text: str, why: str
) -> None:
    bench.reload("log_level: debug\nlimits:\n  flows: 64\n")
    page = bench.reload(text)
    assert why in str(page["error"]) and why in caplog.text
    assert (page["successful"], page["last_success"]) == (False, "2026-01-01T00:02:00.000+00:00")
    assert page["last_attempt"] == "2026-01-01T00:03:00.000+00:00"
    assert page["applied"] == ["log_level"] and list(page["restart_required"]) == ["limits.flows"]  # type: ignore[call-overload]
    assert len(bench.told.applied) == 1
    assert bench.reloader.state() == Reloads(False, datetime(2026, 1, 1, 0, 2, tzinfo=UTC).timestamp(), 1)
    assert bench.reloader.settings.log_level == "debug"


def test_a_good_file_after_a_bad_one_is_good_again(bench: Bench) -> None:
    bench.reload("nonsense: 1\n")
    page = bench.reload("log_level: debug\n")
    assert (page["successful"], page["error"], page["applied"]) == (True, "", ["log_level"])


def test_a_file_that_is_gone_is_a_mistake(bench: Bench) -> None:
    bench.file.unlink()
    bench.reloader.attempt(bench.told)
    assert "agent.yaml: cannot be read" in str(bench.reloader.page()["error"])
    assert bench.told.applied == []


@pytest.mark.parametrize("error", [SettingsError("identity.yaml:3: no"), RuntimeError("a bug")])
def test_what_cannot_be_applied_leaves_the_settings_as_they_were(bench: Bench, error: Exception) -> None:
    before = bench.reloader.settings
    bench.told.broken = error
    page = bench.reload("log_level: debug\n")
    assert (page["successful"], bench.reloader.settings) == (False, before)
    assert str(error) in str(page["error"])
    bench.told.broken = None
    assert bench.reload("log_level: debug\n")["applied"] == ["log_level"]


def test_files_that_settings_name_are_told_where_they_changed(bench: Bench) -> None:
    bench.told.touched = ("identity.static_file",)
    assert bench.reload("log_level: debug\n")["applied"] == ["log_level", "identity.static_file"]


def test_many_requests_are_one_reload(bench: Bench) -> None:
    requests = Requests()
    for _ in range(100):
        requests.add()
    waiting = iter(requests)
    next(waiting)
    requests.add()
    next(waiting)
    more = threading.Thread(target=lambda: next(waiting), daemon=True)
    more.start()
    more.join(0.1)
    assert more.is_alive(), "nothing is left"
    requests.add()
    more.join(10)
    assert not more.is_alive()


def test_a_signal_may_ask_while_the_same_thread_waits_for_requests() -> None:
    """Ten thousand times, at any moment of the wait."""
    requests, over = Requests(), threading.Event()

    def storm() -> None:
        for _ in range(10_000):
            os.kill(os.getpid(), signal.SIGHUP)
        over.set()
        requests.add()

    before = signal.signal(signal.SIGHUP, lambda *_: requests.add())
    thread = threading.Thread(target=storm)
    try:
        thread.start()
        seen = next(number for number, _ in enumerate(requests, 1) if over.is_set())
    finally:
        thread.join()
        signal.signal(signal.SIGHUP, before)
    assert 1 <= seen <= 10_001


def test_a_reading_is_compared_with_what_is_in_force_and_not_with_the_file_before(bench: Bench) -> None:
    bench.reload("limits:\n  flows: 64\n")
    assert bench.reloader.settings.limits.flows == 32768
    page = bench.reload("")
    assert page["restart_required"] == {}
    assert bench.reloader.settings == replace(settings(), collectors=DEFAULT)
