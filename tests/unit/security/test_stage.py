import json
import random
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.planted import planted
from tests.unit.hostile import STRINGS
from tests.unit.security.bench import (
    DB,
    DB_ID,
    HOST,
    HOST_ID,
    LAB,
    LAB_ID,
    NEW_ID,
    SHELLS,
    WEB,
    WEB_ID,
    Clock,
    FakeIdentity,
    policies,
    record,
    run,
    scopes,
    settings,
)
from tests.unit.security.test_arguments import FORMS
from tests.unit.sinks.test_otlp import Kept

from agent.identity import addresses
from agent.identity.pods import Marks
from agent.security.folding import MAX_KEYS
from agent.security.stage import MAX_COUNTED, MAX_LIMITS, SecurityStage
from agent.sinks import BUILT_IN, jsonl
from agent.sinks.file import File
from agent.sinks.jsonl import Jsonl
from agent.sinks.otlp import Otlp
from agent.sinks.syslog import Syslog
from agent.sinks.trust import Trust
from bpfleet.catalogue import SECURITY_EVENTS
from bpfleet.events import Record
from bpfleet.policies.evaluation import Policies

SECOND = 1_000_000_000
SYSLOG = Syslog("localhost", 1, Trust, 16, "bpfleet@32473", 1 << 16, 1.0)


class Bench:
    def __init__(
        self, found: Policies, identity: FakeIdentity | None = None, watch: str = "annotated", **values: float
    ) -> None:
        self.identity, self.clock = identity or FakeIdentity(), Clock()
        self.stage = SecurityStage(scopes(found, self.identity, watch), settings(**values), self.clock)
        self.outcomes: Counter[str] = Counter()
        self.passed: list[Record] = []

    def tell(self, told: Record, cgroup_id: int = WEB_ID) -> Record | str | None:
        owner = self.identity.owners.get(cgroup_id)
        answer = self.stage(told, owner.labels if owner else ("_unknown", "", "", "_unknown", ""), cgroup_id)
        if isinstance(answer, str):
            self.outcomes[answer] += 1
        elif answer is not None:
            self.passed.append(answer)
        return answer

    def drain(self, is_end: bool = False) -> list[Record]:
        self.stage.begin()
        due = [each.make() for each in self.stage.due(is_end)]
        self.passed += due
        return due

    def counted(self) -> dict[tuple[int, tuple[str, ...]], float]:
        samples = list(self.stage.samples())
        assert all(sample.metric is SECURITY_EVENTS for sample in samples)
        return {(sample.cgroup_id, sample.labels): sample.value for sample in samples}  # type: ignore[misc]


def test_an_event_that_a_rule_matches_says_which_and_how_bad_it_is() -> None:
    bench = Bench(policies(SHELLS))
    told = bench.tell(run("/bin/bash", process__command_line="bash -c 'mysql -phunter2'"))
    assert isinstance(told, Record)
    assert told.attributes == {
        "process.executable.path": "/bin/bash",
        "process.command_line": "bash -c 'mysql -pREDACTED'",
        "security_rule.name": "shell",
        "security_rule.ruleset.name": "p0",
        "bpfleet.security.severity": "critical",
        "container.image.name": "nginx:1.27",
    }
    assert bench.counted() == {(WEB_ID, ("shell", "critical")): 1}
    assert bench.counted() == {}


def test_of_several_rules_the_most_severe_comes_first_then_the_order_of_the_files() -> None:
    bench = Bench(
        policies(
            "rules:\n  - {name: a, event: exec, severity: info, match: everything}\n"
            "  - {name: b, event: exec, severity: warning, match: everything}\n",
            "rules:\n  - {name: c, event: exec, severity: critical, match: everything}\n"
            "  - {name: d, event: exec, severity: warning, match: everything}\n",
        )
    )
    told = bench.tell(run("/bin/x"))
    assert isinstance(told, Record)
    assert told.attributes["security_rule.name"] == "c"
    assert told.attributes["bpfleet.security.rules"] == "b, d, a"
    assert {labels: count for (_, labels), count in bench.counted().items()} == {
        ("a", "info"): 1,
        ("b", "warning"): 1,
        ("c", "critical"): 1,
        ("d", "warning"): 1,
    }


def test_who_did_not_ask_is_not_told_of() -> None:
    bench = Bench(policies(SHELLS))
    assert bench.tell(run("/bin/sh"), LAB_ID) == bench.tell(run("/bin/sh"), HOST_ID) == "unwatched"
    assert bench.tell(run("/bin/sh"), NEW_ID) == "unwatched"
    assert bench.tell(run("/bin/ls")) == "unmatched"
    assert bench.counted() == {}


