"""Workflows: of GitHub's schema, clean for zizmor, every action by its commit, and the suites that run here, too."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bpfleet.documents import read

ROOT = Path(__file__).parents[2]
WORKFLOWS = ROOT / ".github" / "workflows"
PROGRAMS = Path(sys.executable).parent
KUBERNETES = ("1.34", "1.37")
"""The oldest and the newest that bpfleet is made for; the README says the same."""


def zizmor(directory: Path) -> subprocess.CompletedProcess[str]:
    command = [PROGRAMS / "zizmor", "--offline", "--no-progress", "--persona=auditor", directory]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def schema(directory: Path) -> subprocess.CompletedProcess[str]:
    files = sorted(directory.glob("*.yaml"))
    command = [PROGRAMS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_schema_and_zizmor_have_nothing_to_say() -> None:
    for said in (schema(WORKFLOWS), zizmor(WORKFLOWS)):
        assert said.returncode == 0, said.stdout + said.stderr


@pytest.mark.parametrize(
    ("file", "old", "new", "complaint"),
    [
        ("static.yaml", "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        ("rules.yaml", "persist-credentials: false", "fetch-depth: 1", "artipacked"),
        ("rules.yaml", "permissions: {}", "permissions: write-all", "excessive-permissions"),
        ("kind.yaml", "on:\n  pull_request:", "on:\n  pull_request_target:", "dangerous-triggers"),
        ("kind.yaml", "make test-cluster", "make ${{ github.head_ref }}", "template-injection"),
    ],
)
def test_zizmor_finds_what_it_is_for(tmp_path: Path, file: str, old: str, new: str, complaint: str) -> None:
    text = (WORKFLOWS / file).read_text()
    assert old in text
    (tmp_path / ".github" / "workflows").mkdir(parents=True)
    (tmp_path / ".github" / "workflows" / file).write_text(text.replace(old, new, 1))

    said = zizmor(tmp_path)

    assert said.returncode != 0 and complaint in said.stdout


def test_the_schema_refuses_a_misspelt_key(tmp_path: Path) -> None:
    shutil.copytree(WORKFLOWS, tmp_path, dirs_exist_ok=True)
    file = tmp_path / "static.yaml"
    file.write_text(file.read_text().replace("runs-on:", "run-on:"))

    assert "run-on" in schema(tmp_path).stdout


def test_no_job_may_write_anything() -> None:
    for file in WORKFLOWS.glob("*.yaml"):
        (workflow,) = read(file)
        assert workflow.value["permissions"] == {}, file.name
        for job in workflow.value["jobs"].values():
            assert job["permissions"] == {"contents": "read"}, file.name


def test_kind_runs_the_cluster_suite_on_the_oldest_and_the_newest_kubernetes() -> None:
    (workflow,) = read(WORKFLOWS / "kind.yaml")
    job = workflow.value["jobs"]["cluster"]
    matrix = job["strategy"]["matrix"]["include"]

    assert tuple(row["kubernetes"] for row in matrix) == KUBERNETES
    for row in matrix:
        name, _, digest = row["image"].partition("@sha256:")
        assert name.startswith(f"kindest/node:v{row['kubernetes']}.") and len(digest) == 64
    commands = [step.get("run", "") for step in job["steps"]]
    assert any("make test-cluster" in command for command in commands)


def test_root_finds_what_actions_have_installed() -> None:
    """sudo gives root a PATH of its own (secure_path), whatever it is told to preserve: env puts the job's back."""
    commands = [
        step["run"]
        for file in WORKFLOWS.glob("*.yaml")
        for job in read(file)[0].value["jobs"].values()
        for step in job["steps"]
        if "sudo" in step.get("run", "")
    ]
    assert commands and all(each.startswith('sudo env PATH="$PATH" ') for each in commands), commands


def test_what_unpacks_debian_on_another_distribution_has_debians_keys() -> None:
    """scripts/tools takes programs from Debian: Ubuntu's apt does not believe its signatures without them."""
    needs = (ROOT / "scripts" / "setup").read_text().partition('\nTEST="\n')[2].partition('\n"\n')[0]
    assert {"mmdebstrap", "npm", "openssl"} <= {line.split()[0] for line in needs.splitlines()}
    assert "/usr/share/keyrings/debian-archive-keyring.gpg  debian-archive-keyring" in needs.splitlines()


def test_suites_that_workflows_run_are_the_makefiles_own() -> None:
    suites = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith("SUITES := ")
    ).split()
    targets = {line.partition(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if ": ##" in line}
    for file in WORKFLOWS.glob("*.yaml"):
        (workflow,) = read(file)
        for job in workflow.value["jobs"].values():
            for step in job["steps"]:
                _, made, rest = step.get("run", "").partition(" make ")
                if made:
                    target, *settings = rest.split()
                    assert target in targets, f"{file.name}: no target {target}"
                    for setting in settings:
                        assert setting.removeprefix("SUITES=") in suites, f"{file.name}: no suite {setting}"
