"""Two network namespaces with a bad link between them, on a kernel without netem.

Each side has a TUN device; a process of its own (this file run as a script) carries packets from one to the other and
delays, drops, doubles and reorders them by schedule. The devices are not persistent and the namespaces have no name:
when the test dies, in whatever way, the process sees its control socket close and everything is gone.

No TUN offload is asked for: the sender's TCP still builds super-packets that are cut up just before the device, but
the receiver sees single segments. What concerns merged buffers belongs on a veth pair.
"""

import contextlib
import dataclasses
import json
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import lanes
from tests.support.lanes import Faults, Lane

QUEUE_PACKETS = 20_000
"""Transmit queue of the TUN devices: a whole burst fits while Python is not looking."""

BATCH = 64
"""Packets taken from one side before the other side and the clock get their turn."""

MAX_MESSAGE = 1 << 16
STILL_SECONDS = 0.05

ADDRESSES = {"a": ("198.51.100.1", "2001:db8::1"), "b": ("198.51.100.2", "2001:db8::2")}
"""Documentation addresses (RFC 5737, RFC 3849): never anybody's."""


class Relay:
    """`with Relay(ab={"delay_ms": 20}) as relay:`; sides are relay.a and relay.b (Namespace)."""

    def __init__(self, both: dict[str, Any] | None = None, **directions: dict[str, Any]) -> None:
        self.first = self.directions(both, directions)

    @staticmethod
    def directions(both: dict[str, Any] | None, each: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Settings for `ab` and `ba`; checked before anything is built."""
        merged = {way: (both or {}) | each.get(way, {}) for way in ("ab", "ba")}
        for settings in merged.values():
            Faults.of(settings)
        return merged

    def __enter__(self) -> "Relay":
        from tests.support.namespaces import Namespace

        with contextlib.ExitStack() as stack:
            self.a, self.b = (stack.enter_context(Namespace(name)) for name in ("a", "b"))
            tuns = [side.tun("tun0", ADDRESSES[side.name], QUEUE_PACKETS) for side in (self.a, self.b)]
            self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            stack.callback(self.control.close)
            with theirs:
                passed = [*tuns, theirs.fileno()]
                self.process = subprocess.Popen([sys.executable, __file__, *map(str, passed)], pass_fds=passed)
            stack.callback(self.process.wait)
            stack.callback(self.control.close)
            for tun in tuns:
                os.close(tun)
            self.ask(self.first)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self.control.send(json.dumps(request).encode())
        report: dict[str, Any] = json.loads(self.control.recv(MAX_MESSAGE))
        return report

    def use(self, both: dict[str, Any] | None = None, **directions: dict[str, Any]) -> None:
        """A new schedule, in force when this returns. Without arguments: a perfect link."""
        self.ask(self.directions(both, directions))

    def counts(self) -> dict[str, Any]:
        """{"ab": {"tcp_data": Tally as dict, ..., "pending": 0, "failed": 0}, "ba": ...} of now."""
        return self.ask({})

    def settled(self, timeout_seconds: float = 10.0) -> dict[str, Any]:
        """The counts once nothing waits in the relay and nothing has moved for a moment."""
        before, end = self.counts(), time.monotonic() + timeout_seconds
        while time.monotonic() < end:
            time.sleep(STILL_SECONDS)
            now = self.counts()
            if now == before and not any(now[way]["pending"] for way in now):
                return now
            before = now
        raise TimeoutError(f"still moving: {before}")

    def overruns(self) -> int:
        """Packets that the kernel dropped because the relay was too slow; an exact test needs 0."""
        return sum(side.interface("tun0").tx_dropped for side in (self.a, self.b))


def answer(request: dict[str, Any], both: list[Lane]) -> dict[str, Any]:
    for lane in both:
        if lane.name in request:
            lane.use(Faults.of(request[lane.name]))
    return {
        lane.name: {kind: dataclasses.asdict(lane.tallies[kind]) for kind in lanes.KINDS}
        | {"pending": lane.pending(), "failed": lane.failed}
        for lane in both
    }


def carry(tun_a: int, tun_b: int, control: socket.socket) -> None:
    """The process: runs until the control socket closes."""
    by_tun = {
        tun_a: Lane("ab", lambda packet: os.write(tun_b, packet)),
        tun_b: Lane("ba", lambda packet: os.write(tun_a, packet)),
    }
    both = list(by_tun.values())
    while True:
        wait = min(lane.next_due() for lane in both) - time.monotonic()
        ready, _, _ = select.select([tun_a, tun_b, control], [], [], None if wait == float("inf") else max(0.0, wait))
        for lane in both:
            lane.advance(time.monotonic())
        for source in ready:
            if source is control:
                if not (request := control.recv(MAX_MESSAGE)):
                    return
                with contextlib.suppress(BrokenPipeError):
                    control.send(json.dumps(answer(json.loads(request), both)).encode())
                continue
            with contextlib.suppress(BlockingIOError):
                for _ in range(BATCH):
                    by_tun[source].take(os.read(source, MAX_MESSAGE), time.monotonic())


if __name__ == "__main__":
    first, second, control_fd = map(int, sys.argv[1:])
    carry(first, second, socket.socket(fileno=control_fd))
