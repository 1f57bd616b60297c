"""A namespace whose server fails is paged for, its neighbour is not: agent, rules, routes and webhook in one.

Witness: nginx' access log says how many requests failed.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.cluster.waiting import eventually
from tests.support import applications
from tests.support.agents import free_port
from tests.support.stacks import Stack, Visitor

ONE_IN = 5
PAGE, TICKET = "SloErrorBudgetBurnPage", "SloErrorBudgetBurnTicket"
FIRST_SECONDS, RESOLVED_SECONDS = 60.0, 90.0


@pytest.fixture
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack(tmp_path_factory.mktemp("stack"), {"shop": "critical", "calm": ""}) as stack:
        yield stack


def test_errors_of_one_namespace_page_for_it_alone_mute_its_ticket_and_resolve(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with ExitStack() as entered:
        ports = {name: free_port() for name in stack.places}
        servers = {
            name: applications.nginx(place, tmp_path_factory.mktemp(name), ports[name])
            for name, place in stack.places.items()
        }
        visitors = {name: entered.enter_context(Visitor(port)) for name, port in ports.items()}
        shop = visitors["shop"]
        for name in stack.places:
            stack.prometheus.until(f'slo:sli_error:ratio_rate5m{{namespace="{name}",sli="availability"}} == 0')
        assert not {namespace for _, namespace in stack.firing()} & set(stack.places)

        shop.errors = ONE_IN
        (page,) = stack.discord.until(1, PAGE, FIRST_SECONDS)
        eventually(lambda: (TICKET, "shop") in stack.firing(), "the ticket fires, too", FIRST_SECONDS)
        eventually(
            lambda: (
                [each["status"]["state"] for each in stack.alertmanager.alerts(alertname=TICKET, namespace="shop")]
                == ["suppressed"]
            ),
            "the page mutes the ticket",
            10,
        )
        stack.prometheus.until(
            f'abs(slo:sli_error:ratio_rate5m{{namespace="shop",sli="availability"}} - {1 / ONE_IN}) < 0.02'
        )

        while_it_fired = len(stack.discord.messages)
        shop.errors = 0
        stack.discord.until(1, f"RESOLVED critical {PAGE}", RESOLVED_SECONDS)
        eventually(
            lambda: not {space for _, space in stack.firing()} & set(stack.places), "all is over", RESOLVED_SECONDS
        )

    assert page.path.endswith("/page") and "in shop" in page.body["embeds"][0]["title"]
    titles = [message.body["embeds"][0]["title"] for message in stack.discord.messages]
    assert not [title for title in titles if "calm" in title]
    # A page that is over mutes nothing any more, and its own message may come after the ticket's.
    assert not [title for title in titles[:while_it_fired] if TICKET in title], "a ticket beside its page"
    for name, visitor in visitors.items():
        served = servers[name]()
        assert {status: count for (_, status), count in served.items()} == {
            str(status): count for status, count in visitor.answers.items()
        }
        for status, count in visitor.answers.items():
            counted = stack.agent.settled().value(
                "http_server_request_duration_seconds_count", namespace=name, http_response_status_code=str(status)
            )
            assert counted == count
    assert visitors["calm"].answers.keys() == {200}
