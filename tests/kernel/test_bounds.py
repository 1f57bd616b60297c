"""Do the programs still load with as many histogram bounds as the settings allow?"""

from dataclasses import fields

from tests.support.agents import COMPILE_SECONDS, Agent, House

from agent.collectors import BUILT_IN
from agent.settings import Histograms, leaves

IN_PROGRAMS = [leaf for leaf in leaves() if leaf.name.startswith("histograms.") and leaf.name.endswith("_seconds")]


def test_all_collectors_load_with_all_bounds_that_are_allowed(alone: House) -> None:
    assert len(IN_PROGRAMS) == sum(field.name.endswith("_seconds") for field in fields(Histograms)) == 4
    flags = []
    for leaf in IN_PROGRAMS:
        bounds = ",".join(f"{0.001 * number:.3f}" for number in range(1, leaf.option.most + 1))
        flags += [f"--{leaf.name.replace('.', '-').replace('_', '-')}", bounds]
    agent = Agent(*flags, "--collectors", ",".join(kind.name for kind in BUILT_IN)).start()
    try:
        agent.ready(COMPILE_SECONDS)
        states = agent.status()["collectors"]
        assert {name: state["reason"] for name, state in states.items() if not state["up"]} == {}
        assert states.keys() == {kind.name for kind in BUILT_IN}
    finally:
        agent.stop()
