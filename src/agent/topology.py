"""`bpfleet topology`: who calls whom, from what one or more agents have counted.

Two looks at each agent's page, some seconds apart, make rates; what was silent meanwhile is left out. One look, or a
saved page, tells what was since the agents' start.
"""

import argparse
import io
import os
import sys
import time
from argparse import ArgumentTypeError
from collections import Counter
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from agent import files, polling, topology_flows
from agent.escapes import inert
from agent.polling import Server
from agent.topology_edges import Edge, edges
from agent.topology_flows import Tale
from agent.topology_forms import FORMS, Topology
from bpfleet.errors import BpfleetError, HostError

OWN = "http://127.0.0.1:9436"
"""Where an agent with default settings listens."""

DEFAULT_SECONDS = 10.0
"""Two drains of an agent with default settings."""

LONGEST = 3600.0
NEEDED = ("traffic", "connections", "tcp", "http")
"""Collectors whose counts edges are made of."""


def main(arguments: Sequence[str]) -> int:
    wanted = parse(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names need not fit the terminal's character set
    try:
        found, notes = saved(wanted.page) if wanted.page else asked(servers(wanted), wanted.seconds, time.monotonic)
    except KeyboardInterrupt:
        return 130
    sys.stdout.writelines(FORMS[wanted.format](chosen(found, wanted.namespace, wanted.workload)))
    sys.stdout.flush()
    for note in notes:
        print(f"bpfleet topology: {inert(note)}", file=sys.stderr)
    return 0


def servers(wanted: argparse.Namespace) -> list[Server]:
    """Raises HostError for what is no URL, or twice the same: its counts would be there twice."""
    found = [Server(url, lambda: polling.authority(wanted.ca_file), wanted.token_file) for url in wanted.agent or [OWN]]
    _refuse_twice("--agent", [server.address for server in found])
    return found


def _refuse_twice(option: str, words: Sequence[str]) -> None:
    for word, count in Counter(words).items():
        if count > 1:
            raise HostError(f"{option} {ascii(word)} is given twice")


def saved(names: Sequence[Path]) -> tuple[Topology, list[str]]:
    """From pages in files. Raises BpfleetError, also for one that is there twice, under whatever name."""
    _refuse_twice("--page", [os.path.realpath(name) for name in names])
    tales = []
    for name in names:
        try:
            tales.append(topology_flows.read(files.read(name, polling.MAX_PAGE_BYTES).decode("utf-8", "replace")))
        except ValueError as error:
            raise HostError(f"{files.named(name)}: {error}") from error
    return Topology(edges(tales), 0.0, [str(name) for name in names]), _off(tales)


def asked(
    agents: Sequence[Server],
    seconds: float,
    clock: Callable[[], float],
    wait: Callable[[float], object] = time.sleep,
) -> tuple[Topology, list[str]]:
    """From two looks at each agent, or one where seconds is 0. An agent that does not answer is told of, unless it is
    the only one. Raises HostError when none answers."""
    notes: list[str] = []
    before: dict[Server, str] = {}
    begun = clock()
    if seconds:
        before = _look(agents, notes)
        wait(max(0.0, seconds - (clock() - begun)))
    took = clock() - begun if seconds else 0.0
    tales, told = [], []
    for server, page in _look(list(before) if seconds else agents, notes).items():
        try:
            tales.append(topology_flows.read(page, before.get(server)))
            told.append(server.address)
        except ValueError as error:
            notes.append(f"{server.address}: {error}")
    if not tales:
        raise HostError("; ".join(map(inert, notes)))
    return Topology(edges(tales), took, told), [*notes, *_off(tales)]


def _look(agents: Sequence[Server], notes: list[str]) -> dict[Server, str]:
    found = {}
    for server in agents:
        try:
            found[server] = server.page()
        except BpfleetError as error:
            notes.append(str(error))
    return found


def _off(tales: Sequence[Tale]) -> list[str]:
    """What edges lack because a collector does not run."""
    off = sorted({name for tale in tales for name in tale.off if name in NEEDED})
    return [f"collector {name} is off at an agent" for name in off]


def chosen(topology: Topology, namespaces: Sequence[str] | None, workloads: Sequence[str] | None) -> Topology:
    """The edges of which one end has such a namespace, and one such a name."""

    def is_wanted(edge: Edge) -> bool:
        return any(
            _matches(node.namespace, namespaces) and _matches(node.name, workloads)
            for node in (edge.key.client, edge.key.server)
        )

    return topology._replace(edges=[edge for edge in topology.edges if is_wanted(edge)])


def _matches(name: str, patterns: Sequence[str] | None) -> bool:
    """By the pattern, or as it stands: a cgroup's path may hold brackets."""
    return patterns is None or any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bpfleet topology", description="Show who calls whom, from agents that run.", allow_abbrev=False
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--agent", action="append", metavar="URL", help=f"an agent to ask; may be given again (default: {OWN})"
    )
    source.add_argument(
        "--page", action="append", type=Path, metavar="FILE", help="a saved /metrics page instead; may be given again"
    )
    parser.add_argument("--ca-file", default="", help="certificates to believe instead of the system's")
    parser.add_argument("--token-file", default="", help="file of the bearer token that the agents ask for")
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=DEFAULT_SECONDS,
        metavar="S",
        help="between the two looks (default: %(default)g); 0 looks once and tells what was since the agents' start",
    )
    parser.add_argument("--format", choices=tuple(FORMS), default="table", help="default: table")
    names = "names or patterns (shop-*)"
    parser.add_argument("--namespace", type=_names, metavar="A,B", help=f"of either end: {names}")
    parser.add_argument("--workload", type=_names, metavar="A,B", help=f"of either end: {names}")
    return parser.parse_args(arguments)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0.0 <= seconds <= LONGEST:
        raise ArgumentTypeError(f"must be a number of seconds from 0 to {LONGEST:g}")
    return seconds


def _names(text: str) -> tuple[str, ...]:
    parts = tuple(part.strip() for part in text.split(","))
    if not all(parts):
        raise ArgumentTypeError(f"{ascii(text[:60])} has an empty part")
    return parts
