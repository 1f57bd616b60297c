from collections.abc import Mapping
from typing import NamedTuple

from agent.collectors.http_log import Mode
from agent.requests.policy import Policies, Policy
from agent.requests.steering import Asked, Steering
from agent.settings import Requests


class Owner(NamedTuple):
    namespace: str


class Named:
    """Policies by namespace."""

    def __init__(self, of: Mapping[str, Policy]) -> None:
        self._of = of

    def of(self, namespace: str) -> Policy:
        return self._of.get(namespace, self._of[""])

    def refresh(self) -> None:
        """They are as they were made."""

    def adjust(self, settings: Asked) -> None:
        self._of = {"": Policy(settings.log, settings.one_in, settings.slow_seconds)}


OWNERS = {1: Owner("shop"), 2: Owner("lab"), 3: None, 4: Owner("shop"), 5: Owner("plain")}


def test_only_cgroups_whose_namespace_asks_for_something_else_have_a_mode_of_their_own() -> None:
    asked = Named({"": Policy("off", 1, 1.0), "shop": Policy("all", 1, 1.0), "lab": Policy("sampled", 10, 1.0)})
    others, modes = Steering(asked, Requests(per_second=50)).modes(OWNERS, OWNERS.__getitem__)
    assert others == Mode("off", 1, 1.0, 50)
    assert modes == {1: Mode("all", 1, 1.0, 50), 2: Mode("sampled", 10, 1.0, 50), 4: Mode("all", 1, 1.0, 50)}


def test_the_settings_can_be_others_later() -> None:
    steering = Steering(Policies(Requests(log="all")), Requests(log="all"))
    steering.adjust(Requests(log="errors", slow_seconds=0.5, per_second=7))
    assert steering.modes(OWNERS, OWNERS.__getitem__) == (Mode("errors", 100, 0.5, 7), {})
