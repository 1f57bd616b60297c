"""What an alert must have: each thing that is missing is told with its file and line."""

from pathlib import Path

import pytest

from bpfleet.errors import BundleError
from bundle.rules import lint, model

RULES = """apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: some
  namespace: monitoring
  annotations: {kustomize.toolkit.fluxcd.io/substitute: disabled}
spec:
  groups:
    - name: some
      rules:
        - record: some:resets:rate5m
          expr: sum by (namespace, workload) (rate(bpfleet_tcp_resets_total[5m]))
        - alert: ManyResets
          expr: some:resets:rate5m > 1
          for: 5m
          labels: {severity: warning, team: platform}
          annotations:
            summary: "{{ $labels.workload }} is reset"
            description: "{{ $labels.namespace }}"
            runbook_url: https://github.com/bpfleet/bpfleet/blob/main/docs/runbooks/some.md#manyresets
            dashboard_url: /d/bpfleet-network?var-namespace={{ $labels.namespace }}
"""


def tree(root: Path, text: str) -> Path:
    for name, content in (("policies/some/rules.yaml", text), ("docs/runbooks/some.md", "# Some\n\n## ManyResets\n")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def told(root: Path, text: str) -> list[str]:
    tree(root, text)
    return lint.problems(root, model.files(root))


def test_a_good_file_has_no_problem(tmp_path: Path) -> None:
    assert told(tmp_path, RULES) == []


@pytest.mark.parametrize(
    ("before", "after", "line", "problem"),
    [
        ("rate5m > 1", "rate5m >", 14, "ManyResets: not PromQL"),
        ("some:resets:rate5m > 1", "some:reset:rate5m > 1", 14, "unknown metric some:reset:rate5m"),
        ("bpfleet_tcp_resets_total", "bpfleet_tcp_reset_total", 12, "did you mean bpfleet_tcp_resets_total?"),
        ("rate5m > 1", "rate5m", 14, "no comparison"),
        ("rate5m > 1", "rate5m / (some:resets:rate5m > 0)", 14, "no comparison that decides"),
        ("rate5m > 1", "rate5m > bool 1", 14, "no comparison that decides"),
        ("rate5m > 1", "rate5m > 1 or some:resets:rate5m", 14, "no comparison that decides"),
        ("(namespace, workload)", "(namespace, workload, pod)", 14, "its result has the label pod"),
        ("(namespace, workload)", "(workload)", 19, "description uses the label namespace, which the result does not"),
        ("(namespace, workload)", "(namespace, sli)", 12, "what sum() reads has no label sli"),
        ("          for: 5m\n", "", 13, "`for` is missing"),
        ("for: 5m", "for: soon", 15, "`for` is missing or no duration"),
        ("severity: warning", "severity: urgent", 16, "severity is one of critical, warning, info"),
        (", team: platform", "", 16, "the label team is missing"),
        ("            summary:", "            summry:", 17, "no summary"),
        ("some.md#", "other.md#", 20, "names a file of docs/runbooks"),
        ("some.md#manyresets", "some.md", 20, "the runbook's anchor is the alert's name in lower case: #manyresets"),
        ("https://github.com/bpfleet", "https://example.com", 20, "no runbook https://example.com"),
        ("docs/runbooks/some.md", "docs/runbooks/../some.md", 20, "names a file of docs/runbooks"),
        ("/d/bpfleet-network", "/d/bpfleet-stolen", 21, "a path /d/UID?var-namespace=... is allowed"),
        ("?var-namespace={{ $labels.namespace }}", "", 21, "a path /d/UID?var-namespace="),
        ("alert: ManyResets", "alert: many_resets", 13, "an alert is named in CamelCase"),
        ("namespace: monitoring", "namespace: default", 5, "the namespace of rules is monitoring"),
        ("substitute: disabled", "substitute: enabled", 6, "substitute: disabled is missing"),
    ],
)
def test_what_is_missing_is_told_with_its_line(
    before: str, after: str, line: int, problem: str, tmp_path: Path
) -> None:
    assert before in RULES
    problems = told(tmp_path, RULES.replace(before, after))

    assert any(each.startswith(f"policies/some/rules.yaml:{line}: ") and problem in each for each in problems), problems


def test_a_runbook_without_the_alert_is_told(tmp_path: Path) -> None:
    tree(tmp_path, RULES)
    (tmp_path / "docs/runbooks/some.md").write_text("# Some\n\nManyResets\n")

    (problem,) = lint.problems(tmp_path, model.files(tmp_path))
    assert problem.endswith("ManyResets: docs/runbooks/some.md has no heading ManyResets")


def test_two_rules_of_one_alert_would_resolve_each_other(tmp_path: Path) -> None:
    start = RULES.index("        - alert")
    (problem,) = told(tmp_path, RULES + RULES[start:])

    assert problem == "policies/some/rules.yaml:22: ManyResets: there is another rule of this name"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("          expr: some:resets:rate5m > 1\n", "", "rules.yaml:13: expr is missing"),
        ("expr: some:resets:rate5m > 1", "expr: 1", "rules.yaml:13: expr is a text"),
        ("        - alert: ManyResets", "        - name: ManyResets", "unknown: name; there are record, alert"),
        ("record: some:resets:rate5m", "for: 5m", "rules.yaml:11: a rule has either record or alert"),
        ("{severity: warning, team: platform}", "{severity: 1}", "rules.yaml:13: labels is a mapping of texts"),
        ("      rules:", "      rule:", "rules.yaml:9: a group has a list of at least one rule"),
        ("  groups:", "  group:", "spec.groups is a list of at least one group"),
        ("kind: PrometheusRule", "kind: Other", "no PrometheusRule in any file"),
        ("kind: PrometheusRule", "kind: [", "not valid YAML"),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(before: str, after: str, message: str, tmp_path: Path) -> None:
    assert before in RULES
    tree(tmp_path, RULES.replace(before, after))

    with pytest.raises(BundleError) as error:
        model.files(tmp_path)

    assert message in str(error.value)
