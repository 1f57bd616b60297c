"""kube-prometheus-stack with the tree's values, where its archive is given: the API server would take all of it.

Kind's cluster has it installed, by Flux and from where it is published."""

import os
from pathlib import Path

import pytest
import yaml
from tests.cluster.gitops.fleets import Fleet
from tests.support import trees

from bundle import tools

VARIABLE = "BPFLEET_STACK_CHART"
NAME = "kube-prometheus-stack"


@pytest.mark.skipif(VARIABLE not in os.environ, reason=f"{VARIABLE} names no archive of the chart")
def test_the_stack_with_the_values_of_the_tree_is_taken(fleet: Fleet, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump(trees.stack_values(trees.rendered("kind"))), "utf-8")
    chart = os.environ[VARIABLE]

    made = tools.run(
        "helm", "install", NAME, chart, "--namespace=monitoring", f"--values={values}", "--skip-crds",
        "--dry-run=server", "--no-hooks", "--output=json",
    )  # fmt: skip
    objects = list(filter(None, yaml.safe_load_all(yaml.safe_load(made)["manifest"])))
    applied = tools.ask(
        "kubectl", "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--filename=-",
        input=yaml.safe_dump_all(objects),
    )  # fmt: skip
    assert not applied.returncode, applied.stderr
    (prometheus,) = [each for each in objects if each["kind"] == "Prometheus"]
    assert prometheus["spec"]["ruleSelector"] == {} and prometheus["spec"]["podMonitorSelector"] == {}
