"""Does the matrix fail where an agent on another kernel has not counted, and not only where it has counted wrongly?"""

from pathlib import Path
from typing import Any

import pytest
from matrix.emulators import Emulator
from matrix.kernels import Kernel

from agent.collectors import BUILT_IN
from matrix import __main__ as matrix
from matrix import guests


def booted(run: dict[str, Any], lockdown: str = "none", release: str = "6.1.0-56") -> list[dict[str, Any]]:
    return [{"release": release, "lockdown": lockdown}, run]


def ran(name: str, *up: str) -> dict[str, Any]:
    states = {kind.name: {"up": kind.name in up, "reason": "", "hooks": []} for kind in BUILT_IN}
    return {"run": name, "collectors": states, "checks": []}


EVERY = tuple(kind.name for kind in BUILT_IN)


@pytest.mark.parametrize("run", ["all", "the four"])
def test_an_agent_that_has_all_it_needs_must_run_every_collector(run: str) -> None:
    assert matrix.wrong(booted(ran(run, *EVERY))) == []
    assert matrix.wrong(booted(ran(run, *EVERY[1:]), "integrity")) == [f"{run}: {EVERY[0]} does not run"]
    refused = {"run": run, "refused": "not here"}
    assert matrix.wrong(booted(refused)) == [f"{run}: {name} does not run" for name in EVERY]


def test_what_lockdown_or_a_missing_capability_takes_away_is_not_wrong() -> None:
    assert matrix.wrong(booted(ran("all", "traffic"), "confidentiality")) == []
    assert matrix.wrong(booted(ran("all"), "confidentiality")) == ["all: traffic does not run"]
    assert matrix.wrong(booted(ran("without PERFMON"))) == []
    assert matrix.wrong(booted({"run": "without BPF", "refused": "no"})) == []


def test_what_a_kernel_is_too_old_for_is_not_wrong_there_and_only_there() -> None:
    older = [name for name in EVERY if name not in ("http_bodies", "http_log")]
    assert matrix.wrong(booted(ran("all", *older), release="5.10.0-46-cloud-amd64")) == []
    assert matrix.wrong(booted(ran("all", *older), release="5.12.0")) == [
        f"all: {name} does not run" for name in EVERY if name not in older
    ]
    assert matrix.wrong(booted(ran("all", *older[1:]), release="5.10.0")) == [f"all: {older[0]} does not run"]


def test_a_wrong_number_is_wrong_in_every_run() -> None:
    run = ran("without PERFMON", "traffic")
    run["checks"] = [{"collector": "traffic", "what": "packets", "counted": 8, "witness": 7}]
    assert matrix.wrong(booted(run)) == ["without PERFMON: packets"]


def test_a_guest_that_ends_early_is_a_finding_and_not_an_absence(tmp_path: Path) -> None:
    """What starts the emulator here ends at once."""
    linker = tmp_path / "usr/lib64/ld-linux-x86-64.so.2"
    linker.parent.mkdir(parents=True)
    linker.symlink_to("/bin/false")
    kernel = Kernel("6.1", tmp_path / "image", tmp_path / "6.1.0")
    with pytest.raises(guests.Broken, match="did not come to its end"):
        guests.boot(Emulator(tmp_path), kernel, (tmp_path, tmp_path, tmp_path), tmp_path / "output")
