"""`bpfleet sockets`: every socket of the node that a process holds, in all network namespaces, with owner and windows.

It loads the program of the collector `sockets` for one walk, also beside an agent that runs.
"""

import argparse
import io
import os
import socket
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from agent import configuration, socket_filters, socket_pages
from agent.collectors.sockets import CHANNEL, FUNCTION, EverySocket, Row, rows
from agent.identity.model import Owner, Peer
from agent.kernel import facts
from agent.kernel.door import Door, KernelDoor, KernelSettings
from agent.plugins.finding import Finder
from agent.socket_lists import Socket, gather
from bpfleet.errors import HostError
from bpfleet.metrics import Flow

LOOK_SECONDS = 0.05
"""Between two looks whether the cluster's listings have arrived."""

LONGEST_WAIT_SECONDS = 15.0
"""For names: the cluster itself gives up waiting after ten."""

INITIAL_PROCESSES = 0xEFFFFFFC
"""Inode number of the node's own process namespace (include/linux/proc_ns.h); a walk sees the reader's only."""


class Identity(Protocol):
    """Whose is it, and who is at the other side (identity.resolver.Resolver)."""

    def refresh(self) -> None: ...
    def is_ready(self) -> bool: ...
    def owner(self, cgroup_id: int) -> Owner | None: ...
    def final_owner(self, cgroup_id: int) -> Owner: ...
    def peer(self, flow: Flow, owner: Owner) -> Peer: ...


def main(arguments: Sequence[str]) -> int:
    from agent.__main__ import kernel_settings, resolver

    wanted = parse(arguments)
    settings = configuration.load(wanted.config, os.environ, configuration.flags_of(wanted), Finder()).settings
    root = settings.kernel.cgroup_root or facts.gather().cgroup_root
    facts.require_hierarchy(root)
    found, unread = walk(KernelDoor(), kernel_settings(settings, root))
    node = settings.node_name or socket.gethostname()
    identity = resolver(settings, root)
    try:
        sockets = named(found, identity, time.monotonic, time.sleep)
    finally:
        identity.stop()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names need not fit the terminal's character set
    sys.stdout.writelines(answer(sockets, wanted, node, unread))
    sys.stdout.flush()
    for note in notes(unread, settings.limits.sockets, Path("/proc/self/ns/pid")):
        print(f"bpfleet sockets: {note}", file=sys.stderr)
    return 0


def walk(door: Door, settings: KernelSettings) -> tuple[list[Row], int]:
    """All rows, and how many more there were. Raises KernelError and HostError."""
    loaded = door.load([EverySocket()], settings)
    try:
        outcome = loaded.outcomes[EverySocket.name]
        if not outcome.up:
            raise HostError(f"sockets cannot be walked: {outcome.reason}")
        found = list(rows(loaded.maps(EverySocket.name).walk_parts(FUNCTION)))
        return found, loaded.books()[CHANNEL][1]
    finally:
        loaded.close()


def named(
    found: Sequence[Row], identity: Identity, clock: Callable[[], float], wait: Callable[[float], object]
) -> list[Socket]:
    """Names come as soon as the cluster has told them, and the best that is known after a while."""
    end = clock() + LONGEST_WAIT_SECONDS
    identity.refresh()
    while not identity.is_ready() and clock() < end:
        wait(LOOK_SECONDS)
    identity.refresh()
    return gather(found, lambda key: identity.owner(key) or identity.final_owner(key), identity.peer)


def answer(sockets: Sequence[Socket], wanted: argparse.Namespace, node: str, unread: int) -> Iterator[str]:
    """The sockets that were asked for, in order, as text or JSON."""
    is_wanted = socket_filters.question_of(wanted)
    matching = socket_pages.ordered([each for each in sockets if is_wanted(each)], wanted.sort)
    shown = matching[: wanted.limit]
    if wanted.json:
        yield from socket_pages.document(shown, node, len(matching), unread)
        return
    yield from socket_pages.table(shown)
    if len(matching) > len(shown):
        yield f"{len(matching) - len(shown)} more\n"


def notes(unread: int, limit: int, processes: Path) -> list[str]:
    """What the list does not have. processes: the namespace of this process's numbers."""
    said = []
    if unread:
        said.append(f"{unread} rows were left out: limits.sockets is {limit}")
    if processes.stat().st_ino != INITIAL_PROCESSES:
        said.append("only processes of this container are seen: a pod needs hostPID to see the node's")
    return said


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = configuration.Parser("bpfleet sockets", "List the node's sockets with their owners and windows.")
    parser.usage = "%(prog)s [filters] [options]"  # one flag a setting would hide what is wrong
    parser.add_argument("--json", action="store_true", help="one JSON document instead of a table")
    parser.add_argument("--sort", choices=tuple(socket_pages.SORTS), default="workload", help="order (%(default)s)")
    parser.add_argument("--limit", type=_count, metavar="N", help="show the first N only")
    socket_filters.add_to(parser)
    return parser.parse_args(arguments)


def _count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        raise ArgumentTypeError("must be a whole number from 1 on")
    return count
