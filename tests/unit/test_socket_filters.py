import argparse
from typing import Any

import pytest
from tests.support.socket_rows import (
    CLOSE_WAIT,
    DATAGRAM,
    ESTABLISHED,
    LISTENING,
    UDP,
    UNCONNECTED,
    address,
    made,
)

from agent.identity.model import Owner
from agent.socket_filters import add_to, question_of
from agent.socket_lists import Socket

OWNER = Owner("shop", pod="web-1", workload="web")


def sock(identity: int = 1, owner: Owner = OWNER, holders: dict[int, str] | None = None, **members: Any) -> Socket:
    return Socket(made(identity, **members), holders or {7: "client"}, owner, None)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="p")
    add_to(parser)
    return parser.parse_args(words)


def passes(each: Socket, *words: str) -> bool:
    return question_of(parsed(*words))(each)


def test_by_default_connected_sockets_are_shown_as_ss_has_it() -> None:
    states = (ESTABLISHED, CLOSE_WAIT, LISTENING, UNCONNECTED)
    assert [passes(sock(state=state)) for state in states] == [True, True, False, False]
    assert [passes(sock(state=state), "--listening") for state in states] == [False, False, True, False]
    assert [passes(sock(state=state), "--all") for state in states] == [True] * 4
    assert passes(sock(type=DATAGRAM, protocol=UDP, state=UNCONNECTED), "--listening")


def test_states_are_words_of_which_one_must_fit() -> None:
    assert passes(sock(state=LISTENING), "--state", "close-wait,listening")
    assert not passes(sock(), "--state", "close-wait,listening")
    assert passes(sock(state=CLOSE_WAIT), "--state", "connected,listening")


@pytest.mark.parametrize(
    ("words", "fits"),
    [
        (("--namespace", "shop"), True),
        (("--namespace", "sho"), False),
        (("--namespace", "bank,sh*"), True),
        (("--workload", "web"), True),
        (("--workload", "w?b"), True),
        (("--pod", "web-*"), True),
        (("--pod", "db-*"), False),
        (("--protocol", "udp,tcp"), True),
        (("--protocol", "udp"), False),
        (("--port", "443"), True),
        (("--port", "40000,80"), True),
        (("--port", "80"), False),
        (("--local-port", "443"), False),
        (("--peer-port", "443"), True),
        (("--pid", "7"), True),
        (("--pid", "8,9"), False),
        (("--address", "192.0.2.0/24"), True),
        (("--address", "192.0.2.2"), True),
        (("--address", "192.0.2.3"), False),
        (("--address", "0.0.0.0/0"), True),
        (("--address", "2001:db8::/32"), False),
        (("--address", "::ffff:192.0.2.1"), True),
        (("--min-rtt-ms", "1.5"), True),
        (("--min-rtt-ms", "1.501"), False),
        (("--namespace", "shop", "--port", "80"), False),
    ],
)
def test_all_filters_that_are_given_must_hold(words: tuple[str, ...], fits: bool) -> None:
    assert passes(sock(), *words) is fits


def test_any_process_that_holds_it_will_do() -> None:
    assert passes(sock(holders={3: "master", 900: "worker"}), "--pid", "900")


def test_a_name_with_brackets_is_found_as_it_stands() -> None:
    assert passes(sock(owner=Owner("_host", workload="/a[1]")), "--workload", "/a[1]")


def test_a_network_of_ipv6_does_not_hold_ipv4() -> None:
    assert passes(sock(local=address("2001:db8::1")), "--address", "2001:db8::/64")
    assert not passes(sock(), "--address", "2000::/3")


def test_what_has_no_round_trip_time_has_none_of_that_length() -> None:
    assert not passes(sock(type=DATAGRAM, protocol=UDP), "--min-rtt-ms", "0")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--state", "listning"), "'listning' is no state; did you mean listening?"),
        (("--state", ""), "'' has an empty part"),
        (("--state", "established", "--all"), "not allowed with argument"),
        (("--protocol", "tcp,htp"), "'htp' is no protocol"),
        (("--port", "0"), "'0' is not a number from 1 to 65535"),
        (("--port", "80,"), "'80,' has an empty part"),
        (("--local-port", "65536"), "'65536' is not a number from 1 to 65535"),
        (("--peer-port", "http"), "'http' is not a number"),
        (("--pid", "\u0663"), "is not a number"),
        (("--pid", "9" * 5000), "is not a number from 1 to"),
        (("--address", "10.0.0.0/33"), "'10.0.0.0/33' is neither an address nor a network"),
        (("--address", "example.org"), "'example.org' is neither"),
        (("--min-rtt-ms", "nan"), "'nan' is not a number of milliseconds"),
        (("--min-rtt-ms=-1",), "'-1' is not a number of milliseconds"),
    ],
)
def test_wrong_values_are_refused_with_what_is_wrong(
    words: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parsed(*words)
    assert ended.value.code == 2
    assert complaint in capsys.readouterr().err
