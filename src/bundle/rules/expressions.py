"""What an expression reads and which labels its result has, as far as a look at it can tell."""

import difflib
from collections.abc import Mapping
from typing import Any

import promql_parser as promql

from bpfleet.errors import BundleError
from bundle.rules.known import COUNTER, Series

GROWTH = frozenset(("rate", "increase", "irate", "resets"))
PRESENCE = frozenset(("absent", "absent_over_time", "present_over_time", "count_over_time", "timestamp"))
"""Ask whether a series is there, not what it says."""

COUNTING = frozenset(("group", "count"))
COMPARISONS = frozenset(("==", "!=", ">", "<", ">=", "<="))
SETS = frozenset(("and", "unless"))
NAME = "__name__"
REPLACING = frozenset(("label_replace", "label_join"))


def parse(text: str) -> Any:
    """Raises BundleError with the parser's complaint."""
    try:
        return promql.parse(text)
    except ValueError as error:
        raise BundleError(f"not PromQL: {error}") from error


def _word(op: Any) -> str:
    return str(op).strip()


def compares(node: Any) -> bool:
    """Whether a comparison (not `bool`) decides on what is left: one that only keeps a divisor from 0 does not."""
    match node:
        case promql.ParenExpr() | promql.UnaryExpr() | promql.AggregateExpr() | promql.SubqueryExpr():
            return compares(node.expr)
        case promql.Call():
            return any(compares(argument) for argument in node.args)
        case promql.BinaryExpr():
            op = _word(node.op)
            if op in COMPARISONS:
                return not (node.modifier and node.modifier.return_bool)
            if op == "or":
                return compares(node.lhs) and compares(node.rhs)
            if op in SETS:
                return compares(node.lhs) or compares(node.rhs)
            return compares(node.rhs if _is_number(node.lhs) else node.lhs)
    return False


def names(expression: Any) -> frozenset[str]:
    """Of the series that it reads."""
    found: set[str] = set()

    def look(node: Any) -> bool:
        if isinstance(node, promql.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql.VectorSelector) and node.name:
            found.add(node.name)
        return True

    promql.walk(expression, look)
    return frozenset(found)


class Reading:
    """One look at one expression against what is known. `problems` are told, each once."""

    def __init__(self, known: Mapping[str, Series]) -> None:
        self._known = known
        self.problems: list[str] = []

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def labels(self, node: Any, inside: str = "") -> frozenset[str]:
        """Labels that the node's result may have. inside: the function or aggregation around it."""
        match node:
            case promql.ParenExpr() | promql.UnaryExpr():
                return self.labels(node.expr, inside)
            case promql.VectorSelector():
                return self._selected(node, inside)
            case promql.MatrixSelector():
                return self._selected(node.vector_selector, inside)
            case promql.SubqueryExpr():
                return self.labels(node.expr, inside)
            case promql.AggregateExpr():
                return self._aggregated(node)
            case promql.Call():
                return self._called(node)
            case promql.BinaryExpr():
                return self._joined(node)
        return frozenset()

    def _selected(self, node: Any, inside: str) -> frozenset[str]:
        series = self._known.get(node.name or "")
        if series is None:
            self._tell(_unknown(node.name, self._known))
            return frozenset((*(matcher.name for matcher in node.matchers.matchers),))
        for matcher in node.matchers.matchers:
            self._declared(matcher.name, series.labels, node.name)
        if series.kind == COUNTER and inside not in GROWTH | PRESENCE | COUNTING:
            self._tell(f"{node.name} is a counter: it is read by rate() or increase() only")
        if series.kind != COUNTER and inside in GROWTH:
            self._tell(f"{node.name} is no counter: {inside}() of it means nothing")
        return series.labels

    def _declared(self, label: str, labels: frozenset[str], what: str) -> None:
        if label not in labels | {NAME}:
            self._tell(f"{what} has no label {label}; there are {', '.join(sorted(labels))}")

    def _aggregated(self, node: Any) -> frozenset[str]:
        labels = self.labels(node.expr, _word(node.op))
        if node.modifier is None:
            return frozenset()
        for label in node.modifier.labels:
            self._declared(label, labels, f"what {_word(node.op)}() reads")
        if node.modifier.type == promql.AggModifierType.By:
            return frozenset(node.modifier.labels)
        return labels - frozenset(node.modifier.labels)

    def _called(self, node: Any) -> frozenset[str]:
        name = node.func.name
        found: frozenset[str] = frozenset()
        texts = [argument.val for argument in node.args if isinstance(argument, promql.StringLiteral)]
        for argument in node.args:
            if not isinstance(argument, promql.StringLiteral | promql.NumberLiteral):
                found |= self.labels(argument, name)
        if name == "vector":
            return frozenset()
        if name.startswith("absent"):
            return _demanded(node.args[0])
        if name in REPLACING and texts:
            sources = texts[2:3] if name == "label_replace" else texts[2:]
            for label in filter(None, sources):
                self._declared(label, found, f"what {name}() reads")
            return found | {texts[0]}
        if name == "histogram_quantile":
            self._declared("le", found, "what histogram_quantile() reads")
            return found - {"le"}
        return found

    def _joined(self, node: Any) -> frozenset[str]:
        left, right = self.labels(node.lhs), self.labels(node.rhs)
        op, modifier = _word(node.op), node.modifier
        sides = [
            (labels, side)
            for labels, side, part in ((left, "left", node.lhs), (right, "right", node.rhs))
            if not _is_number(part)
        ]
        on = None
        if modifier is not None and modifier.matching is not None:
            listed = modifier.matching.labels
            if modifier.matching.type == promql.LabelModifierType.Include:
                on = frozenset(listed)
                for label in listed:
                    for labels, side in sides:
                        self._declared(label, labels, f"the {side} side of {op}")
        if op == "or":
            return left | right
        if op in SETS:
            return left
        if _is_number(node.lhs):
            return right
        many = str(modifier.card) if modifier is not None else ""
        brought = frozenset(modifier.group_labels or ()) if modifier is not None else frozenset()
        if "ManyToOne" in many:
            return left | brought
        if "OneToMany" in many:
            return right | brought
        if on is not None and len(sides) == 2:
            return on
        return left


def _demanded(node: Any) -> frozenset[str]:
    """What absent() puts on its result: the labels that the selector wants equal to a value."""
    node = node.vector_selector if isinstance(node, promql.MatrixSelector) else node
    if not isinstance(node, promql.VectorSelector):
        return frozenset()
    return frozenset(matcher.name for matcher in node.matchers.matchers if matcher.op == promql.MatchOp.Equal)


def _is_number(node: Any) -> bool:
    while isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        node = node.expr
    return isinstance(node, promql.NumberLiteral)


def _unknown(name: str | None, known: Mapping[str, Series]) -> str:
    if not name:
        return "a selector names its metric"
    close = difflib.get_close_matches(name, known, n=1)
    hint = f"; did you mean {close[0]}?" if close else ""
    return (
        f"unknown metric {name}: neither in docs/metrics.md, nor in bundle.rules.foreign, nor recorded by a rule{hint}"
    )
