"""What applies to a namespace, and why."""

from pathlib import Path

import pytest

from bpfleet.errors import BundleError, ToolError
from bundle import tools
from bundle.slo import explaining, objectives
from bundle.slo.explaining import Chosen

COMMITTED = objectives.read(Path(__file__).parents[4] / objectives.FILE)

NAMESPACES = """kind: List
items:
- kind: Namespace
  metadata: {name: shop, labels: {bpfleet.dev/slo-tier: critical}}
- kind: Namespace
  metadata: {name: blog}
- kind: Namespace
  metadata: {name: lab, labels: {bpfleet.dev/slo-tier: gold}}
- kind: Namespace
  metadata: {name: list, labels: {bpfleet.dev/slo-tier: [critical]}}
- kind: ConfigMap
  metadata: {name: odd, labels: {bpfleet.dev/slo-tier: critical}}
"""


def chosen(tmp_path: Path, namespace: str) -> Chosen:
    file = tmp_path / "namespaces.yaml"
    file.write_text(NAMESPACES)
    return explaining.by_file(COMMITTED, namespace, file)


def test_the_label_decides_else_the_default(tmp_path: Path) -> None:
    assert chosen(tmp_path, "shop").tier == "critical"
    assert "label bpfleet.dev/slo-tier says so" in chosen(tmp_path, "shop").why
    assert chosen(tmp_path, "blog").tier == "standard"
    assert "it has no label" in chosen(tmp_path, "blog").why
    assert chosen(tmp_path, "lab").tier == "standard"
    assert "gold is no tier; there are critical, standard, best-effort" in chosen(tmp_path, "lab").why
    assert "['critical'] is no tier; there are" in chosen(tmp_path, "list").why
    with pytest.raises(BundleError, match=r"namespaces\.yaml: no Namespace odd"):
        chosen(tmp_path, "odd")


def test_an_unknown_tier_is_refused_with_those_there_are() -> None:
    with pytest.raises(BundleError, match="--tier gold: no such tier; there are critical, standard, best-effort"):
        explaining.by_word(COMMITTED, "gold")


def test_budget_and_thresholds_follow_from_the_objective() -> None:
    text = "\n".join(explaining.lines(COMMITTED, "shop", Chosen("critical", "why"), "default"))

    assert "availability: 99.9 % of requests" in text
    assert "43.2 minutes of total failure in 30 days, or 0.1 % of all events" in text
    assert "SloErrorBudgetBurnPage: more than 1.44 % errors (14.4 times too fast) over 1h and 5m, for 2m" in text
    assert "for 2m, with at least 20 events and 5 errors in 1h" in text
    assert "SloErrorBudgetBurnTicket: more than 0.1 % errors (1 times too fast) over 3d and 6h, for 15m" in text
    assert "latency: 99 % of answers without an error within 0.25 s" in text
    assert 'slo:error_budget_remaining:ratio{namespace="shop",sli="tcp"}, of 30 days' in text


def test_the_profile_kind_says_its_own_windows() -> None:
    text = "\n".join(explaining.lines(COMMITTED, "shop", Chosen("best-effort", "why"), "kind"))

    assert "over 3m and 1m, for 10s" in text
    assert "latency" not in text


def test_the_cluster_is_asked_by_kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    tools.directory().mkdir(parents=True)
    program = tools.directory() / "kubectl"
    config = tmp_path / "config"
    with pytest.raises(BundleError, match="no such file"):
        explaining.by_cluster(COMMITTED, "shop", config)
    config.touch()
    answer = "kind: Namespace\nmetadata: {name: shop, labels: {bpfleet.dev/slo-tier: best-effort}}"
    program.write_text(
        f"#!/bin/sh\n[ \"$7\" = shop ] && printf '%s' '{answer}' && exit\necho no such thing >&2; exit 1\n"
    )
    program.chmod(0o755)

    assert explaining.by_cluster(COMMITTED, "shop", config).tier == "best-effort"
    with pytest.raises(ToolError, match="kubectl: no such thing"):
        explaining.by_cluster(COMMITTED, "blog", config)
