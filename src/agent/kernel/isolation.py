"""A unit of collectors, of which any may fail without taking the others along.

What fails is found out, left out with its reason, and the rest is compiled again. The child does the work and decides
nothing; this file decides and does nothing.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from errno import EINVAL, EPERM
from typing import Any, Protocol

from agent.kernel import facts, programs
from agent.kernel.child import LoaderGone
from agent.kernel.facts import Facts
from agent.kernel.programs import Culprit, Unit
from bpfleet.api import (
    AnyOf,
    Collector,
    Packet,
    Probe,
    RawTracepoint,
    SocketIterator,
    SystemCall,
    TailCall,
    TracingFunction,
)
from bpfleet.errors import CompileError, HeadersError, HostError, KernelError, LoadError

LAYOUT_PROOF = "layout_proof.h"
READS_KERNEL = "PERFMON"
"""What a program needs that reads the kernel's own structures. Packets it has in a form that is the same everywhere."""
CALLED = (Packet, SystemCall)
"""Functions that a base's programs call: there is nothing more of them to load."""

MAP = "bpf map"  # in BCC's message that one cannot be made


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


class Stale(KernelError):
    """The verifier refused a unit that was kept by an earlier start: the child compiles it the next time."""


@dataclass
class Attached:
    """What became of a unit. maps: as the loader describes them; descriptors: by `map:` and `link:` name."""

    outcomes: dict[str, Outcome] = field(default_factory=dict)
    maps: list[dict[str, Any]] = field(default_factory=list)
    descriptors: dict[str, int] = field(default_factory=dict)


@dataclass
class Uses:
    """Of one collector: hooks in use with their functions, and what an optional one lacks."""

    hooks: list[str] = field(default_factory=list)
    functions: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


