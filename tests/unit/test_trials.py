"""One collector on a fake door, for tests of plugins: its maps, its books, and its reason where it cannot run."""

from pathlib import Path

import pytest
from tests.support.made_collectors import made_collector

from agent import trials
from agent.kernel.door import KernelSettings
from agent.kernel.fake import FakeDoor, FakeTables
from agent.settings import Settings
from bpfleet.api import Channel, Collector, Histogram
from bpfleet.errors import LoadError
from bpfleet.testing import Books

ROOT = KernelSettings(cgroup_root="/")


def made(tmp_path: Path, *channels: Channel) -> Collector:
    collector = made_collector(tmp_path, "made", base=None)
    type(collector).channels = channels
    return collector


def test_books_are_those_that_the_agent_would_show(tmp_path: Path) -> None:
    tables = FakeTables(
        hashes={"rows": {bytes(8): (7,)}},
        rows={"books_rows": (23, 4, 12), "books_runs": (2,), "runs_on_run": (9, 1, 1), "books_told": (3, 0)},
    )
    tables.missed = {"on_tell": 5}
    channels = (
        Channel("rows", lost=("full", "odd")),
        Channel("runs", lost=("full",), seen_by=("on_run",)),
        Channel("told", lost=("full",), runs=("on_tell",)),
    )
    collector = made(tmp_path, *channels)
    trial = trials.load(collector, FakeDoor({"made": tables}), ROOT)
    assert [row for _, row in trial.maps.growth("rows")] == [(7,)]
    trial.maps.deliver("rows", 7)
    assert trial.books() == {
        "rows": Books(23, 7, {"full": 4, "odd": 12}),
        "runs": Books(9, 0, {"full": 2}),
        "told": Books(8, 0, {"full": 0, "left_out": 5}),
    }
    assert trial.books()["rows"].balanced
    assert (trial.hooks, trial.cgroup_root) == (("fake",), Path("/"))
    trial.begin()
    assert not list(trial.maps.growth("rows"))
    trial.close()
    assert tables.closed


def test_what_cannot_run_says_why(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="^no hook$"):
        trials.load(made(tmp_path), FakeDoor(refused={"made": "no hook"}), ROOT)


def test_it_is_compiled_with_the_default_settings_and_bounds_of_its_own(tmp_path: Path) -> None:
    own = Histogram("made.time", "A time.", unit="s", bounds="made_seconds", buckets=(0.1, 1.0))
    settings = trials.of_defaults(made_collector(tmp_path, "made", base=None, metrics=(own,)))
    assert settings.limits["cgroups"] == Settings().limits.cgroups
    assert settings.bounds["made_seconds"] == (0.1, 1.0)
    assert settings.bounds["rtt_seconds"] == Settings().histograms.rtt_seconds
