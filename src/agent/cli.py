"""The agent's commands under `bpfleet`. Each imports what it needs when it runs, so that `bpfleet --help` is quick."""

import argparse
import json
import os
import sys
from collections.abc import Sequence

from bpfleet.api import AnyOf, Collector, Packet, Probe
from bpfleet.cli import Command


def _agent(arguments: Sequence[str]) -> int:
    from agent.__main__ import main

    return main(arguments)


def _top(arguments: Sequence[str]) -> int:
    from agent.top import main

    return main(arguments)


def _requests(arguments: Sequence[str]) -> int:
    from agent.tail import main

    return main(arguments)


def _sockets(arguments: Sequence[str]) -> int:
    from agent.sockets import main

    return main(arguments)


def _topology(arguments: Sequence[str]) -> int:
    from agent.topology import main

    return main(arguments)


def _doctor(arguments: Sequence[str]) -> int:
    from agent.doctor import main

    return main(arguments)


def _ready(arguments: Sequence[str]) -> int:
    from agent.ready import main

    return main(arguments)


def _config(arguments: Sequence[str]) -> int:
    """`show` prints what is in force and who said so, `schema` the JSON Schema, `check` only finds mistakes."""
    from agent import configuration, settings
    from agent.plugins.finding import Finder

    parser = configuration.Parser("bpfleet config", CONFIG.help)
    parser.add_argument("action", choices=("show", "schema", "check"))
    parsed = parser.parse_args(arguments)
    if parsed.action == "schema":
        print(json.dumps(settings.schema(), indent=2))
        return 0
    loaded = configuration.load(parsed.config, os.environ, configuration.flags_of(parsed), Finder())
    if parsed.action == "show":
        print(configuration.show(loaded), end="")
    else:
        print(f"ok: {len(loaded.places)} settings given, collectors {', '.join(loaded.settings.collectors)}")
    return 0


def _collectors(arguments: Sequence[str]) -> int:
    from agent.collectors import BUILT_IN

    argparse.ArgumentParser(prog="bpfleet collectors", description=COLLECTORS.help).parse_args(arguments)
    for collector in BUILT_IN:
        print("\n".join(describe(collector)))
    return 0


def _collector(arguments: Sequence[str]) -> int:
    from agent.collector import main

    return main(arguments)


def _policy(arguments: Sequence[str]) -> int:
    from agent.policy import main

    return main(arguments, POLICY.help)


def describe(collector: type[Collector]) -> list[str]:
    """What a collector answers, where it hooks in, what that takes, and what it counts."""
    question = _module_question(collector)
    probes = list(collector.base.probes if collector.base else ())
    hooks: list[str] = [probe.hook for probe in probes]
    for choice in collector.probes:
        probes += alternatives(choice)
        if not isinstance(choice, Packet):  # its hooks are those of the program that it is part of
            hooks.append(" or ".join(dict.fromkeys(probe.hook for probe in alternatives(choice))))
    needs = sorted({capability for probe in probes for capability in probe.capabilities})
    told = [f"    events        {', '.join(collector.event_names)}"] if collector.event_names else []
    return [
        f"{collector.name} ({'default' if collector.default else 'off unless asked for'})",
        f"    {question}",
        f"    hooks         {', '.join(dict.fromkeys(hooks))}",
        f"    capabilities  {', '.join(needs)}",
        f"    metrics       {', '.join(metric.family for metric in collector.metrics) or 'none of its own'}",
        *told,
    ]


def alternatives(choice: Probe | AnyOf) -> list[Probe]:
    return list(choice.probes) if isinstance(choice, AnyOf) else [choice]


def _module_question(collector: type[Collector]) -> str:
    return (sys.modules[collector.__module__].__doc__ or "").partition("\n")[0]


AGENT = Command("Run the agent in the foreground.", _agent)
TOP = Command("Show the busiest workloads, live.", _top)
REQUESTS = Command("Show HTTP requests one by one, from the request log.", _requests)
SOCKETS = Command("List the node's sockets with their owners and windows.", _sockets)
TOPOLOGY = Command("Show who calls whom, from agents that run.", _topology)
DOCTOR = Command("Say what this machine offers and which collectors can run on it.", _doctor)
READY = Command("Ask the agent of this machine whether it counts.", _ready)
CONFIG = Command("Show or check the settings, or print their JSON Schema.", _config)
COLLECTOR = Command("List collectors and sinks, plugins among them, or check one.", _collector)
COLLECTORS = Command("List the collectors with their hooks, capabilities and metrics.", _collectors)
POLICY = Command("Check security policies, or say what they say of an event.", _policy)