class Isolation:
    """cgroup: the directory on which packet programs are attached. machine: explains what the kernel refuses.
    headers_release: of which kernel the headers are that are compiled against, where they tell."""

    def __init__(
        self,
        child: Asks,
        cgroup: str,
        limits: Mapping[str, int],
        bounds: Mapping[str, Sequence[float]],
        machine: Facts,
        headers_release: str = "",
    ) -> None:
        self._child = child
        self._cgroup = cgroup
        self._limits = limits
        self._bounds = bounds
        self._machine = machine
        self._strange = headers_release if headers_release != machine.release else ""

    def attach(self, unit: Unit) -> Attached:
        """Raises HeadersError if the header tree is wrong, HostError without a compiler, and LoaderGone: then nothing
        can be said of the others."""
        untried = {each.name: self._why_not(each) for each in unit.collectors}
        outcomes = {name: Outcome(False, reason=reason) for name, reason in untried.items() if reason}
        kept = [each for each in unit.collectors if each.name not in outcomes]
        while kept:
            try:
                attached = self._attempt(unit, kept)
            except Culprit as culprit:
                outcomes[culprit.collector.name] = Outcome(False, reason=str(culprit))
                kept.remove(culprit.collector)
            except Stale:
                continue
            except (HeadersError, LoaderGone):
                raise
            except KernelError as error:
                kept, refused = self._one_by_one(unit, kept, error)
                outcomes.update({name: Outcome(False, reason=reason) for name, reason in refused.items()})
            else:
                attached.outcomes.update(outcomes)
                return attached
        return Attached(outcomes)

    def _why_not(self, collector: Collector) -> str:
        """Why a fragment is not even tried. On a kernel that lacks its instructions it would take others with it.
        Without PERFMON the verifier walks every path of a long one, which takes it up to half a minute to refuse; what
        cannot run without a probe that needs PERFMON would be refused anyway."""
        if collector.base is not None and facts.version(self._machine.release) < facts.version(collector.since):
            return f"not tried: it runs on Linux {collector.since} and newer"
        leaves = any(isinstance(probe, TailCall) for probe in collector.probes)
        for probe in collector.probes if leaves else ():
            if isinstance(probe, Probe) and "PERFMON" in self._machine.lacking(probe.capabilities):
                return f"{probe.hook}: {probe.function}: not tried (without the capability PERFMON)"
        return ""

    def _one_by_one(
        self, unit: Unit, collectors: Sequence[Collector], error: KernelError
    ) -> tuple[list[Collector], dict[str, str]]:
        """Which collectors work together, and why the others were left out, when the error does not tell."""
        kept: list[Collector] = []
        refused: dict[str, str] = {}
        base_refusal = str(error) if unit.base is None else self.refusal(unit, [])
        if base_refusal:
            return [], {each.name: base_refusal for each in collectors}
        for collector in collectors:
            reason = self.refusal(unit, [*kept, collector])
            if reason:
                refused[collector.name] = reason
            else:
                kept.append(collector)
        if not refused:  # this time they all work: the error would only come again
            return [], {each.name: str(error) for each in collectors}
        return kept, refused

    def refusal(self, unit: Unit, kept: Sequence[Collector]) -> str:
        """Why these fragments cannot be part of the base's programs; empty if they can. Raises as attach() does."""
        try:
            self._load_base(unit, kept)
        except Stale:
            return self.refusal(unit, kept)
        except (HeadersError, LoaderGone):
            raise
        except KernelError as error:
            return str(error)
        return ""

    def _load_base(self, unit: Unit, kept: Sequence[Collector], idle: Collection[str] = ()) -> list[dict[str, Any]]:
        """Compile, and have the base's programs verified. Returns the maps."""
        answer = self._child.ask("compile", text=programs.text(unit, kept, self._limits, self._bounds, idle))
        if "error" in answer:
            if of := {"headers": HeadersError, "host": HostError}.get(answer.get("of", "")):
                raise of(answer["error"])
            raise _blame(kept, answer["error"], self._machine)
        for probe in unit.base.probes if unit.base else ():
            self._load(probe)
        maps: list[dict[str, Any]] = answer["maps"]
        return maps

    def _attempt(self, unit: Unit, kept: Sequence[Collector], idle: frozenset[str] = frozenset()) -> Attached:
        """All of them, or an exception. idle: functions that the base need not call, because their collectors have a
        better hook."""
        attached = Attached(maps=self._load_base(unit, kept, idle))
        base = unit.base.probes if unit.base else ()
        uses = {each.name: Uses() for each in kept}
        walks: list[tuple[Collector, Probe | AnyOf]] = []
        for collector in kept:
            for probe in collector.probes:
                if _walks(probe):  # only when what follows new sockets is in place
                    walks.append((collector, probe))
                else:
                    self._hook(collector, probe, uses[collector.name], base)
        for collector, wanted in walks:
            self._hook(collector, wanted, uses[collector.name], base)
        offered = {name for kind in CALLED for name in programs.called_functions(kept, kind)}
        called = offered & {name for used in uses.values() for name in used.functions}
        if called and offered - called - idle:
            return self._attempt(unit, kept, frozenset(offered - called))
        # Last, so that the first packet of an old socket finds what the walk has noted. Where all have a better hook,
        # not at all.
        for probe in base if called or not offered else ():
            self._attach(probe)
        attached.descriptors = self._child.hand_over()
        for name, used in uses.items():
            attached.outcomes[name] = Outcome(True, tuple(dict.fromkeys(used.hooks)), "; ".join(used.notes))
        return attached

    def _hook(self, collector: Collector, wanted: Probe | AnyOf, uses: Uses, base: Sequence[Probe]) -> None:
        """Use the first alternative that works. Raises Culprit if there is none and one is needed: none is of what only
        completes functions that are not in use."""
        reasons = []
        probes = wanted.probes if isinstance(wanted, AnyOf) else (wanted,)
        probes = tuple(each for each in probes if not each.beside or each.beside in uses.functions)
        for probe in probes:
            try:
                if not isinstance(probe, CALLED):
                    self._load(probe)
                    self._attach(probe)
            except LoadError as error:
                reasons.append(str(error))
            else:
                uses.hooks += [each.hook for each in base] if isinstance(probe, CALLED) else [probe.hook]
                uses.functions.add(probe.function)
                uses.notes += reasons
                return
        if probes and not (isinstance(wanted, AnyOf) and wanted.optional):
            raise Culprit(collector, "; ".join(dict.fromkeys(reasons)))
        uses.notes += reasons

    def _load(self, probe: Probe) -> None:
        if self._strange and READS_KERNEL in probe.capabilities:
            raise LoadError(
                f"the headers are of {self._strange}, this kernel is {self._machine.release}: "
                "what it keeps may lie elsewhere"
            )
        answer = self._child.ask("load", function=probe.function, hook=probe.hook)
        if "error" in answer:
            reason = programs.verifier_reason(answer.get("log", ""))
            detail = f"{answer['error']}: {reason}" if reason else answer["error"]
            if answer.get("stale"):
                raise Stale(detail)
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
        # The verifier's own words for it, or it walks too many paths. The packet programs themselves load without, but
        # not on old kernels.
        alone = "too large" in refusal and self._machine.lacking(("PERFMON",))
        if alone or "!root" in refusal or "pointer comparison prohibited" in refusal:
            return " (without the capability PERFMON the verifier allows less)"
        if isinstance(probe, RawTracepoint) and refusal.endswith(os.strerror(EINVAL)):
            return " (this kernel passes fewer arguments there)"
        if isinstance(probe, TracingFunction) and refusal.endswith(os.strerror(EPERM)):
            return " (this kernel lets nobody trace its functions)"
        if probe.since and ("this kernel has no" in refusal or "unknown func" in refusal):
            return f" (in kernels since {probe.since})"
        return ""


def _blame(kept: Sequence[Collector], messages: str, machine: Facts) -> KernelError:
    """The compiler's first error, as the failure of the collector in whose file it is. Maps are made there too."""
    error = programs.first_error(messages)
    if error is None:
        lines = [line for line in messages.splitlines() if line.strip()]
        said = lines[0] if lines else "the compiler failed without a message"
        return CompileError(said + (f" ({facts.LOCKED_MEMORY})" if facts.locks_maps(machine) and MAP in said else ""))
    if error.file == LAYOUT_PROOF:
        return HeadersError(f"the header tree does not have the kernel's layout: {error.text}")
    for collector in kept:
        if error.file in collector.files:
            return Culprit(collector, str(error))
    return CompileError(str(error))


def _walks(probe: Probe | AnyOf) -> bool:
    return any(isinstance(each, SocketIterator) for each in (probe.probes if isinstance(probe, AnyOf) else (probe,)))
