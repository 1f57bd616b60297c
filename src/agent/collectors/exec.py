"""Programs that watched workloads start: which, by whom, with which arguments. Kernel half: exec.bpf.c.

What is told here is raw: all arguments that were kept. Redacting comes later on the event's way."""

import posixpath
import shlex
import struct
from collections.abc import Iterator, Mapping
from typing import Final

from agent.security import buckets, processes
from agent.security.orders import Orders
from bpfleet import catalogue
from bpfleet.api import Channel, Collector, Event, Maps, RawTracepoint, Sample
from bpfleet.events import SECURITY_EXEC, Attribute

LONGEST_LINE: Final = 1024
"""Characters that a record holds of a text: quotes make a command line longer than what was kept of it."""

_RECORD: Final = struct.Struct("=QQ")


class Exec(Collector):
    name = "exec"
    program = "exec.bpf.c"
    default = False
    probes = (RawTracepoint("on_exec", tracepoint="sched_process_exec"),)
    metrics = (catalogue.SECURITY_SUPPRESSED,)
    channels = (Channel("exec", lost=("rate_limit", "ring_full"), runs=("on_exec",)),)
    event_names = (SECURITY_EXEC,)

    def defines(self, limits: Mapping[str, int]) -> dict[str, str]:
        return {"MAX_CGROUPS": str(limits["cgroups"])}

    def steer(self, maps: Maps, orders: Orders) -> int:
        """From now on these are watched and no others. Returns how many found no room."""
        return maps.replace("exec_watches", orders.rows(self.name))

    def collect(self, maps: Maps) -> Iterator[Sample]:
        return buckets.suppressed(maps, self.name)

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("execs"):
            maps.deliver("exec", 1)
            yield decode(record)


def decode(record: bytes) -> Event:
    """`struct exec_record` of exec.bpf.c. What is not known is left out. Raises ValueError where there is less than it
    says."""
    if len(record) < _RECORD.size:
        raise ValueError(f"a record of {len(record)} bytes")
    total, kept = _RECORD.unpack_from(record)
    told = processes.decode(record[_RECORD.size :])
    if len(told.rest) < kept:
        raise ValueError(f"a record with {len(told.rest)} of {kept} bytes of arguments")
    attributes = told.attributes
    attributes.update(_script(told.parts))
    line = command_line(told.rest[:kept]) if kept else ""
    if line:
        attributes["process.command_line"] = line
    if total > kept or len(line) > LONGEST_LINE:
        attributes["bpfleet.process.arguments.size"] = total
    return Event(SECURITY_EXEC, told.time_ns, told.cgroup_id, attributes)


def command_line(arguments: bytes) -> str:
    """As a shell would have it. The last one may have been cut, and then has no end."""
    return shlex.join(map(processes.text, arguments.removesuffix(b"\0").split(b"\0")))


def _script(parts: Mapping[int, processes.Part]) -> Iterator[tuple[str, Attribute]]:
    """Where a script was started by a path that is none of the root's, by that of the directory it was started in."""
    script, interpreter = parts.get(processes.SCRIPT), parts.get(processes.INTERPRETER)
    if script and script.texts:
        directory = parts.get(processes.DIRECTORY)
        path = script.text
        if directory and not path.startswith("/"):
            path = posixpath.join(directory.path, path.removeprefix("./"))
        yield "bpfleet.process.script", path
    if interpreter and interpreter.texts:
        yield "bpfleet.process.interpreter", interpreter.text
