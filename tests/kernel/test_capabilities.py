"""Are BPF, PERFMON and NET_ADMIN enough, is each of them needed, and is what goes off without one said?

Witness: exact counts with the three, the collectors' state without one.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.support.agents import COMPILES, WITHOUT_HTTP, Agent, House
from tests.support.cgroups import Cgroup
from tests.support.events import of, parsed, stopped
from tests.support.marks import needs
from tests.support.namespaces import Namespace

Place = Callable[..., Cgroup]
Pair = tuple[Namespace, Namespace]

V4 = "198.51.100.2"

LISTED = ("bpf", "perfmon", "net_admin")


def with_only(capabilities: Iterable[str]) -> list[str]:
    kept = ",".join(f"+{one}" for one in capabilities)
    return ["setpriv", f"--bounding-set=-all,{kept}", f"--inh-caps=-all,{kept}"]


def states(agent: Agent) -> dict[str, str]:
    """By collector: empty if it counts, else the reason why not."""
    page = agent.page()
    up = {labels["collector"] for labels, value in page.where("bpfleet_collector_up") if value == 1}
    reasons = {labels["collector"]: labels["reason"] for labels, _ in page.where("bpfleet_collector_info")}
    return {name: "" if name in up else reason or "no reason given" for name, reason in reasons.items()}


@needs("setpriv")
@pytest.mark.parametrize("kept", [COMPILES, {}], ids=["compiled", "kept"])
def test_the_three_listed_capabilities_are_enough(alone: House, place: Place, pair: Pair, kept: dict[str, str]) -> None:
    with Agent(environment=kept, prefix=with_only(LISTED)) as agent:
        assert set(states(agent).values()) == {""}
        client, server = place("client", pair[0]), place("server", pair[1])
        server.serve(V4, 5001)
        client.talk("connect", V4, 5001, count=23, size=23, shutdown=True, read=True)

        page = agent.settled(client, server)
        assert page.value("bpfleet_tcp_connections_opened_total", workload=client.workload) == 23
        assert page.value("bpfleet_tcp_connections_accepted_total", workload=server.workload) == 23
        segments = page.value("bpfleet_tcp_segments_total", workload=client.workload, direction="transmit")
        assert segments == pair[0].counters()["TcpOutSegs"]


@needs("setpriv")
def test_the_three_are_enough_to_tell_drops_and_whose_they_are(alone: House, place: Place, pair: Pair) -> None:
    with Agent("--collectors", "+drops", environment=WITHOUT_HTTP, prefix=with_only(LISTED)) as agent:
        client, server = place("client", pair[0]), place("server", pair[1])
        server.serve(V4, 5001)
        client.talk("udp_burst", V4, 9, count=23, size=64, unconnected=True)

        page = agent.settled(server)
        assert page.value("bpfleet_packet_drops_total", reason="no_socket") == pair[1].counters()["UdpNoPorts"] == 23


@needs("setpriv")
def test_without_perfmon_drops_are_off_and_that_is_said(alone: House) -> None:
    with Agent("--collectors", "+drops", environment=WITHOUT_HTTP, prefix=with_only(("bpf", "net_admin"))) as agent:
        assert "without the capability PERFMON" in states(agent)["drops"]
        assert list(agent.page().where("bpfleet_packet_drops_total")) == []


@needs("setpriv")
def test_they_are_enough_for_events_and_without_perfmon_there_are_none(
    alone: House, place: Place, pair: Pair, tmp_path: Path
) -> None:
    flags = ("--collectors", "+tcp_states", "--sinks-jsonl-path", str(tmp_path / "events.jsonl"))
    with Agent(*flags, environment=WITHOUT_HTTP, prefix=with_only(LISTED)) as agent:
        client = place("client", pair[0])
        client.talk("connect", V4, 9, count=23)
        assert stopped(agent).lost == {}
        assert len(of(parsed((tmp_path / "events.jsonl").read_text()), client.workload)) == 2 * 23
    with Agent(*flags, environment=WITHOUT_HTTP, prefix=with_only(("bpf", "net_admin"))) as agent:
        assert "without the capability PERFMON" in states(agent)["tcp_states"]


@needs("setpriv")
def test_without_perfmon_packets_are_still_counted(alone: House, place: Place, pair: Pair) -> None:
    with Agent(prefix=with_only(("bpf", "net_admin"))) as agent:
        found = states(agent)
        assert found.pop("traffic") == ""
        assert set(found) == {"cgroups", "tcp", "http", "connections"}
        for reason in found.values():
            assert "without the capability PERFMON" in reason
        client = place("client", pair[0])
        client.talk("udp_burst", V4, 9, count=23, size=64, unconnected=True)
        page = agent.settled(client)
        assert page.value("bpfleet_network_io_packets_total", direction="transmit", transport="udp") == 23


@needs("setpriv")
def test_without_net_admin_no_packet_is_counted_and_that_is_said(alone: House) -> None:
    """Then nothing is counted that a user asked for: it answers, and is not ready."""
    agent = Agent(prefix=with_only(("bpf", "perfmon"))).start()
    try:
        agent.answers("/readyz", 503)
        found = states(agent)
        assert {name for name, reason in found.items() if "NET_ADMIN" in reason} >= {"traffic", "tcp", "connections"}
    finally:
        agent.stop()


@needs("setpriv")
@pytest.mark.parametrize("kept", [("perfmon", "net_admin"), ()])
def test_without_bpf_it_refuses_to_run(alone: House, kept: tuple[str, ...]) -> None:
    prefix = with_only(kept) if kept else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    status, said = Agent(prefix=prefix).start().ended()
    assert status != 0
    assert "BPF" in said
    assert "Traceback" not in said
