"""What a query of a panel reads: as for rules, and with what only people ask for, the first few."""

from typing import Any

import promql_parser as promql

from bundle.rules.expressions import Reading

CHOOSING = frozenset(("topk", "bottomk", "limitk"))
"""Aggregations that keep whole series."""

SCALARS = frozenset(("time", "pi", "scalar"))


class PanelReading(Reading):
    def labels(self, node: Any, inside: str = "") -> frozenset[str]:
        if isinstance(node, promql.AggregateExpr) and str(node.op).strip() in CHOOSING:
            return self.labels(node.expr, str(node.op).strip())
        if isinstance(node, promql.BinaryExpr) and isinstance(node.lhs, promql.Call):
            if node.lhs.func.name in SCALARS:
                return self.labels(node.rhs)
        return super().labels(node, inside)
