"""Network namespaces without a name, what connects them, and their kernel counters (the witnesses)."""

import contextlib
import ctypes
import fcntl
import json
import os
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

ETHERNET_HEADER = 14
"""Bytes that a veth counter has on top of each IP packet."""

NEVER_MS = 2_000_000_000
"""The kernel repeats its multicast reports after a random part of this."""

STILL_SECONDS = 0.03

RUN_SECONDS = 60.0
"""No command of a test takes longer, unless it says so."""


@dataclass(frozen=True)
class Interface:
    """Counters of a device: bytes include the link header, a super-packet is one packet."""

    rx_packets: int
    rx_bytes: int
    tx_packets: int
    tx_bytes: int
    tx_dropped: int

    def __sub__(self, earlier: "Interface") -> "Interface":
        return Interface(*(getattr(self, name) - getattr(earlier, name) for name in self.__dataclass_fields__))


class Namespace:
    """A network namespace for the time of a `with`; loopback is up, IPv6 makes no addresses of its own.

    made_by: process id of one that has unshared its own, instead of a new one."""

    def __init__(self, name: str, made_by: int = 0) -> None:
        self.name = name
        self.made_by = made_by

    def __enter__(self) -> "Namespace":
        path = f"/proc/{self.made_by}/ns/net"
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC) if self.made_by else _new_namespace()
        try:
            self.write("net/ipv6/conf/default/accept_dad", 0)
            self.write("net/ipv6/conf/default/router_solicitations", 0)
            self.write("net/ipv6/conf/default/mldv2_unsolicited_report_interval", NEVER_MS)
            self.ip("link set lo up")
        except BaseException:
            os.close(self.fd)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)

    def command(self, argv: Sequence[str]) -> list[str]:
        """argv that runs inside; the descriptor has to be passed on (pass_fds)."""
        return ["nsenter", f"--net=/proc/self/fd/{self.fd}", "--", *argv]

    def run(self, argv: Sequence[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run inside, outside every test cgroup: for set-up and witnesses."""
        defaults: dict[str, Any] = {"check": True, "text": True, "capture_output": True, "timeout": RUN_SECONDS}
        passed = (self.fd, *options.pop("pass_fds", ()))
        return subprocess.run(self.command(argv), pass_fds=passed, **(defaults | options))

    def ip(self, *lines: str, **options: Any) -> None:
        self.run(["ip", "-batch", "-"], input="\n".join(lines), **options)

    def write(self, setting: str, value: object) -> None:
        """A /proc/sys setting, e.g. net/ipv4/ip_forward."""
        _in_namespace(self.fd, lambda: Path("/proc/sys", setting).write_text(f"{value}\n"))

    def tun(self, device: str, addresses: Sequence[str], queue_packets: int) -> int:
        """A TUN device that is up; the descriptor's holder sends and receives its packets."""
        tun: int = _in_namespace(self.fd, lambda: _open_tun(device))
        try:
            self.write(f"net/ipv6/conf/{device}/router_solicitations", 0)
            self.ip(
                f"link set {device} addrgenmode none txqueuelen {queue_packets} up",
                *(f"address add {one}/{64 if ':' in one else 24} dev {device} {_nodad(one)}" for one in addresses),
            )
        except BaseException:
            os.close(tun)
            raise
        return tun

    def interface(self, device: str) -> Interface:
        """From /proc/net/dev."""
        for line in self._lines("dev"):
            name, _, numbers = line.partition(":")
            if name.strip() == device:
                rx_bytes, rx_packets, *_, tx_bytes, tx_packets, _, tx_dropped = list(map(int, numbers.split()))[:12]
                return Interface(rx_packets, rx_bytes, tx_packets, tx_bytes, tx_dropped)
        raise LookupError(f"no device {device}")

    def counters(self) -> dict[str, int]:
        """/proc/net/snmp, netstat and snmp6: {"TcpRetransSegs": 3, "TcpExtTCPDSACKRecv": 1, "Icmp6InMsgs": 0}."""
        found = {}
        lines = [*self._lines("snmp"), *self._lines("netstat")]
        for names, values in zip(lines[::2], lines[1::2], strict=True):
            prefix = names.split(":")[0]
            found.update(zip((prefix + one for one in names.split()[1:]), map(int, values.split()[1:]), strict=True))
        for line in self._lines("snmp6"):
            name, value = line.split()
            found[name] = int(value)
        return found

    def _lines(self, name: str) -> list[str]:
        """Of a file in /proc/net."""
        text: str = _in_namespace(self.fd, Path("/proc/thread-self/net", name).read_text)
        return text.splitlines()

    def sockets(self, *filters: str) -> list[str]:
        """Lines of `ss -tinHO` for the filter, e.g. "state", "established"."""
        return self.run(["ss", "-tinHO", *filters]).stdout.splitlines()


def _nodad(address: str) -> str:
    return "nodad" if ":" in address else ""


@contextlib.contextmanager
def veth_pair(
    first: Namespace,
    second: Namespace,
    devices: tuple[str, str] = ("veth0", "veth0"),
    subnet: int = 0,
    known_neighbours: bool = True,
) -> Iterator[None]:
    """Connect two namespaces: 198.51.100.1 and .2 (2001:db8::1 and ::2), or 203.0.113.x (2001:db8:1::x) for subnet 1.

    known_neighbours: addresses of the other side are permanent entries, so that no ARP or ND packet is sent."""
    prefix, prefix6 = (("198.51.100.", "2001:db8::"), ("203.0.113.", "2001:db8:1::"))[subnet]
    sides = list(zip((first, second), devices, ("1", "2"), strict=True))
    peer = ["peer", "name", devices[1], "netns", f"/proc/self/fd/{second.fd}"]
    first.run(["ip", "link", "add", devices[0], "type", "veth", *peer], pass_fds=(second.fd,))
    hardware = {}
    for space, device, number in sides:
        space.write(f"net/ipv6/conf/{device}/router_solicitations", 0)
        space.ip(
            f"link set {device} addrgenmode none up",
            f"address add {prefix}{number}/24 dev {device}",
            f"address add {prefix6}{number}/64 dev {device} nodad",
        )
        hardware[number] = json.loads(space.run(["ip", "-json", "link", "show", device]).stdout)[0]["address"]
    if known_neighbours:
        for space, device, number in sides:
            other = "2" if number == "1" else "1"
            space.ip(
                *(
                    f"neighbour replace {one}{other} lladdr {hardware[other]} nud permanent dev {device}"
                    for one in (prefix, prefix6)
                )
            )
    while True:  # the first multicast reports leave when they like
        before = [space.interface(device) for space, device, _ in sides]
        time.sleep(STILL_SECONDS)
        if before == [space.interface(device) for space, device, _ in sides]:
            break
    yield


def _new_namespace() -> int:
    def make() -> int:
        if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
        return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)

    descriptor: int = _in_thread(make)
    return descriptor


def _in_namespace(space: int, work: Callable[[], Any]) -> Any:
    """Without a process for each line that a test reads or writes there."""

    def inside() -> Any:
        if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
        return work()

    return _in_thread(inside)


def _in_thread(work: Callable[[], Any]) -> Any:
    """A thread of its own: what it does to its namespace ends with it."""
    outcome: list[Any] = []

    def body() -> None:
        try:
            outcome.append(work())
        except OSError as error:
            outcome.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    if isinstance(outcome[0], OSError):
        raise outcome[0]
    return outcome[0]


def _open_tun(device: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    return tun
