"""Does the bad link do what its counters say? The other tests take its word for it."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import talk
from tests.support.namespaces import Namespace
from tests.support.relay import Relay

TALK = [sys.executable, talk.__file__]
"""Run outside every cgroup here: only the link is looked at."""


def transfer(relay: Relay, size: int) -> None:
    """TCP from a to b, to the end."""
    server = subprocess.Popen(
        relay.b.command([*TALK, "serve", "198.51.100.2", "5001"]),
        pass_fds=(relay.b.fd,),
        text=True,
        stdout=subprocess.PIPE,
    )
    try:
        assert server.stdout and server.stdout.readline() == "ready\n"
        done = relay.a.run([*TALK, "connect", "198.51.100.2", "5001", "--size", str(size), "--shutdown", "--read"])
        assert done.stdout == "done ok=1\n"
    finally:
        server.kill()
        server.communicate()


def round_trips(side: Namespace, host: str) -> list[float]:
    out = side.run(["ping", "-c", "20", "-i", "0.02", host]).stdout
    return sorted(float(line.split("time=")[1].split()[0]) for line in out.splitlines() if "time=" in line)


@pytest.mark.undisturbed
@pytest.mark.parametrize("host", ["198.51.100.2", "2001:db8::2"])
def test_a_round_trip_takes_the_delays_of_both_ways(relay: Relay, host: str) -> None:
    relay.use(ab={"delay_ms": 20}, ba={"delay_ms": 5})
    times = round_trips(relay.a, host)
    assert len(times) == 20
    assert times[0] >= 25
    assert statistics.median(times) < 27


def test_every_dropped_segment_is_sent_again(relay: Relay) -> None:
    relay.use(ab={"drop": "0.05", "match": ["tcp_data"]})
    transfer(relay, 2_000_000)
    data, kernel = relay.settled()["ab"]["tcp_data"], relay.a.counters()
    assert data["dropped"] > 20
    assert data["dropped"] <= kernel["TcpRetransSegs"]
    tallies = [tally for kind, tally in relay.counts()["ab"].items() if kind.startswith("tcp")]
    sent = sum(tally["passed"] + tally["dropped"] for tally in tallies)
    assert sent == kernel["TcpOutSegs"] + kernel["TcpRetransSegs"]
    assert relay.overruns() == 0


def test_every_duplicate_arrives_as_a_duplicate(relay: Relay) -> None:
    relay.use(ab={"duplicate": "1/10", "match": ["tcp_data"]})
    transfer(relay, 2_000_000)
    tallies = relay.settled()["ab"]
    assert tallies["tcp_data"]["duplicated"] > 100
    arrived = sum(tallies[kind]["passed"] + tallies[kind]["duplicated"] for kind in tallies if kind.startswith("tcp"))
    assert relay.b.counters()["TcpInSegs"] == arrived


def test_a_held_packet_is_overtaken_by_three_others(relay: Relay) -> None:
    relay.use(ab={"reorder": "1/20", "delay_ms": 2, "match": ["tcp_data"]})
    transfer(relay, 2_000_000)
    data, kernel = relay.settled()["ab"]["tcp_data"], relay.b.counters()
    assert data["reordered"] > 20
    assert data["dropped"] == 0
    assert kernel["TcpExtTCPOFOQueue"] >= data["reordered"]


def test_the_same_seed_drops_the_same_packets() -> None:
    def dropped() -> int:
        with Relay(ab={"drop": "0.1", "match": ["udp"]}) as relay:
            relay.a.run(
                [*TALK, "udp_burst", "198.51.100.2", "5002", "--count", "1000", "--size", "64", "--unconnected"]
            )
            counts = relay.settled()["ab"]["udp"]
            assert counts["passed"] + counts["dropped"] == 1000
            return int(counts["dropped"])

    assert dropped() == dropped() > 0


def test_the_first_syn_alone_can_be_dropped(relay: Relay) -> None:
    relay.use(ab={"drop": "@1", "match": ["tcp_syn"]})
    transfer(relay, 1000)
    assert relay.settled()["ab"]["tcp_syn"] == {"passed": 1, "dropped": 1, "duplicated": 0, "reordered": 0}
    assert relay.a.counters()["TcpRetransSegs"] == 1


def test_an_unknown_fault_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        Relay({"lose": "1/10"})
    with pytest.raises(ValueError, match="unknown kind"):
        Relay({"match": ["tpc"]})


def test_nothing_stays_when_the_relay_ends() -> None:
    with Relay() as relay:
        process = Path(f"/proc/{relay.process.pid}")
        assert process.exists()
    assert not process.exists()
