"""Says at the end, in one line a suite, what ran and why something did not."""

import signal
from collections import Counter, defaultdict
from pathlib import Path

import pytest

HERE = Path(__file__).parent


class Suites:
    """Counts outcomes by the directory under tests/."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Counter[str]] = defaultdict(Counter)
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        suite = Path(report.fspath).parts[1]
        self.outcomes[suite][report.outcome] += 1
        if isinstance(report.longrepr, tuple):
            self.reasons[suite][report.longrepr[2].removeprefix("Skipped: ")] += 1

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.outcomes:
            terminalreporter.section("suites")
        for suite, counts in self.outcomes.items():
            told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items())
            why = "; ".join(f"{count} skipped: {reason}" for reason, count in self.reasons[suite].items())
            terminalreporter.line(f"{suite}: {told}" + (f" ({why})" if why else ""))


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with SIGINT ignored, and so would every program that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Suites())
