"""Are requests by peer those of the workload, and does `bpfleet topology` show who calls whom, and nobody else?

Witnesses: nginx's access logs, and what the clients and servers of the test have done.
"""

from collections.abc import Callable

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.namespaces import Namespace
from tests.support.requests import lost_requests, requests
from tests.kernel.test_http import V4, V6, asked, load, web

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]


@pytest.mark.parametrize("address", [V4, V6])
def test_requests_by_peer_are_those_of_the_workload(agent: Agent, place: Place, pair: Pair, tmp_path, address) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    web(server, tmp_path)
    load(client, address.strip("[]"), connections=4, requests=31)
    page = agent.settled(client, server)
    print([(a, v) for a, v in page.where("bpfleet_flow_http_requests_total")])
    print(asked(tmp_path), agent.lost())
    assert 0
