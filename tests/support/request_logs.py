"""The request log as a user reads it: lines of JSON, and nginx's own log beside them."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.events import Told, of, parsed

REQUEST = "bpfleet.http.request"
WAIT_SECONDS = 15.0
LOOK_SECONDS = 0.05
FORMAT = (
    "log_format asked escape=none '$msec\t$request_time\t$status\t$host\t$request'; "
    "access_log {folder}/asked.log asked;"
)


class Row(NamedTuple):
    """What both logs have of a request, in the order of its answer."""

    method: str
    target: str
    version: str
    host: str
    status: int


class Served(NamedTuple):
    """A line of nginx's log. ended, took: seconds, of a clock that goes by milliseconds."""

    row: Row
    ended: float
    took: float


def served(folder: Path) -> list[Served]:
    """By FORMAT."""
    found = []
    for line in (folder / "asked.log").read_text().splitlines():
        ended, took, status, host, request = line.split("\t")
        method, target, version = request.split(" ")
        row = Row(method, target, version.removeprefix("HTTP/"), host, int(status))
        found.append(Served(row, float(ended), float(took)))
    return found


def opened() -> list[str]:
    """Settings by which paths and queries of what runs on this host leave it, for a day."""
    until = f"_host={(datetime.now(UTC) + timedelta(days=1)).isoformat(timespec='seconds')}"
    return ["--requests-paths", until, "--requests-queries", until]


def row(told: Told) -> Row:
    """As it was sent, put together again."""
    method, host = told["http.request.method"], told.get("server.address", "")
    if "server.port" in told:
        host += f":{told['server.port']}"
    query = f"?{told['url.query']}" if "url.query" in told else ""
    return Row(
        told.get("http.request.method_original", method) if method == "_OTHER" else method,
        host if method == "CONNECT" else told.get("url.path", "") + query,
        told.get("network.protocol.version", ""),
        host,
        told.get("http.response.status_code", 0),
    )


def began(told: Told) -> float:
    return datetime.fromisoformat(told["time"]).timestamp()


def requests_of(agent: Agent, file: Path, cgroup: Cgroup, count: int, role: str = "") -> list[Told]:
    """All that is told of a workload when so many are there, or when time is up; in the order of their answers."""
    agent.drained()
    end = time.monotonic() + WAIT_SECONDS
    while True:
        text = file.read_text() if file.exists() else ""
        told = [each for each in of(parsed(text[: text.rfind("\n") + 1]), cgroup.workload)]
        found = [each for each in told if role in ("", each["bpfleet.http.role"]) and each["event.name"] == REQUEST]
        if len(found) >= count or time.monotonic() > end:
            return found
        time.sleep(LOOK_SECONDS)
