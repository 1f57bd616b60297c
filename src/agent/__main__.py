"""`python -m agent`: reads the settings, builds the objects, runs them. The only place that knows everybody."""

import logging
import os
import platform
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from agent import configuration, memory
from agent.agent import Agent
from agent.collectors import http_log
from agent.collectors.http_log import Mode
from agent.configuration import Configuration
from agent.credentials import Credentials
from agent.events.delivery import Delivery
from agent.events.routing import Router, Stage
from agent.identity.model import Owner
from agent.identity.resolver import Resolver, assemble
from agent.kernel import facts
from agent.kernel.door import KernelDoor, KernelSettings, Outcome
from agent.kernel.lock import Lock
from agent.metrics.accumulate import Accumulator
from agent.metrics.health import Build, Health, Report, RequestLog, Security
from agent.metrics.page import Page
from agent.plugins import guarding
from agent.plugins.finding import Finder, Plugins
from agent.plugins.making import Made, intervals, make, makers
from agent.protocols.routes import Routes
from agent.reload import Reloader, Requests
from agent.requests import wishes
from agent.requests.durations import RouteDurations
from agent.requests.policy import Policies
from agent.requests.stage import RequestStage
from agent.requests.steering import LogOrders, Steering
from agent.running import Running, describe, lonely
from agent.security import shipped
from agent.security.following import Followed
from agent.security.scopes import Scopes
from agent.security.stage import SecurityStage
from agent.security.steering import SecurityOrders
from agent.server import Application, Heartbeat, Server
from agent.settings import Settings
from agent.sinks import BUILT_IN as SINKS
from agent.sinks.recent import Recent
from agent.status import Status
from bpfleet import __version__
from bpfleet.api import Collector, Sample, Sink
from bpfleet.errors import BpfleetError, HostError, OptionError, SettingsError
from bpfleet.events import HTTP_REQUEST, SECURITY

log = logging.getLogger("agent")

STALL_SECONDS = 60.0
"""A drain takes milliseconds; a starved node gets a thousand times that before the loop counts as stuck."""


@dataclass(frozen=True)
class Orders:
    """What reaches an agent that runs. read: what file, environment and flags say now, for each of the reloads. find:
    the plugins of a directory."""

    stop: threading.Event
    reloads: Requests
    read: Callable[[], Configuration]
    find: Callable[[str], Plugins]


def main(arguments: Sequence[str] | None = None) -> int:
    memory.share_one_heap()
    stop, reloads = threading.Event(), Requests()
    listen_for_signals(stop, reloads)
    parsed = configuration.Parser("bpfleet agent", "Count what every workload does on the network.").parse_args(
        arguments
    )
    try:
        flags, find = configuration.flags_of(parsed), Finder()
        orders = Orders(stop, reloads, lambda: configuration.load(parsed.config, os.environ, flags, find), find)
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
        plugins = orders.find(settings.plugins.dir)
        made, kinds = make(plugins, settings), plugins.kinds()
        told = {name for each in made.collectors for name in each.event_names}
        identity = resolver(settings, cgroup_root, settings.asks_namespaces(told))
        totals = Accumulator(
            identity,
            [metric for collector in made.collectors for metric in collector.metrics],
            asdict(settings.histograms) | plugins.bounds(),
            series=settings.limits.series,
            series_per_metric=settings.limits.series_per_metric,
            scrape_interval=settings.scrape_interval_seconds,
            flow_idle_seconds=settings.flow_idle_seconds,
            keep_seconds=settings.identity.keep_seconds,
        )
        alone = {name: name not in kinds or kinds[name].base is None for name in plugins.collectors()}
        reloader = Reloader(settings, alone, orders.read)
        counting = [name for name, kind in kinds.items() if kind.metrics or kind.event_names]
        status = Status(
            __version__, counting, machine, totals.standing, identity.status, reloader.page, credentials.states
        )
        places = [*sinks(given), *made.sinks]
        serve(settings, cgroup_root, plugins, made, places, identity, totals, status, credentials, reloader, orders)


