import os
from pathlib import Path

import pytest

from agent.identity import static
from agent.identity.model import Owner
from bpfleet.errors import SettingsError


def write(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "identity.yaml"
    file.write_text(text)
    return file


def test_the_first_pattern_that_matches_names_a_cgroup(tmp_path: Path) -> None:
    rules = static.read(
        write(
            tmp_path,
            """
- cgroup: /tenants/*/web
  workload: web
  namespace: shop
  pod: web-1
  container: nginx
  workload_kind: Deployment
  image: nginx:1.29
- cgroup: /tenants/*
  workload: 23
""",
        )
    )
    first, second = static.match(rules, "/tenants/a/web"), static.match(rules, "/tenants/a/db")
    assert first and second
    assert first.owner("/tenants/a/web", "box") == Owner(
        "shop", "web-1", "nginx", "web", "Deployment", "nginx:1.29", "box", key="/tenants/a/web"
    )
    assert second.owner("/tenants/a/db", "").labels == ("_host", "", "", "23", "Cgroup")
    assert static.match(rules, "/elsewhere") is None


def test_an_empty_file_has_no_rules(tmp_path: Path) -> None:
    assert static.read(write(tmp_path, "# nothing yet\n")) == ()


MISTAKES = {
    "cgroup: /a\nworkload: b\n": "1: a list of rules is expected",
    "- cgroup: /a\n  workload: b\n- just text\n": "3: a rule is a mapping with `cgroup` and `workload`",
    "- cgroup: /a\n  workload: b\n  colour: red\n": (
        "3: unknown key 'colour'; allowed: cgroup, namespace, pod, container, workload, workload_kind, image"
    ),
    "- cgroup: /a\n  workload: [b]\n": "2: workload must be a string",
    "- cgroup: /a\n": "1: workload is missing",
    "\n- workload: b\n": "2: cgroup is missing",
    "- cgroup: /a\n  workload: 'b\n": "3: found unexpected end of stream",
    "- [a, b]: c\n": "1: unknown key",
}


@pytest.mark.parametrize(("text", "message"), MISTAKES.items())
def test_a_mistake_is_refused_with_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path, text)
    with pytest.raises(SettingsError) as error:
        static.read(file)
    assert str(error.value).startswith(f"{file}:{message}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        static.read(tmp_path / "absent.yaml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "identity.yaml"
    file.write_bytes(b"- cgroup: \xff\n")
    with pytest.raises(SettingsError, match="not UTF-8"):
        static.read(file)
    file.write_bytes(b"- cgroup: \x00\n")
    with pytest.raises(SettingsError, match=str(file)):
        static.read(file)


def test_a_file_of_lists_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not valid YAML"):
        static.read(write(tmp_path, "[" * 20_000))


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "identity.yaml")
    with pytest.raises(SettingsError, match="it is a pipe"):
        static.read(tmp_path / "identity.yaml")
