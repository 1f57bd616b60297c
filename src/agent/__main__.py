"""`python -m agent`: reads the settings, builds the objects, runs them. The only place that knows everybody."""

import logging
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from agent import configuration
from agent.agent import Agent
from agent.collectors import BUILT_IN, known
from agent.events.delivery import Delivery
from agent.events.routing import Router
from agent.identity.model import Owner
from agent.identity.resolver import Resolver, assemble
from agent.kernel import facts
from agent.kernel.door import KernelDoor, KernelSettings, Loaded
from agent.kernel.lock import Lock
from agent.metrics.accumulate import Accumulator
from agent.metrics.health import Build, Health, Report
from agent.metrics.page import Page
from agent.server import Application, Heartbeat, Server
from agent.settings import Settings, get, leaves
from agent.sinks.jsonl import Jsonl
from agent.status import Status
from bpfleet import __version__
from bpfleet.api import Collector, Sink
from bpfleet.errors import BpfleetError, HostError

log = logging.getLogger("agent")

STALL_SECONDS = 60.0
"""A drain takes milliseconds; a starved node gets a thousand times that before the loop counts as stuck."""


def main(arguments: Sequence[str] | None = None) -> int:
    parsed = configuration.Parser("bpfleet agent", "Count what every workload does on the network.").parse_args(
        arguments
    )
    try:
        flags = configuration.flags_of(parsed)
        settings = configuration.load(parsed.config, os.environ, flags, known()).settings
        logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        run(settings, stop_on_signals())
    except BpfleetError as error:
        print(f"bpfleet agent: {error}", file=sys.stderr)
        return 1
    return 0


def stop_on_signals() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def run(settings: Settings, stop: threading.Event) -> None:
    """Until `stop` is set. Raises BpfleetError where nothing can be counted."""
    machine = facts.gather()
    cgroup_root = settings.kernel.cgroup_root or machine.cgroup_root
    facts.require_hierarchy(cgroup_root)
    if "BPF" not in machine.capabilities and "SYS_ADMIN" not in machine.capabilities:
        raise HostError(
            "this process may not load BPF programs: run it as root, or with the capabilities BPF, PERFMON, NET_ADMIN"
        )
    node = settings.node_name or socket.gethostname()
    with Lock(cgroup_root):
        identity = assemble(
            Path(cgroup_root),
            node=node,
            kubernetes=settings.identity.kubernetes,
            kubeconfig=settings.identity.kubeconfig,
            static_file=settings.identity.static_file,
            docker=settings.identity.docker == "auto",
            keep_seconds=settings.identity.keep_seconds,
        )
        collectors = [kind() for kind in BUILT_IN if kind.name in settings.collectors]
        totals = Accumulator(
            identity,
            [metric for collector in collectors for metric in collector.metrics],
            asdict(settings.histograms),
            series=settings.limits.series,
            series_per_metric=settings.limits.series_per_metric,
            scrape_interval=settings.scrape_interval_seconds,
            flow_idle_seconds=settings.flow_idle_seconds,
            keep_seconds=settings.identity.keep_seconds,
        )
        counting = [collector.name for collector in collectors if collector.metrics or collector.event_names]
        status = Status(__version__, counting, machine, totals.standing, identity.status)
        serve(settings, cgroup_root, collectors, identity, totals, status, stop)


def serve(
    settings: Settings,
    cgroup_root: str,
    collectors: Sequence[Collector],
    identity: Resolver,
    totals: Accumulator[Owner],
    status: Status,
    stop: threading.Event,
) -> None:
    """The port first: where it is taken nothing is loaded, and while the programs compile the probes have an answer."""
    health = Health(totals.standing, Build(__version__, platform.release(), ""))
    heartbeat = Heartbeat(STALL_SECONDS + settings.drain_interval_seconds)
    pages = Application(Page(totals, health.registry()), heartbeat.problem, status.problem, status.page)
    server = Server(pages, settings.address)
    events = router(settings, collectors, identity)
    loaded: Loaded | None = None

    def observe(report: Report) -> None:
        health.observe(report)
        status.observe(report)

    try:
        loaded = KernelDoor().load(collectors, kernel_settings(settings, cgroup_root))
        status.headers = health.build.headers = loaded.headers
        off = [each for each in collectors if not loaded.outcomes[each.name].up]
        totals.switch_off(metric for each in off for metric in each.metrics)
        pace = intervals(settings, collectors)
        agent = Agent(loaded, collectors, identity, totals, events, observe, time.monotonic, pace)
        agent.drain()
        say(loaded, server.address)
        agent.run(stop, settings.drain_interval_seconds, heartbeat.beat)
    finally:
        events.close()
        server.close()
        identity.stop()
        if loaded:
            loaded.close()


def router(settings: Settings, collectors: Sequence[Collector], identity: Resolver) -> Router[Owner]:
    names = [name for collector in collectors for name in collector.event_names]
    deliveries = [Delivery(sink, names, time.monotonic) for sink in sinks(settings)]
    return Router(identity, deliveries, names, settings.limits.events_per_second)


def sinks(settings: Settings) -> list[Sink]:
    return [Jsonl(settings.sinks.jsonl.path)] if settings.sinks.jsonl.path else []


def intervals(settings: Settings, collectors: Iterable[Collector]) -> dict[str, float]:
    """By collector, of those that are not asked at each drain."""
    values = {leaf.name: get(settings, leaf) for leaf in leaves()}
    return {each.name: float(str(values[each.interval])) for each in collectors if each.interval}


def kernel_settings(settings: Settings, cgroup_root: str) -> KernelSettings:
    return KernelSettings(
        python=settings.kernel.python,
        headers=settings.kernel.headers,
        cache=settings.kernel.cache,
        cgroup_root=cgroup_root,
        limits=asdict(settings.limits),
        bounds=asdict(settings.histograms),
    )


def say(loaded: Loaded, address: tuple[str, int]) -> None:
    for name, outcome in loaded.outcomes.items():
        if outcome.up:
            log.info(
                "collector %s counts by %s%s",
                name,
                ", ".join(outcome.hooks),
                f" ({outcome.reason})" * bool(outcome.reason),
            )
        else:
            log.warning("collector %s is off: %s", name, outcome.reason)
    log.info("metrics at http://%s:%d/metrics", *address)


if __name__ == "__main__":
    sys.exit(main())
