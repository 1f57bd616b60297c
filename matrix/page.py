"""docs/kernels.md from what the guests have reported."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matrix.kernels import SERIES

Results = Mapping[str, Any]
"""By series: release, qemu, kvm, and by the name of a boot what it reported, one dictionary a run."""

INTRODUCTION = """\
# Kernels

<!-- Written by `make matrix` from its run: run that, and do not edit this page. -->

The agent on the kernels that Debian builds of five series, each booted under QEMU with a known load: TCP connections
that are opened, accepted, refused, closed and older than the agent, over IPv4 and IPv6; 5 MB in one connection; a
link that loses a twentieth of the data; UDP; a cgroup that lives for a tenth of a second. **Exact** means that every
number of the collector is the kernel's own: the counters in `/proc/net/snmp` and `/proc/net/dev` of the load's
network namespaces, `ss`, and what the programs of the load say that they did. The last table has the numbers.

BTF and raw tracepoints, cgroup hooks and iterators are there on all of these kernels. Only `file_open`, `chmod` and
`ptrace` hang on functions of the kernel, where it has function tracing; without, on the end of system calls (checks
that end with "by its number").
"""

LOST = "lost: "
"""Begins a check of the agent's own books: what it knows not to have counted."""

DIFFERENCES = """\
## What differs

- **Before 5.11** no tracepoint program may use a socket's storage. `connections` then keeps what it knows of a socket
  in a hash of `limits.flows` rows, by a raw tracepoint at the same place. What finds no room there is lost and
  counted (`bpfleet_lost_total{channel="connection_events",reason="no_storage"}`). The packet programs ask who listens
  on a connection's port, once for each connection, to know which side is the server's. `http` tells a socket's end
  from a copy in a hash, which it has while requests wait there; `http_bodies` needs the storage, and `http_log` an
  instruction of 5.12: they are off.
- **Before 5.11** maps count against the limit of locked memory, which is 64 KiB unless somebody has raised it. The
  agent raises it itself where it has `CAP_SYS_RESOURCE`; otherwise raise it from outside (`LimitMEMLOCK=infinity` in
  the unit of the container runtime or of the agent).
- **Before 6.6** the kernel runs no egress program for the SYN-ACK of an IPv6 connection: one packet and one segment a
  handshake of which `traffic` and `tcp` do not know. The load's server has 102 such connections, and the numbers
  below are without them.
- **Since 6.1**, and in updates of some kernels before, the kernel leaves out a run of a tracepoint program that is
  running on the same CPU already. `connections` and `tcp_states` therefore show each change to two programs and miss
  nothing; `drops` counts what it misses (`bpfleet_lost_total{reason="left_out"}`). The last line below says how
  many runs were left out in all.
- **On 5.10** the verifier refuses the packet programs to a loader without `PERFMON`, so that nothing is counted; later
  ones of this table let `traffic` count without it, where it was run.
- **Lockdown**: `integrity` takes nothing away. `confidentiality` refuses to read kernel memory; what is left is
  `traffic`.
"""


def page(results: Results) -> str:
    kernels = {series: results[series] for series in SERIES if "plain" in results.get(series, {}).get("boots", ())}
    names = list(dict.fromkeys(name for each in kernels.values() for name in run(each, "plain", "all")["collectors"]))
    parts = [INTRODUCTION, "## In short\n", *overview(kernels, names)]
    parts += ["\n## Hooks\n", *hooks(kernels, names), "\n" + DIFFERENCES]
    parts += ["## Lockdown and capabilities\n", *less(kernels, names), "\n## The numbers\n", *numbers(kernels), ""]
    return "\n".join(parts)


def run(kernel: Mapping[str, Any], boot: str, name: str) -> Mapping[str, Any]:
    """One that failed has neither collectors nor checks."""
    found = next(line for line in kernel["boots"][boot] if line.get("run") == name)
    return {"collectors": {}, "checks": [], "map_bytes": 0, "left_out": 0, **found}


def overview(kernels: Results, names: Iterable[str]) -> Iterable[str]:
    def machine(kernel: Mapping[str, Any]) -> Mapping[str, Any]:
        found: Mapping[str, Any] = kernel["boots"]["plain"][0]
        return found

    rows: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "kernel": lambda kernel: kernel["release"],
        "BCC": lambda kernel: machine(kernel)["bcc"],
    }
    for name in names:
        rows[f"`{name}`"] = lambda kernel, name=name: verdict(run(kernel, "plain", "all"), name)  # type: ignore[misc]
    rows["memory of the maps, MiB"] = lambda kernel: f"{run(kernel, 'plain', 'all')['map_bytes'] / 2**20:.1f}"
    yield from table("", kernels, rows)
    kinds = {f"QEMU {each['qemu']}, {'KVM' if each['kvm'] else 'emulated'}" for each in kernels.values()}
    yield f"\nx86-64, two CPUs; {' and '.join(sorted(kinds))}."


def table(corner: str, kernels: Results, rows: Mapping[str, Callable[[Mapping[str, Any]], str]]) -> Iterable[str]:
    """A column a kernel."""
    yield f"| {corner} | {' | '.join(kernels)} |"
    yield f"| --- |{' --- |' * len(kernels)}"
    for label, cell in rows.items():
        yield f"| {label} | {' | '.join(cell(kernel) for kernel in kernels.values())} |"


