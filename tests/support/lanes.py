"""One direction of a bad link: which packets does it drop, double, hold back, and when do the others leave?

Pure: packets and the clock come in, packets go out through a callable. relay.py gives it a process and two TUN devices.
"""

import collections
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from typing import Any

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
SYN = 0x02
KINDS = ("tcp_data", "tcp_syn", "tcp_control", "udp", "icmp", "other")


def kind_of(packet: bytes) -> str:
    """One of KINDS, from the IP header on. Fragments and IPv6 extension headers are `other`."""
    if packet[0] >> 4 == 4:
        start, protocol = (packet[0] & 15) * 4, packet[9]
        if packet[6] & 0x3F or packet[7]:
            return "other"
    else:
        start, protocol = 40, packet[6]
    if protocol == UDP:
        return "udp"
    if protocol in (ICMP, ICMP6):
        return "icmp"
    if protocol != TCP:
        return "other"
    if packet[start + 13] & SYN:
        return "tcp_syn"
    payload = start + (packet[start + 12] >> 4) * 4
    return "tcp_data" if len(packet) > payload else "tcp_control"


@dataclass(frozen=True)
class Faults:
    """The schedule of one direction.

    delay_ms: one way, for every packet.
    drop, duplicate, reorder: which of the matching packets: "1/10" every tenth, "@1,2,7" these ones, "0.05" by seeded
    chance, "" none.
    gap, hold_ms: a reordered packet leaves after `gap` later ones, at the latest after hold_ms.
    match: the kinds that the three faults look at and count.
    """

    delay_ms: float = 0.0
    drop: str = ""
    duplicate: str = ""
    reorder: str = ""
    gap: int = 3
    hold_ms: float = 20.0
    match: tuple[str, ...] = KINDS
    seed: int = 23

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "Faults":
        """Raises ValueError on an unknown name or kind."""
        known = {one.name for one in fields(cls)}
        if unknown := set(settings) - known:
            raise ValueError(f"unknown fault {sorted(unknown)}, allowed are {sorted(known)}")
        match = tuple(settings.get("match", KINDS))
        if wrong := set(match) - set(KINDS):
            raise ValueError(f"unknown kind {sorted(wrong)}, allowed are {KINDS}")
        return cls(**{**settings, "match": match})


def picker(text: str, seed: str) -> Callable[[], bool]:
    """A function that says for each packet in turn whether the fault hits it."""
    if not text:
        return lambda: False
    ordinals = iter(range(1, 1 << 62))
    if text.startswith("1/"):
        every = int(text[2:])
        return lambda: next(ordinals) % every == 0
    if text.startswith("@"):
        chosen = {int(number) for number in text[1:].split(",")}
        return lambda: next(ordinals) in chosen
    chance, dice = float(text), random.Random(seed).random
    return lambda: dice() < chance


@dataclass
class Tally:
    """Packets of one kind. passed + dropped = taken from the sender; duplicated are copies on top of passed;
    reordered were overtaken by a later packet, asked for or not."""

    passed: int = 0
    dropped: int = 0
    duplicated: int = 0
    reordered: int = 0


@dataclass
class Parcel:
    """A packet on its way: when it is due, its place in the order of arrival, and how many copies leave."""

    due: float
    number: int
    kind: str
    packet: bytes
    copies: int
    overtakers: int = 0


@dataclass
class Lane:
    """name seeds the chances, so that two directions differ; send writes one packet to the far side."""

    name: str
    send: Callable[[bytes], object]
    faults: Faults = field(default_factory=Faults)

    def __post_init__(self) -> None:
        self.tallies = {kind: Tally() for kind in KINDS}
        self.queue: collections.deque[Parcel] = collections.deque()
        self.held: list[Parcel] = []
        self.number = self.highest = self.failed = 0
        self.use(self.faults)

    def use(self, faults: Faults) -> None:
        """Change the schedule; every-nth and ordinal counts start anew."""
        self.faults = faults
        self.drop, self.duplicate, self.reorder = (
            picker(text, f"{faults.seed} {self.name} {what}")
            for what, text in (("drop", faults.drop), ("duplicate", faults.duplicate), ("reorder", faults.reorder))
        )

    def take(self, packet: bytes, now: float) -> None:
        kind = kind_of(packet)
        faulty = kind in self.faults.match
        if faulty and self.drop():
            self.tallies[kind].dropped += 1
            return
        self.number += 1
        due = now + self.faults.delay_ms / 1e3
        if self.queue:
            due = max(due, self.queue[-1].due)
        parcel = Parcel(due, self.number, kind, packet, 1 + (faulty and self.duplicate()))
        if faulty and self.reorder():
            parcel.overtakers, parcel.due = self.faults.gap, due + self.faults.hold_ms / 1e3
            self.held.append(parcel)
        elif self.queue or due > now:
            self.queue.append(parcel)
        else:
            self.deliver(parcel)

    def deliver(self, parcel: Parcel) -> None:
        try:
            for _ in range(parcel.copies):
                self.send(parcel.packet)
        except OSError:
            self.failed += 1
            return
        tally = self.tallies[parcel.kind]
        tally.passed += 1
        tally.duplicated += parcel.copies - 1
        tally.reordered += parcel.number < self.highest
        self.highest = max(self.highest, parcel.number)
        for released in list(self.overtaken(parcel.number)):
            self.held.remove(released)
            self.deliver(released)

    def overtaken(self, number: int) -> Iterator[Parcel]:
        """Held packets for which the packet `number` was the last that they had to wait for."""
        for parcel in self.held:
            if parcel.number < number:
                parcel.overtakers -= 1
                if parcel.overtakers == 0:
                    yield parcel

    def advance(self, now: float) -> None:
        """Send what is due."""
        while self.queue and self.queue[0].due <= now:
            self.deliver(self.queue.popleft())
        for parcel in [held for held in self.held if held.due <= now]:
            if parcel in self.held:
                self.held.remove(parcel)
                self.deliver(parcel)

    def next_due(self) -> float:
        """When advance() has something to do; infinity if nothing waits."""
        waiting = [parcel.due for parcel in self.held]
        if self.queue:
            waiting.append(self.queue[0].due)
        return min(waiting, default=float("inf"))

    def pending(self) -> int:
        return len(self.queue) + len(self.held)
