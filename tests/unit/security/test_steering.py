from collections.abc import Callable, Iterable

from tests.unit.security.bench import (
    DB_ID,
    HOST_ID,
    LAB_ID,
    NEW_ID,
    SHELLS,
    WEB,
    WEB_ID,
    FakeIdentity,
    policies,
    scopes,
    settings,
)

from agent.identity import addresses
from agent.identity.pods import Marks
from agent.kernel.fake import FakeTables
from agent.security.orders import EVERY_PATH, OFF, OTHERS, Orders, Watch
from agent.security.steering import SecurityOrders, anchors
from bpfleet.api import Collector, Maps
from bpfleet.policies.evaluation import Policies

WATCH = Watch(100, 500)
OUT = """\
rules:
  - name: out
    event: egress
    severity: critical
    allow: [{address: 10.0.0.0/8}, {name: example.com}, {service: shop/db}, {address: 192.0.2.0/24, port: 443}]
"""
V4 = bytes(10) + b"\xff\xff"


class Watcher(Collector):
    program = "x.bpf.c"

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name  # type: ignore[misc]
        self.orders = Orders()

    def steer(self, maps: Maps, orders: Orders) -> int:
        self.orders = orders
        return 7


class Names:
    version = 0

    def __init__(self) -> None:
        self.known = {"api.example.com": addresses.parse("198.51.100.7"), "evil.test": addresses.parse("198.51.100.8")}

    def addresses(self, is_wanted: Callable[[str], bool]) -> Iterable[bytes]:
        return [address for name, address in self.known.items() if address and is_wanted(name)]


class Knowing(Watcher):
    def __init__(self) -> None:
        super().__init__("egress")
        self.names = Names()


def given(
    found: Policies, identity: FakeIdentity | None = None, watch: str = "annotated", *, name: str = "exec"
) -> Orders:
    orders, watcher = SecurityOrders(scopes(found, identity, watch), settings()), Watcher(name)
    orders.begin()
    assert orders.steer(watcher, maps()) == 7
    return watcher.orders


def maps() -> Maps:
    return FakeTables()  # type: ignore[return-value]  # nobody asks it


def test_only_who_asked_is_watched_and_who_is_not_known_yet() -> None:
    orders = given(policies(SHELLS))
    assert orders.watches == {
        "exec": {OTHERS: WATCH, WEB_ID: WATCH, DB_ID: WATCH, LAB_ID: OFF, HOST_ID: OFF},
    }
    assert NEW_ID not in orders.watches["exec"]


def test_collectors_that_no_rule_in_scope_uses_leave_a_cgroup_alone() -> None:
    text = "scope: {workloads: [web]}\nrules:\n  - {name: c, event: chmod, severity: info, match: everything}\n"
    orders = given(policies(SHELLS, text))
    assert orders.watches["chmod"] == {OTHERS: WATCH, WEB_ID: WATCH, DB_ID: OFF, LAB_ID: OFF, HOST_ID: OFF}
    assert orders.watches.keys() == {"exec", "chmod"}


def test_without_policies_or_by_a_setting_nobody_is_watched() -> None:
    assert given(Policies()).watches == {}
    assert given(policies(SHELLS), watch="off").watches == {}
    everybody = given(policies(SHELLS), watch="all").watches["exec"]
    assert set(everybody.values()) == {WATCH} and everybody.keys() >= {HOST_ID, LAB_ID}


def test_an_annotation_and_a_label_take_effect_with_the_next_drain() -> None:
    identity = FakeIdentity()
    made = SecurityOrders(scopes(policies("scope: {labels: {app: web}}\n" + SHELLS), identity), settings())
    watcher = Watcher("exec")

    def watched() -> set[int]:
        made.begin()
        made.steer(watcher, maps())
        return {cgroup_id for cgroup_id, watch in watcher.orders.watches["exec"].items() if watch != OFF} - {OTHERS}

    assert watched() == set()
    identity.pods[WEB.pod_uid], identity.version = Marks({"app": "web"}, {}), 1
    assert watched() == {WEB_ID}
    assert identity.book
    identity.book.given, identity.book.version = {}, 1
    assert watched() == set()


def test_names_of_paths_are_their_last_parts_without_a_wildcard() -> None:
    text = """\
    rules:
      - {name: a, event: file_open, severity: info, match: {path: [/etc/shadow, /tmp/**, id_rsa]}}
      - {name: b, event: file_open, severity: info, match: [{path: /run/*/token, write: true}]}
      - {name: c, event: chmod, severity: info, match: {setuid: true}}
    """
    found = policies(text)
    assert anchors(found, "file_open") == {b"shadow", b"tmp", b"id_rsa", b"token"}
    assert anchors(found, "chmod") == {EVERY_PATH}
    assert anchors(
        policies("rules:\n  - {name: a, event: chmod, severity: info, match: {path: '*.pem'}}"), "chmod"
    ) == {EVERY_PATH}
    assert anchors(Policies(), "chmod") == frozenset()


def test_destinations_that_no_rule_can_fire_for_are_not_told() -> None:
    address = addresses.parse("203.0.113.7")
    assert address
    identity = FakeIdentity(at={address: frozenset({"shop/db"}), bytes(16): frozenset({"lab/db"})})
    orders = given(policies(OUT), identity, name="egress")
    assert {watch.group for watch in orders.watches["egress"].values() if watch != OFF} == {0, 1}
    assert orders.watches["egress"][OTHERS].group == 0
    assert orders.allowed == {1: frozenset({(V4 + bytes((10, 0, 0, 0)), 104), (address, 128)})}


def test_addresses_of_names_come_when_the_dns_tells_them() -> None:
    made, watcher = SecurityOrders(scopes(policies(OUT)), settings()), Knowing()
    for version, known in ((0, {"198.51.100.7"}), (1, {"198.51.100.7", "198.51.100.9"})):
        watcher.names.version = version
        made.begin()
        made.steer(watcher, maps())
        expected = {(addresses.parse(each), 128) for each in known}
        assert watcher.orders.allowed[1] == {(V4 + bytes((10, 0, 0, 0)), 104), *expected}
        watcher.names.known["www.example.com"] = addresses.parse("198.51.100.9")


def test_workloads_with_the_same_rules_share_a_group_and_others_do_not() -> None:
    text = "scope: {workloads: [web]}\n" + OUT
    watches = given(policies(OUT, text), watch="all", name="egress").watches["egress"]
    assert watches[DB_ID].group == watches[LAB_ID].group == watches[HOST_ID].group != watches[WEB_ID].group
