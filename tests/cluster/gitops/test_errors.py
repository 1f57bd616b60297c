"""Errors of one namespace page for it alone: real pods, real rules, real routes."""

from tests.cluster.gitops.fleets import Fleet
from tests.cluster.gitops.places import Discord, Message, Place

ONE_IN = 5
PAGE, TICKET = "SloErrorBudgetBurnPage", "SloErrorBudgetBurnTicket"


def firing(fleet: Fleet) -> set[tuple[str, str]]:
    """Alert and namespace, where it is one."""
    found = fleet.prometheus.query('ALERTS{alertstate="firing"}')
    return {(each["metric"]["alertname"], each["metric"].get("namespace", "")) for each in found}


def told(discord: Discord, place: Place) -> list[Message]:
    """About a namespace. Discord would take a bare hyphen for a mark."""
    return [each for each in discord.messages() if each.title.endswith(place.namespace.replace("-", r"\-"))]


def test_errors_of_one_namespace_page_for_it_alone_and_the_page_arrives(
    fleet: Fleet, shop: Place, calm: Place, discord: Discord
) -> None:
    for place in (shop, calm):
        ratio = f'slo:sli_error:ratio_rate5m{{namespace="{place.namespace}",sli="availability"}}'
        fleet.until(lambda ratio=ratio: fleet.prometheus.value(ratio) == 0, f"{ratio} is 0")
    assert not {namespace for _, namespace in firing(fleet)} & {shop.namespace, calm.namespace}
    tier = f'slo:namespace_tier:info{{namespace="{shop.namespace}",tier="critical"}}'
    assert fleet.prometheus.query(tier)

    shop.errors(ONE_IN)
    try:
        fleet.until(lambda: [each for each in told(discord, shop) if PAGE in each.title], "the page is told")
        assert (PAGE, shop.namespace) in firing(fleet)
        ratio = f'slo:sli_error:ratio_rate5m{{namespace="{shop.namespace}",sli="availability"}}'
        fleet.until(lambda: abs((fleet.prometheus.value(ratio) or 0) - 1 / ONE_IN) < 0.02, "a fifth are errors")
        assert calm.namespace not in {namespace for _, namespace in firing(fleet)}
    finally:
        shop.errors(0)

    assert {each.path for each in told(discord, shop) if PAGE in each.title} == {"/page"}
    assert not [each for each in told(discord, shop) if TICKET in each.title], "a ticket beside its page"
    assert told(discord, calm) == []
