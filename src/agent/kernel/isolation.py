"""A unit of collectors, of which any may fail without taking the others along.

What fails is found out, left out with its reason, and the rest is compiled again. The child does the work and decides
nothing; this file decides and does nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from agent.kernel import programs
from agent.kernel.facts import Facts
from agent.kernel.programs import Unit
from bpfleet.api import AnyOf, Collector, Packet, Probe, SocketIterator
from bpfleet.errors import CompileError, HeadersError, KernelError, LoadError

LAYOUT_PROOF = "layout_proof.h"


class Asks(Protocol):
    """The loader child, or a script in its place."""

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]: ...
    def hand_over(self) -> dict[str, int]: ...


@dataclass(frozen=True)
class Outcome:
    """hooks: the ones in use. reason: why it is off, or what it does without."""

    up: bool
    hooks: tuple[str, ...] = ()
    reason: str = ""


@dataclass
class Attached:
    """What became of a unit. maps: as the loader describes them; descriptors: by `map:` and `link:` name."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    maps: list[dict[str, Any]] = field(default_factory=list)
    descriptors: dict[str, int] = field(default_factory=dict)


class Culprit(LoadError):
    """One collector fails, and which one is known."""

    def __init__(self, collector: Collector, reason: str) -> None:
        super().__init__(reason)
        self.collector = collector


