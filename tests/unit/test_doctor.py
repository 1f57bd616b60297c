from collections.abc import Sequence
from pathlib import Path

from tests.support.made_collectors import made_collector

from agent.doctor import describe, examine
from agent.kernel.door import KernelSettings, Loaded
from agent.kernel.facts import Facts
from agent.kernel.fake import FakeDoor, FakeTables
from bpfleet.api import Collector
from bpfleet.errors import HostError


def test_every_fact_has_a_line() -> None:
    machine = Facts("6.18.4", "x86_64", True, "", ("NET_ADMIN", "BPF"), "", "integrity", "/sys/fs/cgroup", -1)
    assert describe(machine, "/sys/fs/cgroup/unified") == [
        "kernel                  6.18.4 (x86_64)",
        "type information (BTF)  yes",
        "kernel headers          none (not needed with BTF)",
        "capabilities            NET_ADMIN, BPF",
        "  missing               PERFMON",
        "perf_event_paranoid     not told by this kernel",
        "lockdown                integrity",
        "cgroup v2               /sys/fs/cgroup/unified",
        "locked memory           unlimited",
    ]


def test_each_collector_is_on_or_off_with_its_reason_and_everything_is_let_go(tmp_path: Path) -> None:
    tables = FakeTables(rows={"books_packets": (0,)})
    door = FakeDoor({"traffic": tables}, refused={"tcp": "no hook"})
    lines, healthy = examine(door, [made_collector(tmp_path, name) for name in ("traffic", "tcp")], KernelSettings())
    assert lines == [
        "compiled against        none",
        "memory of the maps      0.1 MiB",
        "traffic                 on: fake",
        "tcp                     off: no hook",
    ]
    assert not healthy
    assert tables.closed


def test_only_the_default_set_decides(tmp_path: Path) -> None:
    extra = made_collector(tmp_path, "extra")
    type(extra).default = False
    _, healthy = examine(
        FakeDoor(refused={"extra": "no"}), [made_collector(tmp_path, "traffic"), extra], KernelSettings()
    )
    assert healthy


def test_where_nothing_loads_every_collector_says_why(tmp_path: Path) -> None:
    class Closed:
        def load(self, collectors: Sequence[Collector], settings: KernelSettings) -> Loaded:
            raise HostError("cgroup v2 is not mounted")

    lines, healthy = examine(Closed(), [made_collector(tmp_path, "traffic")], KernelSettings())
    assert lines == ["compiled against        nothing", "traffic                 off: cgroup v2 is not mounted"]
    assert not healthy
