"""Are requests counted once, on both sides, as what they were?

Witnesses: nginx's access log, wrk's and curl's own counts.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.agents import Agent
from tests.support.cgroups import Cgroup
from tests.support.marks import needs
from tests.support.namespaces import Namespace
from tests.support.requests import requests
from tests.support.servers import Nginx

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4, V6 = "198.51.100.2", "[2001:db8::2]"


@needs("nginx", "wrk")
@pytest.mark.parametrize("address", [V4, V6])
@pytest.mark.parametrize("headers", [[], ["-H", "Connection: close"]], ids=["keep-alive", "one connection a request"])
def test_requests_are_those_of_nginx(
    agent: Agent, place: Place, pair: Pair, tmp_path: Path, address: str, headers: list[str]
) -> None:
    client, server = place("client", pair[0]), place("server", pair[1])
    nginx = Nginx(server, tmp_path)
    client.run(["wrk", "-t2", "-c16", "-d2", *headers, f"http://{address}/"])
    page = agent.settled(client, server)
    served = len(nginx.served())
    assert served > 1000
    assert agent.lost() == {}
    assert requests(page, "server", server) == {("GET", "200", ""): served}
    found = requests(page, "client", client)
    assert found.pop(("GET", "200", "")) == served
