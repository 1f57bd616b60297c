"""Is each form what its reader takes, and is a name in it only a name? Witnesses: Graphviz's own parser, JSON's."""

import json
import re
import subprocess

import pytest
from tests.support.marks import needs
from tests.unit.hostile import STRINGS

from agent.escapes import inert
from agent.topology_edges import CLIENT, SERVER, Edge, Key, Tally
from agent.topology_flows import Node
from agent.topology_forms import FORMS, Topology, named

WEB, DB = Node("Deployment", "shop", "web"), Node("service", "shop", "db")
TALLY = Tally(20, 5, 1.0, 1000, 3000, 400, 10, 2, 4)
BACKEND = Node("Deployment", "shop", "db")
EDGE = Edge(Key(WEB, DB, "tcp", 80), {CLIENT: TALLY, SERVER: Tally(requests=20)}, {BACKEND}, speaks_http=True)
MERMAID_NODE = re.compile(r'  n\d+\["[\w ./:@,()%?+=#;-]*"\]', re.ASCII)
MERMAID_EDGE = re.compile(r'  n\d+ (?:-->|---)\|"[\w ./:@,()%?+=#;-]*"\| n\d+', re.ASCII)
REFERENCE = re.compile(r"#(\d+);")


def shown(form: str, *edges: Edge, seconds: float = 0.0) -> str:
    return "".join(FORMS[form](Topology(edges, seconds, ["http://127.0.0.1:9436/metrics"])))


def hostile() -> list[Edge]:
    """A chain through all names."""
    nodes = [Node("Cgroup", "_host", name) for name in STRINGS]
    return [Edge(Key(a, b, "tcp", 80), {CLIENT: TALLY}) for a, b in zip(nodes, nodes[1:], strict=False)]


def test_the_table_has_rates() -> None:
    head, row = shown("table", EDGE, seconds=2.0).splitlines()
    assert head.split() == [
        *("CLIENT", "SERVER", "PROTO", "PORT", "REQ/s", "ERRORS", "SENT", "RECEIVED"),
        *("CONN/s", "FAIL/s", "RETX/s", "XZONE", "TOLD", "BY"),
    ]
    assert row.split() == [
        *(
            "shop/web",
            "->",
            "service",
            "shop/db",
            "(shop/db)",
            "http",
            "80",
            "10",
            "25.0%",
            "500",
            "B/s",
            "1.5",
            "kB/s",
        ),
        *("5.0", "1.0", "2.0", "200", "B/s", "client+server"),
    ]


def test_the_table_of_one_look_has_counts() -> None:
    assert shown("table", EDGE).splitlines()[1].split()[7:] == [
        *("20", "25.0%", "1000", "B", "3000", "B", "10", "2", "4", "400", "B", "client+server"),
    ]


def test_without_edges_each_form_is_empty_and_whole() -> None:
    assert len(shown("table").splitlines()) == 1
    assert json.loads(shown("json"))["edges"] == []
    assert shown("mermaid") == "flowchart LR\n"
    assert shown("dot").startswith("digraph") and shown("dot").endswith("}\n")


def test_json_has_counts_rates_and_who_told() -> None:
    found = json.loads(shown("json", EDGE, seconds=2.0))
    assert found["seconds"] == 2.0
    assert found["agents"] == ["http://127.0.0.1:9436/metrics"]
    counts = {
        "requests": 20,
        "errors": 5,
        "bytes_sent": 1000,
        "bytes_received": 3000,
        "bytes_across_zones": 400,
        "connections": 10,
        "connections_failed": 2,
        "segments_retransmitted": 4,
    }
    none = dict.fromkeys(counts, 0)
    assert found["edges"] == [
        {
            "client": {"kind": "Deployment", "namespace": "shop", "name": "web"},
            "server": {"kind": "service", "namespace": "shop", "name": "db"},
            "backends": [{"kind": "Deployment", "namespace": "shop", "name": "db"}],
            "direction": "client to server",
            "protocol": "http",
            "transport": "tcp",
            "port": 80,
            **counts,
            "error_share": 0.25,
            "mean_request_seconds": 0.05,
            "per_second": {name: count / 2 for name, count in counts.items()},
            "told_by": {"client": counts, "server": none | {"requests": 20}},
        }
    ]
    assert json.loads(shown("json", EDGE))["edges"][0]["per_second"] is None