def verdict(found: Mapping[str, Any], name: str) -> str:
    """Of one collector in one run."""
    if "refused" in found:
        return "refuses to run"
    if "failed" in found:
        return f"**{found['failed']}**"
    if not found["collectors"][name]["up"]:
        return "off"
    checks = [check for check in found["checks"] if check["collector"] in (name, "any")]
    if not any(check["collector"] == name for check in checks):
        return "on"
    differ = [check for check in checks if check["counted"] != check["witness"]]
    lost = [
        f"{check['what'].removeprefix(LOST)} {check['counted']:.0f}"
        for check in differ
        if check["what"].startswith(LOST)
    ]
    wrong = [check["what"] for check in differ if not check["what"].startswith(LOST)]
    if wrong:
        return f"**wrong**: {', '.join([*wrong, *lost])}"
    return f"exact but for what it counts as lost: {', '.join(lost)}" if lost else "exact"


def hooks(kernels: Results, names: Iterable[str]) -> Iterable[str]:
    yield "| collector | hooks | kernels |"
    yield "| --- | --- | --- |"
    for name in names:
        used = {series: _hooks(each, name) for series, each in kernels.items()}
        for hooked, where in grouped({series: ", ".join(f"`{one}`" for one in each) for series, each in used.items()}):
            yield f"| `{name}` | {hooked} | {where} |"


def _hooks(kernel: Mapping[str, Any], name: str) -> Sequence[str]:
    state = run(kernel, "plain", "all")["collectors"].get(name, {"hooks": ["not run"]})
    found: Sequence[str] = state["hooks"]
    return found


def grouped(values: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each value, and which kernels have it."""
    where: dict[str, list[str]] = {}
    for series, value in values.items():
        where.setdefault(value, []).append(series)
    return [(value, "all" if len(found) == len(values) else ", ".join(found)) for value, found in where.items()]


def less(kernels: Results, names: Iterable[str]) -> Iterable[str]:
    """With less than everything: for each collector what became of it, and the reasons."""
    names, reasons = list(names), dict[str, set[str]]()
    yield f"| with | {' | '.join(f'`{name}`' for name in names)} |"
    yield f"| --- |{' --- |' * len(names)}"
    for label, boot, name in situations(kernels):
        runs = {series: run(each, boot, name) for series, each in kernels.items() if boot in each["boots"]}
        cells = []
        for collector in names:
            parts = grouped({series: verdict(found, collector) for series, found in runs.items()})
            said_of = [value if where == "all" else f"{where}: {value}" for value, where in parts]
            cells.append("; ".join(said_of))
        missing = [series for series in kernels if series not in runs]
        yield f"| {label}{_not_run(missing)} | {' | '.join(cells)} |"
        for series, found in runs.items():
            for reason in said(found):
                reasons.setdefault(f"{label}: {reason}", set()).add(series)
    yield "\nIn the agent's own words:\n"
    for reason, where in reasons.items():
        listed = "" if len(where) == len(kernels) else f" ({', '.join(one for one in kernels if one in where)})"
        yield f"- {reason}{listed}"


def _not_run(missing: Sequence[str]) -> str:
    return f" (not run: {', '.join(missing)})" if missing else ""


def situations(kernels: Results) -> Iterable[tuple[str, str, str]]:
    """Label, boot, run."""
    found: dict[tuple[str, str], str] = {}
    for kernel in kernels.values():
        for boot, lines in kernel["boots"].items():
            for line in lines if boot != "plain" else ():
                if "run" in line:
                    found[boot, line["run"]] = line["run"] if boot == "capabilities" else f"lockdown={boot}"
    for (boot, name), label in found.items():
        yield label, boot, name


def said(found: Mapping[str, Any]) -> Iterable[str]:
    """The agent's reasons, each once."""
    if "refused" in found:
        return [f"`{found['refused']}`"]
    states = found.get("collectors", {})
    by_reason: dict[str, list[str]] = {}
    for name, state in states.items():
        if not state["up"]:
            by_reason.setdefault(state["reason"], []).append(f"`{name}`")
    return [f"{', '.join(names)}: `{reason}`" for reason, names in by_reason.items()]


def numbers(kernels: Results) -> Iterable[str]:
    counted: dict[str, dict[str, str]] = {}
    for series, kernel in kernels.items():
        for check in run(kernel, "plain", "all")["checks"]:
            same = check["counted"] == check["witness"]
            value = f"{check['counted']:.0f}" if same else f"**{check['counted']:.0f}, not {check['witness']:.0f}**"
            counted.setdefault(f"`{check['collector']}`: {check['what']}", {})[series] = value
    yield f"| | {' | '.join(kernels)} |"
    yield f"| --- |{' --- |' * len(kernels)}"
    for label, values in counted.items():
        yield f"| {label} | {' | '.join(values.get(series, '') for series in kernels)} |"
    left_out = [str(run(kernel, "plain", "all")["left_out"]) for kernel in kernels.values()]
    yield f"| runs that the kernel left out | {' | '.join(left_out)} |"