def test_on_a_host_everything_is_watched_by_a_setting_and_nothing_by_another() -> None:
    for watch, answer in (("all", Record), ("off", str)):
        assert isinstance(Bench(policies(SHELLS), watch=watch).tell(run("/bin/sh"), HOST_ID), answer)


def test_a_pod_can_ask_for_itself_and_takes_nothing_back() -> None:
    identity = FakeIdentity(
        pods={
            LAB.pod_uid: Marks({}, {"bpfleet.io/security": "on"}),
            WEB.pod_uid: Marks({}, {"bpfleet.io/security": "off"}),
        }
    )
    bench = Bench(policies(SHELLS), identity)
    assert isinstance(bench.tell(run("/bin/sh"), LAB_ID), Record)
    assert isinstance(bench.tell(run("/bin/sh"), WEB_ID), Record)


@pytest.mark.parametrize(
    ("scope", "inside"),
    [
        ("{}", {"web", "db", "job"}),
        ("{namespaces: [shop]}", {"web", "db"}),
        ('{namespaces: ["*", "!la?"]}', {"web", "db"}),
        ("{labels: {app: web}}", {"web"}),
        ('{labels: {app: ["x", "w*"]}}', {"web"}),
        ("{labels: {absent: '*'}}", set()),
        ("{workloads: [StatefulSet/*]}", {"db"}),
        ("{workloads: [web, Job/j*]}", {"web", "job"}),
        ("{containers: [main]}", {"web", "job"}),
        ("{namespaces: [shop], workloads: [db], containers: [postgres]}", {"db"}),
    ],
)
def test_a_policy_is_about_its_scope(scope: str, inside: set[str]) -> None:
    identity = FakeIdentity(pods={WEB.pod_uid: Marks({"app": "web"}, {})})
    bench = Bench(policies(f"scope: {scope}\n{SHELLS}"), identity, watch="all")
    bench.identity.owners.pop(HOST_ID)
    told = {
        owner.workload
        for number, owner in bench.identity.owners.items()
        if isinstance(bench.tell(run("/bin/sh"), number), Record)
    }
    assert told == inside


def test_repeats_are_folded_into_the_last_of_them() -> None:
    bench = Bench(policies(SHELLS), fold_seconds=60.0)
    for number in range(7):
        bench.tell(run("/bin/sh", number, process__pid=number))
    assert bench.outcomes == {"folded": 5}
    assert [each.attributes["process.pid"] for each in bench.passed] == [0]
    assert bench.stage.waiting == 1
    bench.clock.now += 59.9
    assert bench.drain() == []
    bench.clock.now += 0.1
    (last,) = bench.drain()
    assert (last.attributes["process.pid"], last.attributes["bpfleet.security.repeats"], last.time_ns) == (6, 6, 6)
    assert bench.stage.waiting == 0
    assert bench.counted() == {(WEB_ID, ("shell", "critical")): 7}
    assert isinstance(bench.tell(run("/bin/sh")), Record)


def test_a_second_one_alone_is_no_repeat_of_many_and_leaves_at_the_end() -> None:
    bench = Bench(policies(SHELLS))
    bench.tell(run("/bin/sh"))
    assert bench.tell(run("/bin/sh")) is None
    (last,) = bench.drain(is_end=True)
    assert "bpfleet.security.repeats" not in last.attributes
    assert bench.drain(is_end=True) == []


def test_another_program_path_pod_or_destination_is_another_event() -> None:
    everything = "rules:\n" + "".join(
        f"  - {{name: {name.replace('_', '-')}, event: {name}, severity: info, match: everything}}\n"
        for name in ("exec", "file_open", "chmod", "ptrace", "egress")
    )
    bench = Bench(policies(everything), rule_burst=1000)
    several = [
        run("/bin/sh"),
        run("/bin/bash"),
        run("/bin/sh", bpfleet__process__script="/a"),
        record("file_open", file__path="/a"),
        record("file_open", file__path="/b"),
        record("file_open", file__path="/b", bpfleet__file__is_write=True),
        record("file_open", file__path="/b", error__type="EACCES"),
        record("chmod", file__path="/a", file__mode="4755"),
        record("chmod", file__path="/a", file__mode="2755"),
        record("ptrace", bpfleet__ptrace__request="attach", bpfleet__ptrace__target__name="a"),
        record("ptrace", bpfleet__ptrace__request="seize", bpfleet__ptrace__target__name="a"),
        record("egress", network__peer__address="192.0.2.1", network__peer__port=443),
        record("egress", network__peer__address="192.0.2.1", network__peer__port=80),
        record("egress", network__peer__address="192.0.2.2", network__peer__port=80),
    ]
    for cgroup_id in (WEB_ID, DB_ID):
        for each in several:
            assert isinstance(bench.tell(each, cgroup_id), Record), each
        for each in several:
            assert bench.tell(each, cgroup_id) is None, each


