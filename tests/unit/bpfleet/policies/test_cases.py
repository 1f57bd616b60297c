from pathlib import Path

import pytest

from bpfleet.errors import PolicyError
from bpfleet.policies import cases

HEAD = """\
version: 1
name: p
rules:
  - name: shell
    event: exec
    severity: info
    match: {binary: sh}
tests:
"""


def problems(tmp_path: Path, tests: str) -> list[str]:
    file = tmp_path / "p.yaml"
    file.write_text(HEAD + tests)
    try:
        found = [problem for policy, those in cases.read_file(file) for problem in cases.run(policy, those)]
    except PolicyError as error:
        found = str(error).splitlines()
    return [each.removeprefix(f"{tmp_path}/") for each in found]


def test_a_test_that_comes_out_as_it_should_says_nothing(tmp_path: Path) -> None:
    tests = "  - {event: exec, given: {binary: /bin/sh}, fires: [shell]}\n  - {event: exec, given: {binary: /bin/ls}}\n"
    assert problems(tmp_path, tests) == []


def test_one_that_does_not_says_what_fired_and_why(tmp_path: Path) -> None:
    tests = "  - {name: a shell, event: exec, given: {binary: /bin/sh}}\n  - {event: exec, fires: [shell]}\n"
    silent, firing = problems(tmp_path, tests)
    assert silent.startswith("p.yaml:9: a shell: nothing should fire, shell did; shell: binary (")
    assert firing.startswith(
        "p.yaml:10: a test: shell should fire, nothing did; shell: nothing matches: binary is not known"
    )


@pytest.mark.parametrize(
    ("test", "problem"),
    [
        ("{event: execve}", "p.yaml:9: event is 'execve'; did you mean exec?; allowed: exec"),
        ("{event: exec, given: {binery: x}}", "p.yaml:9: an event exec has no 'binery'; did you mean binary?"),
        ("{event: exec, given: {binary: [x]}}", "p.yaml:9: binary is a list, and must be one value"),
        ("{event: exec, given: {is_init: x}}", "p.yaml:9: is_init is 'x'; allowed: true or false"),
        ("{event: exec, given: {user: x}}", "p.yaml:9: user is 'x'; allowed: a whole number"),
        ("{event: exec, fires: [shel]}", "p.yaml:9: there is no rule 'shel'; did you mean shell?; there are shell"),
        ("{event: exec, owner: {name: x}}", "p.yaml:9: an owner has no 'name'"),
        ("{event: exec, expect: x}", "p.yaml:9: a test has no 'expect'"),
        (
            f"{{event: exec, given: {{user: {'9' * 10_000}}}}}",
            "p.yaml:9: not valid YAML: no value of tag:yaml.org,2002:int: Exceeds the limit",
        ),
        (f"{{event: exec, owner: {{namespace: 0x{'f' * 9_000}}}}}", "p.yaml:9: namespace is a number without end"),
        (f"{{event: exec, fires: [0x{'f' * 9_000}]}}", "p.yaml:9: there is no rule a number without end"),
        ("{event: exec, owner: {labels: 5}}", "p.yaml:9: labels is 5, and must be a mapping"),
        ("{event: exec, owner: {labels: [1, 2]}}", "p.yaml:9: labels is a list, and must be a mapping"),
        ("{event: exec, owner: {labels: app}}", "p.yaml:9: labels is 'app', and must be a mapping"),
        ("{event: exec, owner: {labels: {app: 5}}}", "p.yaml:9: the label 'app' is 5, and must be text"),
        ("5", "p.yaml:9: a test must be a mapping"),
    ],
)
def test_each_mistake_in_a_test_names_file_and_line(tmp_path: Path, test: str, problem: str) -> None:
    found = problems(tmp_path, f"  - {test}\n")
    assert any(each.startswith(problem) for each in found), found
