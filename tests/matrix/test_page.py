"""Does the page say of every run what it was, and above all what was wrong?"""

from typing import Any

import pytest

from matrix import page


def collector(up: bool = True, reason: str = "", *hooks: str) -> dict[str, Any]:
    return {"up": up, "reason": reason, "hooks": list(hooks)}


def check(name: str, what: str, counted: float, witness: float) -> dict[str, Any]:
    return {"collector": name, "what": what, "counted": counted, "witness": witness}


def booted(*runs: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"release": "r", "bcc": "0.31.0"}, *runs]


def ran(name: str, checks: list[dict[str, Any]], **collectors: dict[str, Any]) -> dict[str, Any]:
    return {"run": name, "collectors": collectors, "checks": checks, "map_bytes": 2**21, "left_out": 3}


@pytest.fixture
def results() -> dict[str, Any]:
    exact, traffic = [check("traffic", "packets", 23, 23)], collector(True, "", "cgroup_skb/ingress")
    off = collector(False, "without the capability PERFMON")
    kernels = {}
    for series, other in (("5.10", 7), ("6.1", 8)):
        both = [*exact, check("tcp", "segments", other, 7)]
        kernels[series] = {
            "release": f"{series}.0-1",
            "qemu": "10.0.13",
            "kvm": False,
            "boots": {
                "plain": booted(
                    ran("all", both, traffic=traffic, tcp=collector(True, "", f"hook/{series}")),
                    ran("without PERFMON", exact, traffic=traffic, tcp=off),
                    {"run": "without BPF", "refused": "needs BPF"},
                ),
                "integrity": booted(ran("all", exact, traffic=traffic, tcp=traffic)),
            },
        }
    return kernels


def lines(results: dict[str, Any], start: str) -> list[str]:
    return [line for line in page.page(results).splitlines() if line.startswith(start)]


def test_a_collector_is_exact_only_if_each_of_its_numbers_is(results: dict[str, Any]) -> None:
    assert lines(results, "| `traffic` | exact")[0] == "| `traffic` | exact | exact |"
    assert lines(results, "| `tcp` | exact")[0] == "| `tcp` | exact | **wrong**: segments |"
    assert lines(results, "| `tcp`: segments") == ["| `tcp`: segments | 7 | **8, not 7** |"]


def test_what_was_lost_is_every_collectors_fault(results: dict[str, Any]) -> None:
    run = page.run(results["6.1"], "plain", "all")
    run["checks"].append(check("any", "lost: packets/map_full", 1, 0))
    assert lines(results, "| `traffic` | exact")[0] == "| `traffic` | exact | **wrong**: lost: packets/map_full |"


def test_hooks_that_differ_name_their_kernels(results: dict[str, Any]) -> None:
    assert lines(results, "| `tcp` | `hook") == ["| `tcp` | `hook/5.10` | 5.10 |", "| `tcp` | `hook/6.1` | 6.1 |"]
    assert "| `traffic` | `cgroup_skb/ingress` | all |" in page.page(results)


def test_what_is_off_says_why_in_the_agents_words(results: dict[str, Any]) -> None:
    assert lines(results, "| without PERFMON") == ["| without PERFMON | exact | off |"]
    assert lines(results, "- without PERFMON") == ["- without PERFMON: `tcp`: `without the capability PERFMON`"]
    assert lines(results, "| without BPF") == ["| without BPF | refuses to run | refuses to run |"]
    assert lines(results, "| lockdown=integrity") == ["| lockdown=integrity | exact | on |"]


def test_a_run_that_broke_is_told(results: dict[str, Any]) -> None:
    results["5.10"]["boots"]["integrity"][1] = {"run": "all", "failed": "TimeoutError: not loaded"}
    assert "5.10: **TimeoutError: not loaded**; 6.1: exact" in lines(results, "| lockdown=integrity")[0]