def serve(
    settings: Settings,
    cgroup_root: str,
    plugins: Plugins,
    made: Made,
    places: Sequence[Sink],
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
    policies = Followed(Path(settings.security.policies) if settings.security.policies else shipped.directory())
    scopes = Scopes(identity, policies.policies, settings.security.watch)
    security = SecurityStage(scopes, settings.security, time.monotonic)
    security_orders = SecurityOrders(scopes, settings.security)
    health = Health(
        totals.standing,
        build,
        reloader.state,
        credentials.good,
        identity.backends,
        lambda: RequestLog(*requests.policies.standing()),
        lambda: security_health(policies),
    )
    status.security = policies.page
    heartbeat = Heartbeat(STALL_SECONDS)
    recent = Recent(lambda: reloader.settings.requests.log, secrets.token_hex(8)) if settings.runs("http_log") else None
    pages = Application(
        Page(totals, health.registry()), heartbeat.problem, status.problem, status.page, credentials.bearer, recent
    )
    server = Server(pages, settings.address, credentials.context)
    collectors = made.collectors
    kept = [*places, recent] if recent else places
    events = router(settings, collectors, kept, identity, requests, security)
    status.sinks = health.sinks = {sink.name: "" for sink in kept} | made.sinks_off
    steering = Steering(requests.policies, settings.requests)
    agent: Agent | None = None

    def modes() -> tuple[Mode, Mapping[int, Mode]]:
        return steering.modes(identity.tree.living(), identity.owner)

    def told() -> Iterator[Sample]:
        yield from requests.durations.samples() if requests.durations else ()
        yield from security.samples()

    def observe(report: Report) -> None:
        health.observe(report)
        status.observe(report)

    try:
        door, kernel = KernelDoor(), kernel_settings(settings, cgroup_root, plugins)
        loaded = door.load(collectors, kernel)
        status.headers = health.build.headers = loaded.headers
        status.units = loaded.origin
        loaded.outcomes.update({name: Outcome(False, reason=reason) for name, reason in made.off.items()})
        paces = partial(intervals, plugins.kinds().values())
        agent = Agent(
            *(loaded, collectors, identity, totals, events, observe, time.monotonic),
            intervals=paces(settings),
            most=guarding.most(settings.limits.flows),
            steering=[LogOrders(modes), security_orders],
            told=told,
        )
        off = [each for each in collectors if not loaded.outcomes[each.name].up]
        totals.switch_off(lonely((metric for each in off for metric in each.metrics), agent.metrics()))
        agent.drain()
        describe(loaded.outcomes)
        log.info("metrics at %s://%s:%d/metrics", server.scheme, *server.address)
        kinds = makers(plugins, settings)
        running = Running(
            *(settings, kinds, door, kernel, agent, identity, totals, credentials, paces),
            requests,
            steering,
            security=(security, security_orders),
        )
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
    settings: Settings,
    collectors: Sequence[Collector],
    sinks: Sequence[Sink],
    identity: Resolver,
    requests: RequestStage,
    security: SecurityStage,
) -> Router[Owner]:
    names = [name for collector in collectors for name in collector.event_names]
    deliveries = [Delivery(sink, names, time.monotonic) for sink in sinks]
    stages: dict[str, Stage] = {HTTP_REQUEST: requests, **dict.fromkeys(SECURITY, security)}
    return Router(identity, deliveries, names, settings.limits.events_per_second, stages=stages)


def security_health(policies: Followed) -> Security:
    state = policies.state()
    return Security(state.rules, not state.problem)


def sinks(given: Configuration) -> list[Sink]:
    """Those that the settings ask for. Raises SettingsError where a file that they name cannot be used."""
    options = asdict(given.settings.sinks)
    made: list[Sink] = []
    for name, build in SINKS.items():
        try:
            sink = build(options[name])
        except OptionError as error:
            setting = f"sinks.{name}.{error.option}"
            raise SettingsError(f"{given.place(setting)}: {setting}: {error}") from error
        if sink:
            made.append(sink)
    return made


def kernel_settings(settings: Settings, cgroup_root: str, plugins: Plugins | None = None) -> KernelSettings:
    """plugins: may bring bounds of their own."""
    return KernelSettings(
        python=settings.kernel.python,
        headers=settings.kernel.headers,
        cache=settings.kernel.cache,
        cgroup_root=cgroup_root,
        limits=asdict(settings.limits) | http_log.limits(**asdict(settings.requests)),
        bounds=asdict(settings.histograms) | (plugins.bounds() if plugins else {}),
    )


if __name__ == "__main__":
    sys.exit(main())
