"""Errors of one namespace page for it alone: real pods, real rules, real routes."""

from tests.cluster.gitops.fleets import Fleet
from tests.cluster.gitops.places import ONE_IN, Discord, Message, Place

PAGE, TICKET = "SloErrorBudgetBurnPage", "SloErrorBudgetBurnTicket"


def told(discord: Discord, place: Place) -> list[Message]:
    """About a namespace. Discord would take a bare hyphen for a mark."""
    return [each for each in discord.messages() if each.title.endswith(place.namespace.replace("-", r"\-"))]


def test_errors_of_one_namespace_page_for_it_alone_and_the_page_arrives(
    fleet: Fleet, burning: None, shop: Place, calm: Place, discord: Discord
) -> None:
    try:
        fleet.until(lambda: [each for each in told(discord, shop) if PAGE in each.title], "the page is told")
        assert (PAGE, shop.namespace) in fleet.prometheus.firing()
        fleet.until(
            lambda: abs((fleet.prometheus.value(shop.error_ratio) or 0) - 1 / ONE_IN) < 0.02, "a fifth are errors"
        )
        assert calm.namespace not in {namespace for _, namespace in fleet.prometheus.firing()}
    finally:
        shop.errors(0)

    assert {each.path for each in told(discord, shop) if PAGE in each.title} == {"/page"}
    assert not [each for each in told(discord, shop) if TICKET in each.title], "a ticket beside its page"
    assert told(discord, calm) == []
