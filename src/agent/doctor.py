"""`bpfleet doctor`: what this machine offers, and which collectors can run on it. It really loads them, and lets go."""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace

from agent import configuration
from agent.kernel import facts
from agent.kernel.door import Door, KernelDoor, KernelSettings
from agent.kernel.facts import Facts
from agent.kernel.isolation import Outcome
from agent.plugins.finding import Finder
from agent.plugins.making import make
from bpfleet.api import Collector
from bpfleet.errors import BpfleetError

PURPOSE = "Say what this machine offers and which collectors can run on it."
HELP = "Say what this machine offers and which collectors can run on it."
WIDTH = 22
EXPLAINED = {
    "": "not told by this kernel",
    "-1": "-1 (everything is allowed)",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 if every collector of the default set can run."""
    from agent.__main__ import kernel_settings

    parsed = configuration.Parser("bpfleet doctor", PURPOSE).parse_args(arguments)
    try:
        flags = configuration.flags_of(parsed)
        find = Finder()
        settings = configuration.load(parsed.config, os.environ, flags, find).settings
    except BpfleetError as error:
        print(f"bpfleet doctor: {error}", file=sys.stderr)
        return 1
    machine = facts.gather()
    root = settings.kernel.cgroup_root or machine.cgroup_root
    print("\n".join(describe(machine, root)))
    plugins = find(settings.plugins.dir)
    made = make(plugins, replace(settings, collectors=tuple(plugins.collectors())))
    lines, healthy = examine(KernelDoor(), made.collectors, kernel_settings(settings, root, plugins))
    lines += [_line(name, f"off: {reason}") for name, reason in (made.off | made.sinks_off).items()]
    lines += [_line(sink.name, "on: a sink") for sink in made.sinks]
    print("\n".join(lines))
    return 0 if healthy and not made.off and not made.sinks_off else 1


def describe(machine: Facts, cgroup_root: str) -> list[str]:
    """What there is, one fact a line."""
    lacking = machine.lacking(("BPF", "PERFMON", "NET_ADMIN"))
    memlock = "unlimited" if machine.memlock_bytes < 0 else f"{machine.memlock_bytes} bytes"
    return [
        _line("kernel", f"{machine.release} ({machine.machine})"),
        _line("type information (BTF)", "yes" if machine.btf else "none that can be read"),
        _line("kernel headers", machine.headers or "none (not needed with BTF)"),
        _line("capabilities", ", ".join(machine.capabilities) or "none"),
        _line("  missing", ", ".join(lacking) or "none of BPF, PERFMON, NET_ADMIN"),
        _line("perf_event_paranoid", EXPLAINED.get(machine.perf_event_paranoid, machine.perf_event_paranoid)),
        _line("lockdown", machine.lockdown or "none"),
        _line("cgroup v2", cgroup_root or "not mounted"),
        _line("locked memory", memlock),
    ]


def examine(door: Door, collectors: Sequence[Collector], settings: KernelSettings) -> tuple[list[str], bool]:
    """Load everything once. The second value says whether the default set can run."""
    try:
        loaded = door.load(collectors, settings)
    except BpfleetError as error:
        return [
            _line("compiled against", "nothing"),
            *(_line(each.name, f"off: {error}") for each in collectors),
        ], False
    try:
        size = sum(table.bytes for table in loaded.tables())
        proof = f", {loaded.assertions} offsets and sizes proven" if loaded.assertions else ""
        kept = f", programs {loaded.origin}" if loaded.origin else ""
        lines = [
            _line("compiled against", f"{loaded.headers}{proof}{kept}"),
            _line("memory of the maps", f"{size / 2**20:.1f} MiB"),
        ]
        lines += [_line(name, _verdict(outcome)) for name, outcome in loaded.outcomes.items()]
        return lines, all(loaded.outcomes[each.name].up for each in collectors if each.default)
    finally:
        loaded.close()


def _verdict(outcome: Outcome) -> str:
    if not outcome.up:
        return f"off: {outcome.reason}"
    used = ", ".join(dict.fromkeys(outcome.hooks))
    return f"on: {used}" + (f" (without: {outcome.reason})" if outcome.reason else "")


def _line(name: str, value: str) -> str:
    return f"{name:<{WIDTH}}  {value}"
