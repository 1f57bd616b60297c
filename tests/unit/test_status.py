import json

from agent.following import State
from agent.kernel.facts import Facts
from agent.metrics.accumulate import Standing
from agent.metrics.health import Books, CollectorState, Report, Runs, Table
from agent.status import Status

FACTS = Facts("6.18.4", "x86_64", True, "", ("BPF",), "2", "none", "/sys/fs/cgroup", -1)
STANDING = Standing(exposed=23, withheld=3, other=1, held=2, seen=29, delivered=28, lost={"budget": 1, "invalid": 0})
PODS = {"pods": {"synced": False, "error": "Kubernetes API: refused"}}
RELOAD = {"successful": False, "error": "agent.yaml:3: no"}
ON, OFF = CollectorState(True, ("cgroup_skb/ingress",)), CollectorState(False, (), "tcp.bpf.c:23: no member named 'x'")


def status() -> Status:
    credentials = {"token": State(("/etc/bpfleet/token",), "the token is empty")}
    known = ("traffic", "tcp", "sockets")
    return Status("0.1.0", known, FACTS, lambda: STANDING, lambda: PODS, lambda: RELOAD, lambda: credentials)


def observed(**collectors: CollectorState) -> Status:
    made = status()
    made.observe(Report(collectors=collectors))
    return made


def test_it_is_not_ready_before_the_first_drain() -> None:
    assert status().problem() == "loading the programs"
    assert status().page()["ready"] is False


def test_one_collector_that_counts_is_enough_to_be_ready() -> None:
    made = observed(traffic=ON, tcp=OFF)
    assert made.problem() == ""
    assert made.page()["ready"] is True


def test_where_nothing_is_counted_each_collector_says_why() -> None:
    assert observed(traffic=CollectorState(False, (), "no rights"), tcp=OFF).problem() == (
        "nothing is counted: traffic: no rights; tcp: tcp.bpf.c:23: no member named 'x'"
    )


def test_readiness_follows_the_latest_report() -> None:
    made = observed(traffic=OFF, tcp=OFF)
    made.observe(Report(collectors={"traffic": OFF, "tcp": ON}))
    assert made.problem() == ""
    made.observe(Report(collectors={"traffic": OFF, "tcp": OFF}))
    assert made.problem().startswith("nothing is counted")


def test_the_drains_are_counted() -> None:
    """Whoever waits for two more has everything that had happened before."""
    made = observed(traffic=ON, tcp=OFF)
    assert made.page()["drains"] == 1
    made.observe(Report())
    assert made.page()["drains"] == 2


def test_a_collector_without_metrics_counts_nothing() -> None:
    assert observed(cgroups=ON, traffic=OFF, tcp=OFF).problem().startswith("nothing is counted: traffic: ")


def test_the_page_has_everything_by_name_and_is_json() -> None:
    made = status()
    made.headers = "btf"
    made.observe(
        Report(
            {"traffic": ON, "tcp": OFF},
            {"packets": Books(23, 19, {"map_full": 4})},
            {"flows": Table(19, 32768, 4 << 20)},
            {"on_ingress": Runs(2048, 2, 700)},
            {"totals": 3},
        )
    )
    page = json.loads(json.dumps(made.page()))
    assert page["version"] == "0.1.0"
    assert page["headers"] == "btf"
    assert page["machine"]["release"] == "6.18.4"
    assert page["machine"]["capabilities"] == ["BPF"]
    assert page["collectors"] == {
        "traffic": {"up": True, "hooks": ["cgroup_skb/ingress"], "reason": ""},
        "tcp": {"up": False, "hooks": [], "reason": "tcp.bpf.c:23: no member named 'x'"},
    }
    assert page["failures"] == {"totals": 3}
    assert page["channels"] == {"packets": {"seen": 23, "delivered": 19, "lost": {"map_full": 4}}}
    assert page["maps"] == {"flows": {"entries": 19, "capacity": 32768, "size_bytes": 4194304}}
    assert page["programs"] == {"on_ingress": {"runs": 2048, "timed_runs": 2, "timed_ns": 700}}
    assert page["series"] == {**STANDING._asdict(), "lost": {"budget": 1, "invalid": 0}}
    assert page["identity"] == PODS
    assert page["reload"] == RELOAD
    assert page["credentials"] == {"token": {"files": ["/etc/bpfleet/token"], "problem": "the token is empty"}}


def test_before_the_first_report_the_page_says_what_is_known() -> None:
    page = status().page()
    assert page["collectors"] == {}
    assert page["identity"] == PODS
