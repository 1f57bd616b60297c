import logging
from collections.abc import Iterable
from pathlib import Path

import pytest
from tests.unit.security.bench import Clock

from agent.security.following import LOOK_SECONDS, SETTLE_SECONDS, Followed
from bpfleet.policies import reading
from bpfleet.policies.model import Policy

POLICY = "version: 1\nname: {0}\nrules:\n  - {{name: {0}, event: exec, severity: info, match: everything}}\n"


def names(followed: Followed, clock: Clock) -> list[str]:
    clock.now += LOOK_SECONDS
    return [policy.name for policy in followed.policies().policies]


def test_a_file_that_changes_comes_or_goes_takes_effect(tmp_path: Path) -> None:
    clock = Clock()
    followed = Followed(tmp_path, clock)
    assert followed.policies().policies == ()
    (tmp_path / "a.yaml").write_text(POLICY.format("a"))
    assert names(followed, clock) == ["a"]
    same = followed.policies()
    clock.now += LOOK_SECONDS
    assert followed.policies() is same
    (tmp_path / "b.yaml").write_text(POLICY.format("b"))
    assert names(followed, clock) == ["a", "b"]
    (tmp_path / "a.yaml").write_text(POLICY.format("another"))
    assert names(followed, clock) == ["another", "b"]
    (tmp_path / "b.yaml").unlink()
    assert names(followed, clock) == ["another"]


def test_the_link_that_kubernetes_swaps_is_followed(tmp_path: Path) -> None:
    """A ConfigMap's files are links into ..data, which is a link to a directory that is replaced."""
    clock = Clock()
    for number in (1, 2):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "p.yaml").write_text(POLICY.format(f"p{number}"))
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "p.yaml").symlink_to("..data/p.yaml")
    followed = Followed(tmp_path, clock)
    assert names(followed, clock) == ["p1"]
    (tmp_path / "..fresh").symlink_to("..2")
    (tmp_path / "..fresh").rename(tmp_path / "..data")
    assert names(followed, clock) == ["p2"]


def test_a_mistake_leaves_the_good_ones_in_force_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    caplog.set_level(logging.INFO)
    (tmp_path / "a.yaml").write_text(POLICY.format("a"))
    followed = Followed(tmp_path, clock)
    assert names(followed, clock) == ["a"]
    (tmp_path / "a.yaml").write_text(POLICY.format("b").replace("exec", "execve"))
    for _ in range(3):
        assert names(followed, clock) == ["a"]
    told = [row.getMessage() for row in caplog.records if row.levelno == logging.ERROR]
    assert len(told) == 1 and told[0].startswith("security policies: the last good ones stay in force: ")
    assert f"{tmp_path}/a.yaml:4: event is 'execve'" in told[0]
    assert f"{tmp_path}/a.yaml:4" in followed.state().problem and followed.state().policies == ("a",)
    (tmp_path / "a.yaml").write_text(POLICY.format("c"))
    assert names(followed, clock) == ["c"] and followed.state().problem == ""


def test_what_cannot_be_used_is_read_again_for_a_while_and_then_when_it_changes(tmp_path: Path) -> None:
    """A file that is large and wrong must not cost each drain as much as the first one."""
    clock, reads = Clock(), 0

    def counted(paths: Iterable[Path]) -> list[Policy]:
        nonlocal reads
        reads += 1
        return reading.read(paths)

    (tmp_path / "a.yaml").write_text("rules: [")
    followed = Followed(tmp_path, clock, counted)
    for _ in range(100):
        assert names(followed, clock) == []
    assert reads == SETTLE_SECONDS // LOOK_SECONDS
    (tmp_path / "a.yaml").write_text(POLICY.format("a"))
    assert names(followed, clock) == ["a"] and followed.state().problem == ""
    (tmp_path / "a.yaml").write_text(f"{POLICY.format('b')}x: y")
    assert [names(followed, clock) for _ in range(100)] == [["a"]] * 100
    assert reads == 2 * SETTLE_SECONDS // LOOK_SECONDS + 1


def test_a_directory_that_is_gone_leaves_them_in_force(tmp_path: Path) -> None:
    clock, place = Clock(), tmp_path / "p"
    place.mkdir()
    (place / "a.yaml").write_text(POLICY.format("a"))
    followed = Followed(place, clock)
    assert names(followed, clock) == ["a"]
    place.rename(tmp_path / "elsewhere")
    assert names(followed, clock) == ["a"]
    assert "No such file or directory" in followed.state().problem
    (tmp_path / "elsewhere").rename(place)
    assert names(followed, clock) == ["a"] and followed.state().problem == ""


def test_at_the_start_none_are_in_force_where_they_have_a_mistake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.yaml").write_text("rules: [")
    followed = Followed(tmp_path, Clock())
    assert followed.policies().policies == () and followed.state().problem
    assert "none are in force" in caplog.text
    assert followed.page()["rules"] == 0
