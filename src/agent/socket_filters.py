"""Which sockets a user wants to see: words of the command line, checked, and the question they ask of each socket."""

import argparse
import math
import re
from collections.abc import Callable

from agent.filter_words import matches, split
from agent.identity import addresses
from agent.options import shown
from agent.reading import did_you_mean
from agent.socket_lists import PROTOCOLS, STATES, Socket

Question = Callable[[Socket], bool]

CONNECTED = "connected"
"""Every state but listening and unconnected, as for ss."""

STATE_WORDS = (*dict.fromkeys(STATES.values()), CONNECTED)
PROTOCOL_WORDS = (*dict.fromkeys(PROTOCOLS.values()), "raw")
MAX_PORT = 65535
MAX_PROCESS = 1 << 22
"""The highest process id that a 64-bit kernel gives (PID_MAX_LIMIT)."""

_DIGITS = re.compile(r"[0-9]{1,10}", re.ASCII)


def add_to(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters (all that are given must hold; of a list one)")
    kind = group.add_mutually_exclusive_group()
    kind.add_argument("--state", type=_words("state", STATE_WORDS), metavar="A,B", help=f"of {', '.join(STATE_WORDS)}")
    kind.add_argument("--listening", action="store_true", help="sockets that wait for whoever comes")
    kind.add_argument("--all", action="store_true", help="sockets of every state (default: connected ones)")
    words = _words("protocol", PROTOCOL_WORDS)
    group.add_argument("--protocol", type=words, metavar="A,B", help=f"of {', '.join(PROTOCOL_WORDS)}")
    names = "names or patterns (shop-*)"
    group.add_argument("--namespace", type=split, metavar="A,B", help=f"of the owner: {names}")
    group.add_argument("--workload", type=split, metavar="A,B", help=f"of the owner: {names}")
    group.add_argument("--pod", type=split, metavar="A,B", help=f"of the owner: {names}")
    port, process = _numbers(1, MAX_PORT), _numbers(1, MAX_PROCESS)
    group.add_argument("--pid", type=process, metavar="A,B", help="processes that hold the socket")
    group.add_argument("--port", type=port, metavar="A,B", help="port of either side")
    group.add_argument("--local-port", type=port, metavar="A,B", help="port of this side")
    group.add_argument("--peer-port", type=port, metavar="A,B", help="port of the other side")
    group.add_argument("--address", type=_network, metavar="NET", help="address or network of either side (10.0.0.0/8)")
    group.add_argument(
        "--min-rtt-ms", type=_milliseconds, metavar="N", help="TCP connections with at least this round-trip time"
    )


def question_of(wanted: argparse.Namespace) -> Question:
    """Whether a socket is one of those that were asked for."""
    tests = [_state_test(wanted)]
    for given, test in (
        (wanted.protocol, lambda socket: socket.protocol in wanted.protocol),
        (wanted.namespace, lambda socket: matches(socket.owner.namespace, wanted.namespace)),
        (wanted.workload, lambda socket: matches(socket.owner.workload, wanted.workload)),
        (wanted.pod, lambda socket: matches(socket.owner.pod, wanted.pod)),
        (wanted.pid, lambda socket: any(process in socket.holders for process in wanted.pid)),
        (wanted.port, lambda socket: not {socket.row.local_port, socket.row.remote_port}.isdisjoint(wanted.port)),
        (wanted.local_port, lambda socket: socket.row.local_port in wanted.local_port),
        (wanted.peer_port, lambda socket: socket.row.remote_port in wanted.peer_port),
        (wanted.address, lambda socket: _is_in(wanted.address, socket.row.local, socket.row.remote)),
        (wanted.min_rtt_ms, lambda socket: socket.is_connection and socket.row.rtt_us >= 1000 * wanted.min_rtt_ms),
    ):
        if given is not None:
            tests.append(test)
    return lambda socket: all(test(socket) for test in tests)


def _state_test(wanted: argparse.Namespace) -> Question:
    if wanted.all:
        return lambda socket: True
    if wanted.listening:
        return lambda socket: socket.waits
    states = set(wanted.state or (CONNECTED,))
    return lambda socket: socket.state in states or (CONNECTED in states and _is_connected(socket))


def _is_connected(socket: Socket) -> bool:
    return socket.state not in ("listening", "unconnected")


def _is_in(network: tuple[int, int], *ends: bytes) -> bool:
    bits, value = network
    return any(addresses.number(end) >> (128 - bits) == value for end in ends)


# Words of the command line


def _words(what: str, known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    def read(text: str) -> tuple[str, ...]:
        words = split(text)
        for word in words:
            if word not in known:
                hint = did_you_mean(word, known)
                raise argparse.ArgumentTypeError(f"{shown(word)} is no {what}{hint}; there are {', '.join(known)}")
        return words

    return read


def _numbers(lowest: int, highest: int) -> Callable[[str], tuple[int, ...]]:
    def read(text: str) -> tuple[int, ...]:
        return tuple(map(one, split(text)))

    def one(text: str) -> int:
        if not _DIGITS.fullmatch(text) or not lowest <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"{shown(text)} is not a number from {lowest} to {highest}")
        return int(text)

    return read


def _network(text: str) -> tuple[int, int]:
    whole = text if "/" in text else f"{text}/{128 if ':' in text else 32}"
    found = addresses.network(whole)
    if found is None:
        raise argparse.ArgumentTypeError(f"{shown(text)} is neither an address nor a network such as 10.0.0.0/8")
    return found


def _milliseconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not a number of milliseconds")
    return value