def test_without_folding_each_is_told() -> None:
    bench = Bench(policies(SHELLS), fold_seconds=0.0)
    assert all(isinstance(bench.tell(run("/bin/sh")), Record) for _ in range(5))


def test_a_flood_of_one_workload_costs_only_its_own_share() -> None:
    bench = Bench(policies(SHELLS), fold_seconds=0.0, rule_per_second=2.0, rule_burst=10)
    for number in range(1000):
        bench.tell(run("/bin/sh", number * SECOND // 100))
    assert len(bench.passed) == 10 + 2 * 10 - 1  # what the bucket holds, and what fills in within 9.99 s
    assert bench.outcomes == {"suppressed": 1000 - 29}
    assert isinstance(bench.tell(run("/bin/sh"), DB_ID), Record)
    assert bench.counted() == {(WEB_ID, ("shell", "critical")): 1000, (DB_ID, ("shell", "critical")): 1}


def test_a_clock_that_is_set_back_suppresses_nothing_more() -> None:
    bench = Bench(policies(SHELLS), fold_seconds=0.0, rule_per_second=2.0, rule_burst=10)
    for second in (*range(7200, 7210), *range(10, 20)):
        for _ in range(4):
            bench.tell(run("/bin/sh", second * SECOND))
    assert len(bench.passed) == (10 + 2 * 9) + 2 * 9


def test_another_rule_has_a_limit_of_its_own() -> None:
    bench = Bench(
        policies(SHELLS + "  - {name: x, event: exec, severity: info, match: {binary: x}}\n"),
        fold_seconds=0.0,
        rule_burst=1,
    )
    assert [bench.tell(run(path)) == "suppressed" for path in ("/bin/sh", "/bin/sh", "/x", "/x")] == [False, True] * 2


def test_the_books_balance_at_ten_times_the_load_and_at_the_end() -> None:
    dice = random.Random(23)
    bench = Bench(policies(SHELLS), rule_per_second=50.0, rule_burst=100, fold_seconds=5.0)
    seen = 0
    for second in range(20):
        for number in range(1_000):
            seen += 1
            path = f"/{dice.randrange(400)}/{dice.choice(('sh', 'bash', 'ls'))}"
            time_ns = second * SECOND + number * SECOND // 1_000
            bench.tell(run(path, time_ns), dice.choice((WEB_ID, DB_ID, LAB_ID)))
        bench.clock.now += 1.0
        bench.drain()
        assert seen == len(bench.passed) + sum(bench.outcomes.values()) + bench.stage.waiting
    assert (
        set(bench.outcomes) == {"unwatched", "unmatched", "folded", "suppressed"} and min(bench.outcomes.values()) > 300
    )
    bench.drain(is_end=True)
    assert seen == len(bench.passed) + sum(bench.outcomes.values())
    stands_for = sum(int(each.attributes.get("bpfleet.security.repeats", 1)) for each in bench.passed)
    assert stands_for == len(bench.passed) + bench.outcomes["folded"]
    matched = sum(bench.counted().values())
    assert matched == stands_for + bench.outcomes["suppressed"]


def test_paths_without_end_leave_no_more_than_there_is_room_for() -> None:
    """What is kept does not grow from MAX_KEYS on, by one workload or by two, and every one of them is counted."""
    bench = Bench(policies(SHELLS), rule_per_second=1_000_000.0, rule_burst=1_000_000)
    others = MAX_KEYS // 4
    for number in range(3 * MAX_KEYS):
        bench.tell(run(f"/{number}/sh", number))
        if number >= 3 * MAX_KEYS - others:
            bench.tell(run(f"/{number}/sh", number), DB_ID)
            assert bench.tell(run(f"/{number}/sh", number), DB_ID) is None
    folding, told = bench.stage._folding, 3 * MAX_KEYS + 2 * others
    assert len(folding._open) == sum(map(len, folding._keys.values())) == MAX_KEYS
    assert len(bench.stage._counts) == len(bench.stage._limits) == len(folding._keys) == 2
    assert folding.waiting == others and len(bench.passed) == told - folding.waiting
    assert sum(bench.counted().values()) == told
    bench.drain(is_end=True)
    assert len(bench.passed) == told and not folding._open and not folding._keys and not folding._closed


def test_workloads_and_cgroups_without_number_are_bounded() -> None:
    identity = FakeIdentity()
    bench = Bench(policies(SHELLS), identity, watch="all")
    for number in range(10, MAX_COUNTED + 500):
        identity.owners[number] = HOST
        labels = ("_host", "", "", f"w{number}", "")
        assert isinstance(bench.stage(run("/bin/sh"), labels, number), Record | None)
    assert len(bench.stage._limits) == MAX_LIMITS
    counted = bench.counted()
    assert len(counted) == MAX_COUNTED + 1 and sum(counted.values()) == MAX_COUNTED + 490


def test_tracer_and_tracee_of_different_containers_are_named() -> None:
    text = "rules:\n  - {name: across, event: ptrace, severity: critical, match: {across_containers: true}}\n"
    bench = Bench(policies(text))
    target = "bpfleet__ptrace__target__cgroup_id"
    told = bench.tell(record("ptrace", bpfleet__ptrace__request="attach", **{target: DB_ID}))
    assert isinstance(told, Record)
    assert {key: value for key, value in told.attributes.items() if "ptrace" in key} == {
        "bpfleet.ptrace.request": "attach",
        "bpfleet.ptrace.target.namespace": "shop",
        "bpfleet.ptrace.target.pod": "db-0",
        "bpfleet.ptrace.target.container": "postgres",
        "bpfleet.ptrace.is_across": True,
    }
    assert bench.tell(record("ptrace", **{target: WEB_ID})) == "unmatched"
    assert bench.tell(record("ptrace", **{target: NEW_ID})) == "unmatched"
    assert isinstance(bench.tell(record("ptrace", **{target: HOST_ID})), Record)
    assert DB.container == "postgres"


EGRESS = """\
rules:
  - name: out
    event: egress
    severity: critical
    allow:
      - {address: [10.0.0.0/8, "2001:db8::/32"]}
      - {name: example.com, port: 443}
      - {service: shop/db}
"""


@pytest.mark.parametrize(
    ("attributes", "fires"),
    [
        ({"network__peer__address": "10.2.3.4"}, False),
        ({"network__peer__address": "11.2.3.4"}, True),
        ({"network__peer__address": "2001:db8::1"}, False),
        ({"network__peer__address": "2001:db9::1"}, True),
        (
            {
                "network__peer__address": "192.0.2.1",
                "dns__question__name": "API.example.com.",
                "network__peer__port": 443,
            },
            False,
        ),
        (
            {
                "network__peer__address": "192.0.2.1",
                "dns__question__name": "api.example.com",
                "network__peer__port": 80,
            },
            True,
        ),
        (
            {
                "network__peer__address": "192.0.2.1",
                "dns__question__name": "notexample.com",
                "network__peer__port": 443,
            },
            True,
        ),
        ({"network__peer__address": "198.51.100.7"}, False),
        ({"network__peer__address": "198.51.100.8"}, True),
        ({"bpfleet__peer__kind": "service", "bpfleet__peer__namespace": "shop", "bpfleet__peer__name": "db"}, False),
        ({"bpfleet__peer__kind": "pod", "bpfleet__peer__namespace": "shop", "bpfleet__peer__name": "db"}, True),
        ({}, True),
    ],
)
def test_a_destination_is_allowed_by_its_address_name_or_service(attributes: dict[str, str], fires: bool) -> None:
    address = addresses.parse("198.51.100.7")
    assert address
    bench = Bench(policies(EGRESS), FakeIdentity(at={address: frozenset({"shop/db"})}))
    answer = bench.tell(record("egress", **attributes))
    assert isinstance(answer, Record) if fires else answer == "unmatched"


def test_a_name_that_only_the_workload_itself_vouches_for_allows_nothing() -> None:
    asked = {
        "network__peer__address": "192.0.2.1",
        "dns__question__name": "api.example.com",
        "network__peer__port": 443,
    }
    bench = Bench(policies(EGRESS))
    told = bench.tell(record("egress", bpfleet__dns__resolver="127.0.0.1", **asked))
    assert isinstance(told, Record) and "dns.question.name" not in told.attributes
    assert bench.tell(record("egress", bpfleet__dns__resolver="10.96.0.10", **asked)) == "unmatched"


def test_an_allow_list_without_an_entry_allows_nothing() -> None:
    bench = Bench(policies("rules:\n  - {name: out, event: egress, severity: info, allow: []}\n"))
    assert isinstance(bench.tell(record("egress", network__peer__address="10.0.0.1")), Record)


def test_a_policy_that_changed_decides_from_the_next_drain_on() -> None:
    identity, chosen = FakeIdentity(), [policies(SHELLS)]
    made = scopes(chosen[0], identity)
    made._ask = lambda: chosen[0]
    stage = SecurityStage(made, settings(), Clock())
    assert isinstance(stage(run("/bin/sh"), WEB.labels, WEB_ID), Record)
    chosen[0] = policies(SHELLS.replace("sh, bash", "zsh"))
    assert stage(run("/bin/sh"), WEB.labels, WEB_ID) is None
    made.refresh()
    assert stage(run("/bin/sh"), WEB.labels, WEB_ID) == "unmatched"


def hostile() -> Iterator[Record]:
    for text in STRINGS:
        yield run(f"/{text}/sh", process__command_line=text, bpfleet__process__parent__name=text)
        yield record("file_open", file__path=text, bpfleet__file__given=text)
        yield record("egress", dns__question__name=text, network__peer__address=text)
        yield record("chmod", file__mode=text)
        yield record("ptrace", bpfleet__ptrace__target__name=text)


def test_hostile_strings_come_out_inert() -> None:
    everything = SHELLS + "".join(
        f"  - {{name: {name.replace('_', '-')}, event: {name}, severity: info, match: everything}}\n"
        for name in ("exec", "file_open", "chmod", "ptrace", "egress")
    )
    bench = Bench(policies(everything), fold_seconds=0.0, rule_burst=1_000_000)
    for each in hostile():
        told = bench.tell(each)
        assert isinstance(told, Record)
        cleaned = told._replace(
            attributes={
                key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
                for key, value in told.attributes.items()
            }
        )
        assert SYSLOG.encode(cleaned).decode().isprintable()
        written = jsonl.line(cleaned)
        assert written.count(b"\n") == 1 and all(0x20 <= byte < 0x7F for byte in written[:-1])
        assert json.loads(written)["security_rule.ruleset.name"] == "p0"


def test_a_command_line_that_is_all_names_is_told_and_folded_like_others() -> None:
    bench = Bench(policies(SHELLS))
    for _ in range(2):
        bench.tell(run("/bin/sh", process__command_line="sh " + "a=" * 500))
    assert len(bench.drain(is_end=True)) == 1 and len(bench.passed) == 2 and bench.stage.waiting == 0


def test_a_first_argument_that_is_too_long_to_be_told_is_no_way_around() -> None:
    """busybox looks at the last component only, and that is the one that was cut."""
    bench = Bench(policies(SHELLS.replace("binary:", "called: sh, binary:", 1)), fold_seconds=0.0)
    size = {"bpfleet__process__arguments__size": 2003}
    for line in ("x/" * 512, "'" + "x y/" * 250, "sh " + "x" * 1000):
        assert isinstance(bench.tell(run("/bin/sh", process__command_line=line, **size)), Record), line[:9]
    for line in ("ls " + "x" * 1000, ""):
        assert bench.tell(run("/bin/sh", process__command_line=line, **size)) == "unmatched", line[:9]


def test_three_hundred_secrets_in_arguments_are_in_no_byte_that_a_sink_gets(tmp_path: Path) -> None:
    """Told at once, and held until the time of its repeats is over; by every sink there is."""
    sinks = [
        Jsonl("-"),
        File(str(tmp_path / "events"), 1 << 20, 1),
        SYSLOG,
        Otlp(Kept(), wall=lambda: 42),
    ]
    assert {each.name for each in sinks} == set(BUILT_IN)
    secrets = [secret for secret, _ in planted()]
    bench = Bench(policies(SHELLS), rule_burst=1_000_000)
    for number, secret in enumerate(secrets):
        line = shlex.join(FORMS[number % len(FORMS)](secret))
        for _ in range(3):
            bench.tell(run(f"/{number}/sh", process__command_line=line, process__pid=number))
    bench.drain(is_end=True)
    assert len(bench.passed) == 2 * len(secrets) == 600
    for told in bench.passed:
        secret = secrets[int(str(told.attributes["process.pid"]))]
        for sink in sinks:
            written = sink.encode(told)
            assert secret.encode() not in written, (sink.name, told)