class Isolation:
    """cgroup: the directory on which packet programs are attached. machine: explains what the kernel refuses."""

    def __init__(
        self,
        child: Asks,
        cgroup: str,
        limits: Mapping[str, int],
        bounds: Mapping[str, Sequence[float]],
        machine: Facts,
    ) -> None:
        self._child = child
        self._cgroup = cgroup
        self._limits = limits
        self._bounds = bounds
        self._machine = machine

    def attach(self, unit: Unit) -> Attached:
        """Raises HeadersError if the header tree is wrong: then nothing can be trusted."""
        outcomes: dict[str, Outcome] = {}
        kept = list(unit.collectors)
        while kept:
            try:
                attached = self._attempt(Unit(unit.base, tuple(kept)))
            except Culprit as culprit:
                outcomes[culprit.collector.name] = Outcome(False, reason=str(culprit))
                kept.remove(culprit.collector)
            except HeadersError:
                raise
            except KernelError as error:
                kept, refused = self._one_by_one(Unit(unit.base, tuple(kept)), error)
                outcomes.update({name: Outcome(False, reason=reason) for name, reason in refused.items()})
            else:
                attached.outcomes.update(outcomes)
                return attached
        return Attached(outcomes)

    def _one_by_one(self, unit: Unit, error: KernelError) -> tuple[list[Collector], dict[str, str]]:
        """Which collectors work together, and why the others were left out, when the error does not tell."""
        if unit.base is None:
            return [], {each.name: str(error) for each in unit.collectors}
        try:
            self._load_base(Unit(unit.base, ()))
        except KernelError as base_error:
            return [], {each.name: str(base_error) for each in unit.collectors}
        kept: list[Collector] = []
        refused: dict[str, str] = {}
        for collector in unit.collectors:
            try:
                self._load_base(Unit(unit.base, (*kept, collector)))
            except HeadersError:
                raise
            except KernelError as reason:
                refused[collector.name] = str(reason)
            else:
                kept.append(collector)
        if not refused:  # each works, all together do not: the cause is not in their texts
            return [], {each.name: str(error) for each in unit.collectors}
        return kept, refused

    def _load_base(self, unit: Unit) -> list[dict[str, Any]]:
        """Compile a unit and have its base's programs verified. Returns its maps."""
        answer = self._child.ask("compile", text=programs.text(unit, self._limits, self._bounds))
        if "error" in answer:
            self._refuse(unit, answer["error"])
        for probe in unit.base.probes if unit.base else ():
            self._load(probe)
        maps: list[dict[str, Any]] = answer["maps"]
        return maps

    @staticmethod
    def _refuse(unit: Unit, messages: str) -> None:
        error = programs.first_error(messages)
        if error is None:
            lines = [line for line in messages.splitlines() if line.strip()]
            raise CompileError(lines[0] if lines else "the compiler failed without a message")
        if error.file == LAYOUT_PROOF:
            raise HeadersError(f"the header tree does not have the kernel's layout: {error.text}")
        for collector in unit.collectors:
            if collector.program == error.file:
                raise Culprit(collector, str(error))
        raise CompileError(str(error))

    def _attempt(self, unit: Unit) -> Attached:
        attached = Attached(maps=self._load_base(unit))
        hooks: dict[str, list[str]] = {each.name: [] for each in unit.collectors}
        notes: dict[str, list[str]] = {each.name: [] for each in unit.collectors}
        base = unit.base.probes if unit.base else ()
        late: list[tuple[Collector, Probe | AnyOf]] = []
        for collector in unit.collectors:
            if any(isinstance(probe, Packet) for probe in collector.probes):
                hooks[collector.name] += programs.flat(base)
            for probe in collector.probes:
                if isinstance(probe, Packet):
                    continue
                if _walks(probe):  # only when what follows new sockets is in place
                    late.append((collector, probe))
                else:
                    self._hook(collector, probe, hooks, notes)
        for collector, alternatives in late:
            self._hook(collector, alternatives, hooks, notes)
        for probe in base:  # last, so that the first packet of an old socket finds what the walk noted
            self._attach(probe)
        attached.descriptors = self._child.hand_over()
        for collector in unit.collectors:
            name = collector.name
            attached.outcomes[name] = Outcome(True, tuple(hooks[name]), "; ".join(notes[name]))
        return attached

    def _hook(
        self,
        collector: Collector,
        wanted: Probe | AnyOf,
        hooks: dict[str, list[str]],
        notes: dict[str, list[str]],
    ) -> None:
        """Use the first alternative that works."""
        reasons = []
        for probe in wanted.probes if isinstance(wanted, AnyOf) else (wanted,):
            try:
                self._load(probe)
                self._attach(probe)
            except LoadError as error:
                reasons.append(str(error))
            else:
                hooks[collector.name].append(probe.hook)
                notes[collector.name] += reasons
                return
        if not (isinstance(wanted, AnyOf) and wanted.optional):
            raise Culprit(collector, "; ".join(reasons))
        notes[collector.name] += reasons

    def _load(self, probe: Probe) -> None:
        answer = self._child.ask("load", function=probe.function, hook=probe.hook)
        if "error" in answer:
            reason = programs.verifier_reason(answer.get("log", ""))
            detail = f"{answer['error']}: {reason}" if reason else answer["error"]
            raise LoadError(f"{probe.hook}: {probe.function}: {detail}{self._why(probe, detail)}")

    def _attach(self, probe: Probe) -> None:
        answer = self._child.ask("attach", function=probe.function, hook=probe.hook, cgroup=self._cgroup)
        if "error" not in answer and isinstance(probe, SocketIterator):
            answer = self._child.ask("walk", function=probe.function)
        if "error" in answer:
            raise LoadError(f"{answer['error']}{self._why(probe, answer['error'])}")

    def _why(self, probe: Probe, refusal: str) -> str:
        """The cause, where this machine's facts tell it."""
        lacking = self._machine.lacking(probe.capabilities)
        if lacking:
            return f" (without the capability {', '.join(lacking)})"
        if self._machine.lockdown == "confidentiality" and "probe_read" in refusal:
            return " (kernel lockdown is confidentiality, which forbids reading kernel memory)"
        if "this kernel has no" in refusal or "No such file" in refusal:
            return f" (in kernels since {probe.since})"
        return ""


def _walks(probe: Probe | AnyOf) -> bool:
    return any(isinstance(each, SocketIterator) for each in (probe.probes if isinstance(probe, AnyOf) else (probe,)))
