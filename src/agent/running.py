"""What of an agent that runs a reload can change, and how. What it leaves alone goes on: not a packet is missed."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from agent.agent import Agent
from agent.configuration import Configuration
from agent.credentials import Credentials
from agent.identity.model import Owner
from agent.identity.resolver import Resolver, rules_of
from agent.kernel.door import Door, KernelSettings, Loaded, Outcome
from agent.metrics.accumulate import Accumulator
from agent.requests.stage import RequestStage
from agent.requests.steering import Steering
from agent.settings import Security, Settings
from bpfleet.api import Collector, Metric
from bpfleet.errors import BpfleetError

log = logging.getLogger(__name__)


class Adjusted(Protocol):
    """What works with the section `security`."""

    def adjust(self, settings: Security) -> None: ...


class Running:
    """settings: in force. kinds: how each collector is made, which raises BpfleetError for one that is off. kernel: the
    door's settings, the same as at the start. intervals: of settings, by collector, of those that are not asked at each
    drain."""

    def __init__(
        self,
        settings: Settings,
        kinds: Mapping[str, Callable[[], Collector]],
        door: Door,
        kernel: KernelSettings,
        agent: Agent,
        identity: Resolver,
        totals: Accumulator[Owner],
        credentials: Credentials,
        intervals: Callable[[Settings], Mapping[str, float]],
        requests: RequestStage,
        steering: Steering | None = None,
        security: Sequence[Adjusted] = (),
    ) -> None:
        self._settings, self._kinds, self._intervals = settings, kinds, intervals
        self._door, self._kernel = door, kernel
        self._agent, self._identity, self._totals, self._credentials = agent, identity, totals, credentials
        self._requests = requests
        self._steering = steering
        self._security = tuple(security)

    def interval(self) -> float:
        """Seconds between two drains."""
        return self._settings.drain_interval_seconds

    def apply(self, wanted: Configuration, settings: Settings) -> Sequence[str]:
        """wanted: all that is asked for; settings: what of it can be had now. Returns the settings whose file says
        something else than before. Raises SettingsError, and then nothing has changed."""
        with wanted.blaming("identity.static_file"):
            rules = rules_of(settings.identity.static_file)
        self._credentials.check(wanted)
        before, self._settings = self._settings, settings
        with self._agent.changing():
            renamed = self._identity.adjust(rules, settings.identity.keep_seconds, settings.identity.external)
            if renamed:
                self._totals.rename()
            self._totals.adjust(
                series=settings.limits.series,
                series_per_metric=settings.limits.series_per_metric,
                scrape_interval=settings.scrape_interval_seconds,
                flow_idle_seconds=settings.flow_idle_seconds,
                keep_seconds=settings.identity.keep_seconds,
            )
            self._agent.pace(self._intervals(settings))
            self._requests.adjust(settings.requests)
            if self._steering:
                self._steering.adjust(settings.requests)
            for each in self._security:
                each.adjust(settings.security)
        logging.getLogger().setLevel(settings.log_level.upper())
        for name in before.collectors:
            if name not in settings.collectors:
                self._switch_off(name)
        for name in settings.collectors:
            if name not in before.collectors:
                self._switch_on(name)
        return ("identity.static_file",) if renamed else ()

    def _switch_on(self, name: str) -> None:
        """Takes a second or two for the compiler; the others are drained meanwhile."""
        try:
            collector = self._kinds[name]()
        except BpfleetError as error:
            off = {name: Outcome(False, reason=str(error))}
            describe(off)
            self._agent.note(off)
            return
        try:
            loaded = self._door.load([collector], self._kernel)
        except Exception as error:  # one collector's failure is its own
            loaded = Loaded({collector.name: Outcome(False, reason=str(error))}, [])
        outcome = loaded.outcomes[collector.name]
        describe({collector.name: outcome})
        if outcome.up:
            self._totals.switch_on(collector.metrics)
        self._agent.join(loaded, [collector])

    def _switch_off(self, name: str) -> None:
        try:
            collector = self._kinds[name]()
        except BpfleetError:  # it never ran
            self._agent.forget(name)
            return
        try:
            self._agent.leave(collector)
        except Exception:  # one collector's failure is its own
            log.exception("collector %s could not be drained for the last time", collector.name)
        self._totals.switch_off(lonely(collector.metrics, self._agent.metrics()))
        log.info("collector %s is switched off", collector.name)


def lonely(metrics: Iterable[Metric], others: Iterable[Metric]) -> list[Metric]:
    """Those of `metrics` that no running collector has."""
    present = set(others)
    return [metric for metric in metrics if metric not in present]


def describe(outcomes: Mapping[str, Outcome]) -> None:
    """In the log."""
    for name, outcome in outcomes.items():
        if outcome.up:
            reason = f" ({outcome.reason})" * bool(outcome.reason)
            log.info("collector %s counts by %s%s", name, ", ".join(outcome.hooks), reason)
        else:
            log.warning("collector %s is off: %s", name, outcome.reason)
