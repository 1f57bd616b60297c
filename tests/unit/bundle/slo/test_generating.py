"""Rules from objectives, for tiers of any kind."""

import re
from pathlib import Path

import pytest
import yaml

from bundle.slo import generating, objectives, written
from bundle.slo.objectives import Objective, Objectives

ROOT = Path(__file__).parents[4]
COMMITTED = objectives.read(ROOT / objectives.FILE)


def rules(stated: Objectives, profile: str = "default") -> list[dict[str, str]]:
    return [rule for group in generating.groups(stated, profile) for rule in group["rules"]]


def test_what_is_committed_is_what_is_generated() -> None:
    texts = written.texts(COMMITTED)

    assert sorted(map(str, texts)) == [
        "policies/network/anomaly.yaml",
        "policies/slo/kind/rules.yaml",
        "policies/slo/rules.yaml",
    ]
    for path, text in texts.items():
        assert (ROOT / path).read_text("utf-8") == text, "run `bpfleet slo generate`"


def test_the_profiles_record_the_same_series_and_have_the_same_alerts() -> None:
    names = [
        [rule.get("record", rule.get("alert")) for rule in rules(COMMITTED, profile)] for profile in COMMITTED.windows
    ]

    assert names[0] == names[1]
    assert {f"slo:sli_error:ratio_rate{window}" for window in objectives.WINDOWS} <= set(names[0])


@pytest.mark.parametrize("ratio", [0.94, 0.999999])
def test_a_page_can_fire_for_every_objective_that_is_allowed(ratio: float) -> None:
    assert all(burn * (1 - ratio) < 1 for burn, _, _ in generating.PAGES)


def test_one_tier_that_is_the_default_needs_no_label() -> None:
    stated = Objectives("only", 1, 1, {"only": {"tcp": Objective(0.99)}}, COMMITTED.windows)
    found = rules(stated)

    tiers = [rule for rule in found if rule.get("record") == "slo:namespace_tier:info"]
    assert [rule["expr"] for rule in tiers] == ["group by (namespace) (last_over_time(kube_namespace_labels[5m]))"]


def test_without_a_latency_objective_nothing_is_compared_with_a_bound() -> None:
    stated = Objectives("only", 1, 1, {"only": {"tcp": Objective(0.99)}}, COMMITTED.windows)
    text = generating.text(stated, "default")

    assert "_bucket" not in text
    assert 'tier=~""' not in text


def test_tiers_with_one_bound_share_a_look_at_its_bucket() -> None:
    both = {name: {"latency": Objective(0.95, 1.0)} for name in ("a", "b")}
    text = generating.text(Objectives("a", 1, 1, both, COMMITTED.windows), "default")

    assert re.findall(r'le="([^"]+)"', text) == ["1.0"]
    assert 'tier=~"a|b"' in text


def test_flux_leaves_the_rules_as_they_are() -> None:
    for text in written.texts(COMMITTED).values():
        assert yaml.safe_load(text)["metadata"]["annotations"] == {"kustomize.toolkit.fluxcd.io/substitute": "disabled"}
