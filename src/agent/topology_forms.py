"""Edges as a person or a program reads them: a table, JSON, Graphviz, Mermaid.

Names come from the nodes and are not trusted: in each form what could be more than a name there is escaped.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields
from typing import Any, NamedTuple

from agent.escapes import clean, inert
from agent.figures import number, rate
from agent.topology_edges import Edge, Tally
from agent.topology_flows import Node

MERMAID_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._/:-@,()%?+=")
"""What stands for itself between Mermaid's quotes; all else is written by its code point."""


class Topology(NamedTuple):
    """seconds: between the looks; 0 where there was one, and all is since the agents' start."""

    edges: Sequence[Edge]
    seconds: float
    agents: Sequence[str]


def named(node: Node) -> str:
    """A node in one word: shop/web, service shop/web, external payments-api, host box."""
    path = f"{node.namespace}/{node.name}" if node.namespace else node.name
    return path if node.kind[:1].isupper() else f"{node.kind} {path}".strip()


def _server(edge: Edge, show: Callable[[str], str] = str) -> str:
    """With a Service's backends: service shop/cart (shop/cart-v1, shop/cart-v2)."""
    backends = ", ".join(show(named(node)) for node in sorted(edge.backends))
    return show(named(edge.key.server)) + (f" ({backends})" if backends else "")


# The table


class Column(NamedTuple):
    title: str
    show: Callable[[Edge, float], str]
    is_name: bool = False


def _per(
    value: Callable[[Tally], float], show: Callable[[float], str], whole: str = ""
) -> Callable[[Edge, float], str]:
    """whole: the unit of what is not a rate."""

    def cell(edge: Edge, seconds: float) -> str:
        amount = value(edge.tally)
        return show(amount / seconds) if seconds else f"{amount:.0f}{whole}"

    return cell


def _share(edge: Edge, _: float) -> str:
    tally = edge.tally
    return f"{100 * tally.errors / tally.requests:.1f}%" if tally.requests else "-"


def _requests(edge: Edge, seconds: float) -> str:
    return _per(lambda tally: tally.requests, number)(edge, seconds) if edge.speaks_http else "-"


COLUMNS = (
    Column("CLIENT", lambda edge, _: clean(named(edge.key.client)), is_name=True),
    Column("", lambda edge, _: "->" if edge.key.directed else "--", is_name=True),
    Column("SERVER", lambda edge, _: _server(edge, clean), is_name=True),
    Column("PROTO", lambda edge, _: edge.protocol, is_name=True),
    Column("PORT", lambda edge, _: str(edge.key.port or "-")),
    Column("REQ", _requests),
    Column("ERRORS", _share),
    Column("SENT", _per(lambda tally: tally.sent, rate, " B")),
    Column("RECEIVED", _per(lambda tally: tally.received, rate, " B")),
    Column("CONN", _per(lambda tally: tally.connections, number)),
    Column("FAIL", _per(lambda tally: tally.failed, number)),
    Column("RETX", _per(lambda tally: tally.retransmitted, number)),
    Column("XZONE", _per(lambda tally: tally.across_zones, rate, " B")),
    Column("TOLD BY", lambda edge, _: "+".join(sorted(edge.told)), is_name=True),
)


def table(topology: Topology) -> Iterator[str]:
    seconds = topology.seconds
    lines = [[column.title + "/s" * _is_rate(column, seconds) for column in COLUMNS]]
    lines += [[column.show(edge, seconds) for column in COLUMNS] for edge in topology.edges]
    widths = [max(len(line[at]) for line in lines) for at in range(len(COLUMNS))]
    for line in lines:
        cells = [
            cell.ljust(width) if column.is_name else cell.rjust(width)
            for cell, width, column in zip(line, widths, COLUMNS, strict=True)
        ]
        yield "  ".join(cells).rstrip() + "\n"


def _is_rate(column: Column, seconds: float) -> bool:
    return bool(seconds) and column.title in ("REQ", "CONN", "FAIL", "RETX")


# JSON


def document(topology: Topology) -> Iterator[str]:
    """One document; characters beyond ASCII are escaped."""
    found = {
        "seconds": round(topology.seconds, 3),
        "agents": list(topology.agents),
        "edges": [_edge(edge, topology.seconds) for edge in topology.edges],
    }
    yield json.dumps(found, indent=2) + "\n"


