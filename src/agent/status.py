"""What /readyz and /status say of a running agent."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict

from agent.following import State
from agent.kernel.facts import Facts
from agent.metrics.accumulate import Standing
from agent.metrics.health import Report


class Status:
    """Filled by the agent's loop, read by the server's threads. counting: those of all collectors that have metrics.
    facts: of this machine. standing: of the totals; identity, reload, credentials: what they say of themselves."""

    def __init__(
        self,
        version: str,
        counting: Collection[str],
        facts: Facts,
        standing: Callable[[], Standing],
        identity: Callable[[], Mapping[str, object]],
        reload: Callable[[], Mapping[str, object]],
        credentials: Callable[[], Mapping[str, State]],
    ) -> None:
        self._version, self._counting, self._facts = version, counting, facts
        self._standing, self._identity = standing, identity
        self._reload, self._credentials = reload, credentials
        self._report: Report | None = None
        self._drains = 0
        self.headers = self.units = ""
        self.sinks: Mapping[str, str] = {}
        """Why each is off; empty where it is on."""
        self.security: Callable[[], Mapping[str, object]] = dict
        """What the security policies say of themselves."""

    def observe(self, report: Report) -> None:
        self._report = report
        self._drains += 1

    def problem(self) -> str:
        """Why the agent is not ready; empty when it counts. A collector that cannot run here is no reason: it says so
        itself, and the rest counts."""
        if self._report is None:
            return "loading the programs"
        running = self._report.collectors
        counting = {name: running[name] for name in self._counting if name in running}
        if any(state.up for state in counting.values()):
            return ""
        return "nothing is counted: " + "; ".join(f"{name}: {state.reason}" for name, state in counting.items())

    def page(self) -> Mapping[str, object]:
        report = self._report or Report()
        return {
            "version": self._version,
            "machine": asdict(self._facts),
            "headers": self.headers,
            "units": self.units,
            "ready": self._report is not None,
            "drains": self._drains,
            "collectors": {name: state._asdict() for name, state in report.collectors.items()},
            "sinks": {name: {"up": not reason, "reason": reason} for name, reason in self.sinks.items()},
            "failures": dict(report.failures),
            "channels": {name: books._asdict() for name, books in report.books.items()},
            "maps": {name: table._asdict() for name, table in report.tables.items()},
            "programs": {name: runs._asdict() for name, runs in report.programs.items()},
            "series": {**self._standing()._asdict(), "lost": dict(self._standing().lost)},
            "identity": dict(self._identity()),
            "reload": dict(self._reload()),
            "security": dict(self.security()),
            "credentials": {name: state._asdict() for name, state in self._credentials().items()},
        }
