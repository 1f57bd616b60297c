"""`python -m agent`: reads the settings, builds the objects, runs them. The only place that knows everybody."""

import logging
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from agent import configuration, memory
from agent.agent import Agent
from agent.collectors import BUILT_IN, http_log, known
from agent.collectors.http_log import REQUEST, Mode
from agent.configuration import Configuration
from agent.credentials import Credentials
from agent.events.delivery import Delivery
from agent.events.routing import Router
from agent.identity.model import Owner
from agent.identity.resolver import Resolver, assemble
from agent.kernel import facts
from agent.kernel.door import KernelDoor, KernelSettings
from agent.kernel.lock import Lock
from agent.metrics.accumulate import Accumulator
from agent.metrics.health import Build, Health, Report, RequestLog
from agent.metrics.page import Page
from agent.protocols.routes import Routes
from agent.reload import Reloader, Requests
from agent.requests import wishes
from agent.requests.durations import RouteDurations
from agent.requests.policy import Policies
from agent.requests.stage import RequestStage
from agent.requests.steering import Steering
from agent.running import Running, describe, intervals, lonely
from agent.server import Application, Heartbeat, Server
from agent.settings import Settings
from agent.sinks.jsonl import Jsonl
from agent.status import Status
from bpfleet import __version__
from bpfleet.api import Collector, Sink
from bpfleet.errors import BpfleetError, HostError

log = logging.getLogger("agent")

STALL_SECONDS = 60.0
"""A drain takes milliseconds; a starved node gets a thousand times that before the loop counts as stuck."""


@dataclass(frozen=True)
class Orders:
    """What reaches an agent that runs. read: what file, environment and flags say now, for each of the reloads."""

    stop: threading.Event
    reloads: Requests
    read: Callable[[], Configuration]


def main(arguments: Sequence[str] | None = None) -> int:
    memory.share_one_heap()
    stop, reloads = threading.Event(), Requests()
    listen_for_signals(stop, reloads)
    parsed = configuration.Parser("bpfleet agent", "Count what every workload does on the network.").parse_args(
        arguments
    )
    try:
        flags = configuration.flags_of(parsed)
        orders = Orders(stop, reloads, lambda: configuration.load(parsed.config, os.environ, flags, known()))
        given = orders.read()
        logging.basicConfig(level=given.settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
        run(given, orders)
    except BpfleetError as error:
        print(f"bpfleet agent: {error}", file=sys.stderr)
        return 1
    finally:  # Python gives signals their default back before the process is gone: SIGHUP's would change its status
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return 0


def listen_for_signals(stop: threading.Event, reloads: Requests) -> None:
    """First of all: a SIGHUP that nobody listens to ends the process."""
    signal.signal(signal.SIGHUP, lambda *_: reloads.add())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())


def run(given: Configuration, orders: Orders) -> None:
    """Until it is told to stop. Raises BpfleetError where nothing can be counted."""
    settings, machine = given.settings, facts.gather()
    cgroup_root = settings.kernel.cgroup_root or machine.cgroup_root
    facts.require_hierarchy(cgroup_root)
    if "BPF" not in machine.capabilities and "SYS_ADMIN" not in machine.capabilities:
        raise HostError(
            "this process may not load BPF programs: run it as root, or with the capabilities BPF, PERFMON, NET_ADMIN"
        )
    credentials = Credentials(given)
    with Lock(cgroup_root):
        collectors = [kind() for kind in BUILT_IN if settings.runs(kind.name)]
        tells_requests = any(REQUEST in each.event_names for each in collectors)
        identity = resolver(settings, cgroup_root, tells_requests and settings.requests.annotations == "on")
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
        reloader = Reloader(settings, {kind.name: kind.base is None for kind in BUILT_IN}, orders.read)
        counting = [kind.name for kind in BUILT_IN if kind.metrics or kind.event_names]
        status = Status(
            __version__, counting, machine, totals.standing, identity.status, reloader.page, credentials.states
        )
        serve(settings, cgroup_root, collectors, identity, totals, status, credentials, reloader, orders)