def _edge(edge: Edge, seconds: float) -> dict[str, Any]:
    tally, key = edge.tally, edge.key
    per_second = {name: round(value / seconds, 3) for name, value in _figures(tally).items()} if seconds else None
    return {
        "client": key.client._asdict(),
        "server": key.server._asdict(),
        "backends": [node._asdict() for node in sorted(edge.backends)],
        "direction": "client to server" if key.directed else "unknown",
        "protocol": edge.protocol,
        "transport": key.transport,
        "port": key.port,
        **_figures(tally),
        "error_share": round(tally.errors / tally.requests, 6) if tally.requests else None,
        "mean_request_seconds": round(tally.request_seconds / tally.requests, 9) if tally.requests else None,
        "per_second": per_second,
        "told_by": {side: _figures(each) for side, each in sorted(edge.told.items())},
    }


FIGURES = {
    "requests": "requests",
    "errors": "errors",
    "sent": "bytes_sent",
    "received": "bytes_received",
    "across_zones": "bytes_across_zones",
    "connections": "connections",
    "failed": "connections_failed",
    "retransmitted": "segments_retransmitted",
}
"""What of a Tally is a count, and its name here."""


def _figures(tally: Tally) -> dict[str, int]:
    return {FIGURES[each.name]: round(getattr(tally, each.name)) for each in fields(tally) if each.name in FIGURES}


# Graphs


def dot(topology: Topology) -> Iterator[str]:
    """https://graphviz.org/doc/info/lang.html; labels are escStrings, in which a backslash begins an escape."""
    numbers = _numbers(topology.edges)
    yield "digraph topology {\n  rankdir=LR;\n  node [shape=box];\n"
    for node, at in numbers.items():
        yield f'  n{at} [label="{_dot(named(node))}"];\n'
    for edge in topology.edges:
        ends = f"n{numbers[edge.key.client]} -> n{numbers[edge.key.server]}"
        bare = "" if edge.key.directed else ", dir=none"
        yield f'  {ends} [label="{_dot(summary(edge, topology.seconds))}"{bare}];\n'
    yield "}\n"


def _dot(text: str) -> str:
    """Between double quotes: HTML's entities are read there, too."""
    return inert(text).replace("&", "&amp;").replace("\\", "\\\\").replace('"', '\\"')


def mermaid(topology: Topology) -> Iterator[str]:
    """https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters"""
    numbers = _numbers(topology.edges)
    yield "flowchart LR\n"
    for node, at in numbers.items():
        yield f'  n{at}["{_mermaid(named(node))}"]\n'
    for edge in topology.edges:
        link = "-->" if edge.key.directed else "---"
        label = _mermaid(summary(edge, topology.seconds))
        yield f'  n{numbers[edge.key.client]} {link}|"{label}"| n{numbers[edge.key.server]}\n'


def _mermaid(text: str) -> str:
    return "".join(one if one in MERMAID_PLAIN else f"#{ord(one)};" for one in inert(text))


def summary(edge: Edge, seconds: float) -> str:
    """An edge in a few words: http :80, 12.5 req/s, 3.2% errors, 1.2 MB/s."""
    tally = edge.tally
    words = [f"{edge.protocol} :{edge.key.port}"]
    if tally.requests:
        words.append(f"{number(tally.requests / seconds)} req/s" if seconds else f"{tally.requests:.0f} requests")
    if tally.errors:
        words.append(f"{_share(edge, seconds)} errors")
    volume = tally.sent + tally.received
    words.append(rate(volume / seconds) if seconds else f"{volume:.0f} B")
    words += [f"to {named(node)}" for node in sorted(edge.backends)]
    return ", ".join(words)


def _numbers(edges: Iterable[Edge]) -> dict[Node, int]:
    """Each node's place: the names themselves are only labels."""
    nodes = (node for edge in edges for node in (edge.key.client, edge.key.server))
    return {node: at for at, node in enumerate(dict.fromkeys(nodes), 1)}


FORMS: dict[str, Callable[[Topology], Iterator[str]]] = {
    "table": table,
    "json": document,
    "dot": dot,
    "mermaid": mermaid,
}
