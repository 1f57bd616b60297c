"""What people get: the bundle's AlertmanagerConfig in a real Alertmanager, and a webhook in Discord's place."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.alertmanagers import Alertmanager
from tests.support.discord import DESCRIPTION, TITLE, Discord

RED, GREEN = 0x992D22, 0x2ECC71
"""Alertmanager's own."""

PAGE, TICKET = "/alertmanager-discord/page", "/alertmanager-discord/ticket"


@pytest.fixture
def discord() -> Iterator[Discord]:
    with Discord() as discord:
        yield discord


@pytest.fixture
def alertmanager(tmp_path: Path, discord: Discord) -> Iterator[Alertmanager]:
    with Alertmanager(tmp_path, discord.url) as alertmanager:
        yield alertmanager


def test_a_page_is_told_with_a_mention_repeated_and_resolved(alertmanager: Alertmanager, discord: Discord) -> None:
    labels = {"alertname": "AgentDown", "severity": "critical", "team": "platform", "namespace": "bpfleet"}
    annotations = {
        "summary": "No agent answers (2 of 2).",
        "runbook_url": "https://github.com/bpfleet/bpfleet/blob/main/docs/runbooks/platform.md#agentdown",
        "dashboard_url": "/d/bpfleet-agent?var-namespace=bpfleet",
    }
    began = alertmanager.tell(labels, annotations)

    first, again = discord.until(2, "AgentDown")[:2]
    alertmanager.tell(labels, annotations, over=True)
    (over,) = discord.until(1, "RESOLVED")

    since = f"since {began:%Y-%m-%d %H:%M:%S} UTC `team=platform`"
    links = (
        "[Runbook](https://github.com/bpfleet/bpfleet/blob/main/docs/runbooks/platform.md#agentdown)\n"
        "Dashboard `/d/bpfleet-agent?var-namespace=bpfleet`"
    )
    assert first.path == PAGE
    assert first.body == {
        "content": "@here",
        "username": "bpfleet",
        "embeds": [
            {
                "title": "FIRING 1 critical AgentDown in bpfleet",
                "description": f"**firing** `bpfleet` No agent answers \\(2 of 2\\).\n{since}\n{links}",
                "color": RED,
            }
        ],
    }
    assert again == first
    assert over.body == {
        **first.body,
        "content": "",
        "embeds": [
            {
                "title": "RESOLVED critical AgentDown in bpfleet",
                "description": first.body["embeds"][0]["description"].replace("firing", "resolved"),
                "color": GREEN,
            }
        ],
    }


def test_what_the_webhook_refuses_comes_again_and_nothing_is_lost(alertmanager: Alertmanager, discord: Discord) -> None:
    discord.refusals += [500, 429, 503]
    names = [f"Refused{number}" for number in range(7)]
    for name in names:
        alertmanager.tell({"alertname": name, "severity": "warning", "namespace": "shop"})

    for name in names:
        message = discord.until(1, name)[0]
        assert (message.path, message.body["content"]) == (TICKET, "")
    refused = [each.status for each in discord.messages if each.status != 204]
    assert sorted(refused) == [429, 500, 503]


def test_a_page_mutes_the_ticket_of_its_namespace_and_indicator_only(
    alertmanager: Alertmanager, discord: Discord
) -> None:
    page = {"alertname": "SloErrorBudgetBurnPage", "severity": "critical", "namespace": "shop", "sli": "availability"}
    ticket = {**page, "alertname": "SloErrorBudgetBurnTicket", "severity": "warning"}
    others = [{**ticket, "sli": "latency"}, {**ticket, "namespace": "bank"}]
    alertmanager.tell(page)
    discord.until(1, "SloErrorBudgetBurnPage")
    for each in (ticket, *others):
        alertmanager.tell(each)

    discord.until(1, "SloErrorBudgetBurnTicket in shop")
    discord.until(1, "SloErrorBudgetBurnTicket in bank")
    (muted,) = alertmanager.alerts(**ticket)
    assert muted["status"]["state"] == "suppressed" and muted["status"]["inhibitedBy"]
    told = [each.body["embeds"][0]["description"] for each in discord.until(1, "Ticket in shop")]
    assert all("sli=latency" in each and "sli=availability" not in each for each in told)

    alertmanager.tell(page, over=True)  # the ticket is muted no more: it is told
    while not any("sli=availability" in each for each in told):
        told = [each.body["embeds"][0]["description"] for each in discord.until(len(told) + 1, "Ticket in shop")]


def test_a_silence_dismisses_an_alert_while_it_fires(alertmanager: Alertmanager, discord: Discord) -> None:
    labels = {"alertname": "Noisy", "severity": "warning", "namespace": "shop"}
    alertmanager.tell(labels)
    discord.until(1, "Noisy")
    now = datetime.now(UTC)
    alertmanager.ask("POST", "silences", {
        "matchers": [{"name": "alertname", "value": "Noisy", "isRegex": False, "isEqual": True}],
        "startsAt": now.isoformat(), "endsAt": (now + timedelta(hours=1)).isoformat(),
        "createdBy": "tester", "comment": "known",
    })  # fmt: skip
    alertmanager.tell({**labels, "alertname": "Other"})

    discord.until(3, "Other")  # repeated twice: Noisy would have been, too
    (noisy,) = alertmanager.alerts(alertname="Noisy")
    assert noisy["status"]["state"] == "suppressed"
    assert sum("Noisy" in each.body["embeds"][0]["title"] for each in discord.messages) == 1


def test_the_watchdog_and_what_only_inhibits_are_told_to_nobody(alertmanager: Alertmanager, discord: Discord) -> None:
    alertmanager.tell({"alertname": "Watchdog", "severity": "none"})
    alertmanager.tell({"alertname": "InfoInhibitor", "severity": "none", "namespace": "shop"})
    alertmanager.tell({"alertname": "Told", "severity": "info", "namespace": "shop"})  # inhibited
    alertmanager.tell({"alertname": "Told", "severity": "info", "namespace": "bank"})

    discord.until(2, "Told in bank")  # as long as two groups' intervals
    assert {each.body["embeds"][0]["title"] for each in discord.messages} == {"FIRING 1 info Told in bank"}


def test_sixty_alerts_of_one_group_and_names_without_end_are_one_message_that_discord_takes(
    alertmanager: Alertmanager, discord: Discord
) -> None:
    labels = {"alertname": "Wide" * 100, "severity": "critical", "namespace": "shop"}
    told = {"summary": "*s_" * 50, "description": "d`" * 300}
    each = [{"labels": {**labels, "workload": f"web-{number:02}"}, "annotations": told} for number in range(60)]
    alertmanager.ask("POST", "alerts", each)

    (message, *_) = discord.until(1, "FIRING 60 critical Wide")

    (embed,) = message.body["embeds"]
    assert (len(embed["title"]), len(embed["description"])) == (TITLE, DESCRIPTION)
    assert embed["description"].count("workload=web-") > 2
    assert not discord.refused()
