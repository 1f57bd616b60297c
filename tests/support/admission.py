"""Cases of admission policies: policies/admission/cases."""

from dataclasses import dataclass
from typing import Any

from tests.support.trees import ROOT

from bpfleet.documents import read


@dataclass(frozen=True)
class Case:
    """message: a part of why it is refused. warning: a part of what the API server warns of. since: the minor version
    of Kubernetes before which an API server has not all of its fields."""

    policy: str
    name: str
    allowed: bool
    object: dict[str, Any]
    message: str = ""
    warning: str = ""
    since: int = 0

    def __str__(self) -> str:
        return f"{self.policy}: {self.name}"


def cases() -> list[Case]:
    found = []
    for file in sorted((ROOT / "policies/admission/cases").glob("*.yaml")):
        for document in read(file):
            value = dict(document.value)
            found.append(Case(name=value.pop("case"), **value))
    return found