def test_hostile_names_stay_names_in_json_and_in_the_table() -> None:
    found = json.loads(shown("json", *hostile()))["edges"]
    assert [edge["client"]["name"] for edge in found] == list(STRINGS[:-1])
    text = shown("json", *hostile())
    assert text.isascii()
    assert all(one.isprintable() for one in text.replace("\n", ""))
    rows = shown("table", *hostile()).splitlines()
    assert len(rows) == len(STRINGS)
    assert all(row.isprintable() for row in rows)


@needs("dot")
def test_graphviz_reads_the_names_as_they_are() -> None:
    """Its JSON has every node and edge with the label as its parser took it."""
    drawn = subprocess.run(
        ["dot", "-Tdot_json"], input=shown("dot", *hostile()).encode(), capture_output=True, check=True, timeout=60
    )
    assert drawn.stderr == b""
    found = json.loads(drawn.stdout)
    labels = [unescaped(node["label"]) for node in found["objects"]]
    assert labels == [inert(named(Node("Cgroup", "_host", name))) for name in STRINGS]
    assert len(found["edges"]) == len(STRINGS) - 1


@needs("dot")
def test_graphviz_lays_the_graph_out() -> None:
    drawn = subprocess.run(["dot", "-Tplain"], input=shown("dot", EDGE), capture_output=True, text=True, check=True)
    words = [line.split()[0] for line in drawn.stdout.splitlines()]
    assert words == ["graph", "node", "node", "edge", "stop"]


def unescaped(label: str) -> str:
    """An escString (https://graphviz.org/docs/attr-types/escString/) whose only escapes are doubled backslashes; its
    double quote has lost its backslash to the parser."""
    assert re.fullmatch(r"(?:[^\\]|\\\\)*", label), label
    assert "&" not in label.replace("&amp;", "")
    return label.replace("\\\\", "\\").replace("&amp;", "&")


def test_a_graph_says_what_went_over_an_edge_and_to_which_backend() -> None:
    said = "http :80, 10 req/s, 25.0% errors, 2 kB/s, to shop/db"
    assert f'n1 -> n2 [label="{said}"];' in shown("dot", EDGE, seconds=2.0)
    assert f'n1 -->|"{said}"| n2' in shown("mermaid", EDGE, seconds=2.0)


def test_mermaid_has_nothing_but_plain_characters_between_its_quotes() -> None:
    lines = shown("mermaid", *hostile()).splitlines()
    assert lines[0] == "flowchart LR"
    nodes = [line for line in lines[1:] if MERMAID_NODE.fullmatch(line)]
    assert len(nodes) == len(STRINGS)
    assert (
        len([line for line in lines[1:] if MERMAID_EDGE.fullmatch(line)])
        == len(STRINGS) - 1
        == len(lines) - 1 - len(nodes)
    )
    texts = [REFERENCE.sub(lambda match: chr(int(match[1])), line.partition('"')[2][:-2]) for line in nodes]
    assert texts == [inert(named(Node("Cgroup", "_host", name))) for name in STRINGS]


@pytest.mark.parametrize(
    ("form", "mark"), [("table", " -- "), ("dot", "dir=none"), ("mermaid", " ---|"), ("json", '"unknown"')]
)
def test_an_edge_of_unknown_direction_is_drawn_without_an_arrow(form: str, mark: str) -> None:
    edge = Edge(EDGE.key._replace(directed=False), EDGE.told)
    assert mark in shown(form, edge)
    assert mark not in shown(form, EDGE)
