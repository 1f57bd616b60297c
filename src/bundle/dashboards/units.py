"""Which units an expression's result can be shown in, from the units of the metrics that it reads."""

from typing import Any, NamedTuple

import promql_parser as promql


class Dimension(NamedTuple):
    """Powers of the base units; events, shares and facts have none."""

    bytes: int = 0
    seconds: int = 0

    def times(self, other: "Dimension", power: int) -> "Dimension":
        return Dimension(self.bytes + power * other.bytes, self.seconds + power * other.seconds)

    def __str__(self) -> str:
        return NAMES.get(self, f"bytes^{self.bytes} seconds^{self.seconds}")


NUMBER, BYTES, SECONDS = Dimension(), Dimension(bytes=1), Dimension(seconds=1)

NAMES = {
    NUMBER: "a number",
    BYTES: "bytes",
    SECONDS: "seconds",
    Dimension(0, -1): "events a second",
    Dimension(1, -1): "bytes a second",
}

UNITS = {
    NUMBER: ("short", "percentunit", "none"),
    BYTES: ("bytes", "decbytes"),
    SECONDS: ("s",),
    Dimension(0, -1): ("ops", "reqps", "cps", "pps"),
    Dimension(1, -1): ("Bps", "binBps"),
}
"""Grafana's names. What is not here has no unit to be shown in."""

A_SECOND = frozenset(("rate", "irate", "deriv", "idelta"))
PRESENT = frozenset(
    ("absent", "absent_over_time", "count_over_time", "present_over_time", "resets", "changes", "vector")
)
COUNTS = frozenset(("count", "group", "count_values"))


def dimension(node: Any) -> Dimension:
    """Of an expression; the left one decides where both sides of an operation are to be alike."""
    match node:
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return dimension(node.expr)
        case promql.VectorSelector():
            return _of_name(node.name or "")
        case promql.MatrixSelector():
            return _of_name(node.vector_selector.name or "")
        case promql.AggregateExpr():
            return NUMBER if str(node.op).strip() in COUNTS else dimension(node.expr)
        case promql.Call():
            return _called(node)
        case promql.BinaryExpr():
            return _joined(node)
    return NUMBER


def _of_name(name: str) -> Dimension:
    """Base units stand in names, before what says the kind."""
    for ending in ("_total", "_sum"):
        name = name.removesuffix(ending)
    if name.endswith(("_count", "_bucket")):
        return NUMBER
    return BYTES if name.endswith("_bytes") else SECONDS if name.endswith("_seconds") else NUMBER


def _called(node: Any) -> Dimension:
    name, arguments = node.func.name, node.args
    if name in ("time", "timestamp"):
        return SECONDS
    if name in PRESENT or not arguments:
        return NUMBER
    if name == "histogram_quantile":
        return _observed(arguments[1])
    if name == "quantile_over_time":
        return dimension(arguments[1])
    found = dimension(arguments[0])
    return found.times(SECONDS, -1) if name in A_SECOND else found


def _observed(node: Any) -> Dimension:
    """What a histogram's buckets are bounds of."""
    found = NUMBER

    def look(each: Any) -> bool:
        nonlocal found
        if isinstance(each, promql.VectorSelector) and (name := each.name or "").endswith("_bucket"):
            found = _of_name(name.removesuffix("_bucket"))
        return True

    promql.walk(node, look)
    return found


def _joined(node: Any) -> Dimension:
    left, right = dimension(node.lhs), dimension(node.rhs)
    operator = str(node.op).strip()
    if operator in "*/":
        return left.times(right, 1 if operator == "*" else -1)
    return left if left != NUMBER or operator not in "+-" else right
