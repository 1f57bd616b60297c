"""Requests as a page has them."""

from collections import Counter

from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.pages import Page


def requests(page: Page, side: str, cgroup: Cgroup) -> dict[tuple[str, str, str], int]:
    """side: server or client. By method, status and error."""
    found: Counter[tuple[str, str, str]] = Counter()
    for have, value in page.where(f"http_{side}_request_duration_seconds_count", workload=cgroup.workload):
        if value:
            row = (have["http_request_method"], have["http_response_status_code"], have["error_type"])
            found[row] += int(value)
    return dict(found)


def lost_requests(agent: Agent) -> int:
    """All that the agent knows not to have counted, of every workload and side."""
    agent.drained()
    return int(agent.page().value("bpfleet_lost_total", channel="http_requests"))


def active_requests(page: Page, *cgroups: Cgroup) -> dict[tuple[str, str, str], int]:
    """Requests that wait for their answer now, where there are any: by workload, side and method."""
    return {
        (cgroup.workload, side, have["http_request_method"]): int(value)
        for cgroup in cgroups
        for side in ("server", "client")
        for have, value in page.where(f"http_{side}_active_requests", workload=cgroup.workload)
        if value
    }