def serve(
    settings: Settings,
    cgroup_root: str,
    collectors: Sequence[Collector],
    identity: Resolver,
    totals: Accumulator[Owner],
    status: Status,
    credentials: Credentials,
    reloader: Reloader,
    orders: Orders,
) -> None:
    """The port first: where it is taken nothing is loaded, and while the programs compile the probes have an answer."""
    build = Build(__version__, platform.release(), "")
    requests = request_stage(settings, identity)
    health = Health(
        totals.standing,
        build,
        reloader.state,
        credentials.good,
        identity.backends,
        lambda: RequestLog(*requests.policies.standing()),
    )
    heartbeat = Heartbeat(STALL_SECONDS)
    pages = Application(
        Page(totals, health.registry()), heartbeat.problem, status.problem, status.page, credentials.bearer
    )
    server = Server(pages, settings.address, credentials.context)
    events = router(settings, collectors, identity, requests)
    steering = Steering(requests.policies, settings.requests)
    agent: Agent | None = None

    def modes() -> tuple[Mode, Mapping[int, Mode]]:
        return steering.modes(identity.tree.living(), identity.owner)

    def observe(report: Report) -> None:
        health.observe(report)
        status.observe(report)

    try:
        door, kernel = KernelDoor(), kernel_settings(settings, cgroup_root)
        loaded = door.load(collectors, kernel)
        status.headers = health.build.headers = loaded.headers
        told = requests.durations.samples if requests.durations else tuple
        agent = Agent(
            *(loaded, collectors, identity, totals, events, observe, time.monotonic),
            intervals=intervals(settings),
            modes=modes,
            told=told,
        )
        off = [each for each in collectors if not loaded.outcomes[each.name].up]
        totals.switch_off(lonely((metric for each in off for metric in each.metrics), agent.metrics()))
        agent.drain()
        describe(loaded.outcomes)
        log.info("metrics at %s://%s:%d/metrics", server.scheme, *server.address)
        kinds = {kind.name: kind for kind in BUILT_IN}
        running = Running(settings, kinds, door, kernel, agent, identity, totals, credentials, requests, steering)
        threading.Thread(
            target=reloader.run, args=(orders.reloads, running.apply), name="reload", daemon=True
        ).start()  # a daemon: a compile under way does not hold up the end
        agent.run(orders.stop, running.interval, heartbeat.beat)
    finally:
        if agent:  # first: from now on a reload under way changes nothing any more
            agent.close()
        events.close()
        server.close()
        identity.stop()


def resolver(settings: Settings, cgroup_root: str, annotated: bool = False) -> Resolver:
    """As assemble() makes it of these settings, and with what it raises."""
    return assemble(
        Path(cgroup_root),
        node=settings.node_name or socket.gethostname(),
        kubernetes=settings.identity.kubernetes,
        kubeconfig=settings.identity.kubeconfig,
        static_file=settings.identity.static_file,
        docker=settings.identity.docker == "auto",
        keep_seconds=settings.identity.keep_seconds,
        zone=settings.identity.zone,
        external=settings.identity.external,
        annotated=annotated,
    )


def request_stage(settings: Settings, identity: Resolver) -> RequestStage:
    asked = settings.requests
    return RequestStage(
        Policies(asked, identity.annotations()),
        Routes(wishes.patterns(asked.patterns), asked.routes_per_workload),
        RouteDurations(settings.histograms.request_seconds) if asked.routes == "on" else None,
    )


def router(
    settings: Settings, collectors: Sequence[Collector], identity: Resolver, requests: RequestStage
) -> Router[Owner]:
    names = [name for collector in collectors for name in collector.event_names]
    deliveries = [Delivery(sink, names, time.monotonic) for sink in sinks(settings)]
    return Router(identity, deliveries, names, settings.limits.events_per_second, stages={REQUEST: requests})


def sinks(settings: Settings) -> list[Sink]:
    return [Jsonl(settings.sinks.jsonl.path)] if settings.sinks.jsonl.path else []


def kernel_settings(settings: Settings, cgroup_root: str) -> KernelSettings:
    return KernelSettings(
        python=settings.kernel.python,
        headers=settings.kernel.headers,
        cache=settings.kernel.cache,
        cgroup_root=cgroup_root,
        limits=asdict(settings.limits) | http_log.limits(**asdict(settings.requests)),
        bounds=asdict(settings.histograms),
    )


if __name__ == "__main__":
    sys.exit(main())
