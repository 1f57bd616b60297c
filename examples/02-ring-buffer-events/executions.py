"""Which programs does each workload start, and when? Kernel half: executions.bpf.c."""

import struct
from collections.abc import Iterator

from bpfleet.api import Channel, Collector, Event, Maps, Option, RawTracepoint

EXECUTION = "bpfleet.process.execution"

RECORD = struct.Struct("=QQI4x256s")
"""`struct execution` of executions.bpf.c."""


class Executions(Collector):
    name = "executions"
    program = "executions.bpf.c"
    probes = (RawTracepoint("on_execution", tracepoint="sched_process_exec"),)
    channels = (Channel("executions", lost=("ring_full",), runs=("on_execution",)),)
    event_names = (EXECUTION,)
    options = (Option("paths", (), "Beginnings of paths that are told of; all where there is none.", pattern="/.*"),)
    default = False

    def events(self, maps: Maps) -> Iterator[Event]:
        for record in maps.records("executions"):
            maps.deliver("executions", 1)
            event = decode(record)
            if self.wants(str(event.attributes["process.executable.path"])):
                yield event

    def wants(self, path: str) -> bool:
        wanted = self.given["paths"]
        return not wanted or (isinstance(wanted, tuple) and path.startswith(wanted))


def decode(record: bytes) -> Event:
    time_ns, cgroup_id, process, path = RECORD.unpack(record)
    text = path.partition(b"\0")[0].decode(errors="backslashreplace")
    return Event(EXECUTION, time_ns, cgroup_id, {"process.pid": process, "process.executable.path": text})
