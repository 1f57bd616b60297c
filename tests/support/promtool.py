"""Prometheus's own answer to a question about two pages, by `promtool test rules`: exact to the last bit."""

import re
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

import yaml

from agent.activity import Row, Workload
from bpfleet import catalogue

LINE = re.compile(r'(?P<series>http_\w+_(count|bucket)\{.*\bworkload="(?P<workload>[^"]*)".*\}) (?P<value>\S+)')
NOT_FINE = 'error_type!=""'
SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


SIDES = {"served": catalogue.HTTP_SERVER_DURATION.family, "called": catalogue.HTTP_CLIENT_DURATION.family}

Answers = Mapping[str, Mapping[Workload, float]]
"""By PromQL expression and workload."""


def answers(rows: Iterable[Row]) -> Answers:
    """What top says, as the questions that Prometheus is to answer in the same way."""
    found: dict[str, dict[Workload, float]] = {}
    for row in rows:
        for side, family in SIDES.items():
            requests = getattr(row, side)
            if not requests:
                continue
            for name, share in SHARES.items():
                found.setdefault(quantile(family, share), {})[row.workload] = getattr(requests, name).seconds
            if requests.errors:
                found.setdefault(errors(family), {})[row.workload] = requests.errors
    return found


def quantile(family: str, share: float) -> str:
    """Of what came between the pages, by workload; the comparison leaves out those of nothing (NaN)."""
    return f"histogram_quantile({share}, {_growth(f'{family}_bucket', 'le, namespace, workload, workload_kind')}) > 0"


def errors(family: str) -> str:
    """Their share of what came between the pages, by workload."""
    by = "namespace, workload, workload_kind"
    return f"{_growth(f'{family}_count', by, NOT_FINE)} / {_growth(f'{family}_count', by)} > 0"


def _growth(name: str, by: str, matcher: str = "") -> str:
    selector = f"{name}{{{matcher}}}"
    return f"sum by ({by}) ({selector} - {selector} offset 1m)"


def verdict(folder: Path, pages: tuple[str, str], answers: Answers) -> str:
    """What promtool complains of; empty where every expression has exactly these samples.
    Series of other workloads are left out: it refuses to load more than 10,000 samples."""
    names = {workload.name for samples in answers.values() for workload in samples}
    before, after = (_series(page, names) for page in pages)
    expected = [
        {
            "expr": expression,
            "eval_time": "1m",
            "exp_samples": [
                {"labels": f'{{namespace="{space}", workload="{name}", workload_kind="{kind}"}}', "value": value}
                for (space, name, kind), value in samples.items()
            ],
        }
        for expression, samples in answers.items()
    ]
    series = [{"series": name, "values": f"{before.get(name, 0)} {value}"} for name, value in after.items()]
    test = {"interval": "1m", "input_series": series, "promql_expr_test": expected}
    file = folder / "test.yml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _series(page: str, workloads: Collection[str]) -> dict[str, str]:
    """As they stand on the page: counts and buckets of requests."""
    found = (LINE.fullmatch(line) for line in page.splitlines())
    return {line["series"]: line["value"] for line in found if line and line["workload"] in workloads}
