"""Says at the end, in one line a suite, what ran and why something did not. Two runs can share a suite (--share)."""

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


class Share:
    """Of two runs of the same tests that share a directory each file is run by the one that comes to it first."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mine: dict[Path, bool] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """True: nothing is left to do for it here."""
        if item.path not in self._mine:
            self._mine[item.path] = self._claim(item.path)
        return None if self._mine[item.path] else True

    def _claim(self, path: Path) -> bool:
        try:
            (self._directory / "-".join(path.relative_to(HERE).parts)).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=Path, metavar="DIRECTORY", help="run only files that no other run has begun")


def pytest_configure(config: pytest.Config) -> None:
    # A shell starts background jobs with SIGINT ignored, and so would every program that the tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.pluginmanager.register(Suites())
    if directory := config.getoption("--share"):
        config.pluginmanager.register(Share(directory))
