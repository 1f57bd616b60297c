"""Series that the bundle's rules record and dashboards may show: labels, and that each is a share or a fact."""

from bundle.rules.known import GAUGE, Series

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")

RECORDED = {
    "slo:namespace_tier:info": Series(GAUGE, frozenset(("namespace", "tier"))),
    "slo:tier_objective:ratio": Series(GAUGE, frozenset(("tier", "sli"))),
    "slo:error_budget_remaining:ratio": Series(GAUGE, frozenset(("namespace", "sli"))),
    **{f"slo:sli_error:ratio_rate{each}": Series(GAUGE, frozenset(("namespace", "sli"))) for each in WINDOWS},
}
