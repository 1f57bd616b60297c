"""`bpfleet policy`: are these policies good, and what do they say of this event?"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.escapes import inert
from agent.security import shipped
from bpfleet.cli import OK
from bpfleet.errors import PolicyError
from bpfleet.policies import cases, evaluation, reading, records
from bpfleet.policies.evaluation import Policies
from bpfleet.policies.facts import Facts

MAX_EVENTS_BYTES = 16 << 20
"""Of events to explain: some ten thousand, of which nobody reads more."""


def main(arguments: Sequence[str], help: str = "") -> int:
    """Raises PolicyError for what is wrong, with a line for each problem."""
    parser = argparse.ArgumentParser("bpfleet policy", description=help)
    actions = parser.add_subparsers(dest="action", required=True)
    check = actions.add_parser("check", help="find mistakes, and run the tests that stand beside the policies")
    check.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="files or directories (default: the shipped)"
    )
    explain = actions.add_parser("explain", help="say which rules fire for an event, and what saved it from the others")
    explain.add_argument("event", metavar="EVENT.json", help="as the sink jsonl writes it; - for standard input")
    explain.add_argument("--policies", nargs="+", type=Path, default=[], metavar="PATH", help="files or directories")
    wanted = parser.parse_args(arguments)
    if wanted.action == "check":
        return _check(wanted.paths or [shipped.directory()])
    return _explain(wanted.event, wanted.policies or [shipped.directory()])


def _check(paths: Sequence[Path]) -> int:
    policies = reading.read(paths)
    if not policies:
        raise PolicyError(f"{', '.join(map(str, paths))}: no policy here")
    tested = [each for path in paths for file in reading.files(path) for each in cases.read_file(file)]
    problems = [problem for policy, those in tested for problem in cases.run(policy, those)]
    if problems:
        raise PolicyError(inert_lines(problems))
    rules, tests = sum(len(policy.rules) for policy in policies), sum(len(those) for _, those in tested)
    print(f"{len(policies)} policies with {rules} rules are good; {tests} tests pass")
    return OK


def _explain(event: str, paths: Sequence[Path]) -> int:
    policies = Policies(reading.read(paths))
    for number, facts in enumerate(_events(event)):
        if number:
            print()
        _tell(policies, facts)
    return OK


def _events(event: str) -> list[Facts]:
    try:
        if event == "-":
            content = sys.stdin.buffer.read(MAX_EVENTS_BYTES + 1)
        else:
            with open(event, "rb") as stream:
                content = stream.read(MAX_EVENTS_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise PolicyError(f"{event}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise PolicyError(f"{event}: not UTF-8: {error}") from error
    if len(content) > MAX_EVENTS_BYTES:
        raise PolicyError(f"{event}: more than {MAX_EVENTS_BYTES} bytes of events")
    place = "standard input" if event == "-" else event
    lines = text.split("\n")
    if text.lstrip().startswith("{") and not _is_lines(lines):
        return [records.read(text, place)]
    found = [records.read(line, f"{place}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not found:
        raise PolicyError(f"{place}: no event here")
    return found


def _is_lines(lines: Sequence[str]) -> bool:
    """Whether the first line is a whole event; else one event may be spread over several, for people to read."""
    first = next(line for line in lines if line.strip())
    return first.rstrip().endswith("}")


def _tell(policies: Policies, facts: Facts) -> None:
    owner = "/".join(each for each in (facts.owner.namespace, facts.owner.workload, facts.owner.container) if each)
    print(inert(f"{facts.event} of {owner or 'nobody known'}"))
    looks = evaluation.explain(policies, facts)
    for look in (*(each for each in looks if each.fires), *(each for each in looks if not each.fires)):
        word = f"fires ({look.rule.severity})" if look.fires else "silent"
        print(inert(f"  {look.rule.policy}/{look.rule.name}: {word}: {look.why}"))
    if not looks:
        print("  no rule is about such events")


def inert_lines(lines: Sequence[str]) -> str:
    return "\n".join(map(inert, lines))
