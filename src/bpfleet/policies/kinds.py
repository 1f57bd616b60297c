"""How the values of a field are written, and what they match: paths, texts, words, numbers, networks, names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Protocol

from bpfleet.policies.globs import PathGlob, TextGlob

MAX_PORT = 65_535
MAX_ID = 4_294_967_295

_MAPPED = IPv6Network("::ffff:0:0/96")
_MODE = re.compile(r"[0-7?*]{1,6}")
_NAME = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*"
)
_RANGE = re.compile(r"([0-9]{1,10})-([0-9]{1,10})")

Value = str | int | bool


class Pattern(Protocol):
    def matches(self, value: Any) -> bool: ...


class Kind(Protocol):
    """allowed: for messages and docs. is_list: whether several values may stand in a list, of which any will do."""

    @property
    def allowed(self) -> str: ...
    @property
    def is_list(self) -> bool: ...
    def read(self, given: object) -> Pattern:
        """Of one value. Raises ValueError, saying what is wrong."""

    def schema(self) -> dict[str, Any]:
        """JSON Schema of one value."""


class Equal:
    def __init__(self, value: Value) -> None:
        self.value = value

    def matches(self, value: Any) -> bool:
        return bool(value == self.value)


class Within:
    """A range of whole numbers, both ends in it."""

    def __init__(self, low: int, high: int) -> None:
        self.low, self.high = low, high

    def matches(self, value: Any) -> bool:
        return isinstance(value, int) and self.low <= value <= self.high


class Inside:
    """A network. IPv4 that is written as IPv6 is IPv4."""

    def __init__(self, network: IPv4Network | IPv6Network) -> None:
        self.network = network

    @property
    def mapped(self) -> tuple[IPv6Network, ...]:
        """As the kernel's tables have it, where IPv4 is a part of IPv6: so that part is no part of a larger network."""
        if isinstance(self.network, IPv4Network):
            base = IPv6Address(_MAPPED.network_address.packed[:12] + self.network.network_address.packed)
            return (IPv6Network((base, _MAPPED.prefixlen + self.network.prefixlen)),)
        if _MAPPED.subnet_of(self.network):
            return tuple(self.network.address_exclude(_MAPPED))
        return (self.network,)

    def matches(self, value: Any) -> bool:
        return (address := parsed(value)) is not None and address in self.network


class Below:
    """A name in the DNS, and all below it."""

    def __init__(self, name: str) -> None:
        self.name = name.lower().rstrip(".")

    def matches(self, value: Any) -> bool:
        name = str(value).lower().rstrip(".")
        return name == self.name or name.endswith("." + self.name)


def parsed(text: object) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(str(text))
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def text_of(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"{given!r:.60} is not text; put it in quotes")
    return given


@dataclass(frozen=True)
class Paths:
    allowed: str = "an absolute path, or a name without a slash; * and ? within a component, ** for any number of them"
    is_list: bool = True

    def read(self, given: object) -> PathGlob:
        return PathGlob(text_of(given))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^(/.+|[^/]+)$"}


@dataclass(frozen=True)
class Texts:
    allowed: str = "text; * is any text, ? any one character"
    is_list: bool = True

    def read(self, given: object) -> TextGlob:
        return TextGlob(text_of(given))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "minLength": 1}


@dataclass(frozen=True)
class Modes:
    allowed: str = 'octal digits in quotes, ? for any one and * for any: "4755", "?777"'
    is_list: bool = True

    def read(self, given: object) -> TextGlob:
        if not _MODE.fullmatch(text_of(given)):
            raise ValueError(f"{given!r:.60} has other characters")
        return TextGlob(str(given))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{_MODE.pattern}$"}


@dataclass(frozen=True)
class Services:
    allowed: str = "NAMESPACE/NAME; * is any text, ? any one character"
    is_list: bool = True

    def read(self, given: object) -> TextGlob:
        if text_of(given).count("/") != 1 or not all(str(given).split("/")):
            raise ValueError(f"{given!r:.60} does not look like that")
        return TextGlob(str(given))

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[^/]+/[^/]+$"}


@dataclass(frozen=True)
class Names:
    allowed: str = "a name in the DNS, which stands for all below it, too"
    is_list: bool = True

    def read(self, given: object) -> Below:
        name = text_of(given).removesuffix(".")
        if not _NAME.fullmatch(name):
            raise ValueError(f"{given!r:.60} is no name")
        if parsed(name) is not None:
            raise ValueError(f"{name} is an address; write address: [{name}]")
        return Below(name)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^[A-Za-z0-9_.-]+$"}


@dataclass(frozen=True)
class Networks:
    allowed: str = "an address, or a network as ADDRESS/BITS"
    is_list: bool = True

    def read(self, given: object) -> Inside:
        text = text_of(given)
        try:
            network = ip_network(text)
        except ValueError as error:
            raise ValueError(f"{text!r:.60} is no network: {error}{_nearest(text)}") from None
        if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
            raise ValueError(f"{text!r:.60} is IPv4 written as IPv6; write it as IPv4")
        return Inside(network)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$"}


def _nearest(text: str) -> str:
    try:
        return f"; did you mean {ip_network(text, strict=False)}?"
    except ValueError:
        return ""


@dataclass(frozen=True)
class Numbers:
    most: int
    is_list: bool = True

    @property
    def allowed(self) -> str:
        return f"a whole number from 0 to {self.most}, or a range: 8000-8999"

    def read(self, given: object) -> Within:
        if isinstance(given, int) and not isinstance(given, bool):
            low = high = given
        elif isinstance(given, str) and (found := _RANGE.fullmatch(given)):
            low, high = int(found[1]), int(found[2])
        else:
            raise ValueError(f"{given!r:.60} is neither")
        if not 0 <= low <= high <= self.most:
            raise ValueError(f"{given!r:.60} is out of range")
        return Within(low, high)

    def schema(self) -> dict[str, Any]:
        number = {"type": "integer", "minimum": 0, "maximum": self.most}
        return {"anyOf": [number, {"type": "string", "pattern": f"^{_RANGE.pattern}$"}]}


@dataclass(frozen=True)
class Words:
    choices: tuple[str, ...]
    is_list: bool = True

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(self.choices)

    def read(self, given: object) -> Equal:
        if given not in self.choices:
            raise ValueError(f"{given!r:.60} is not one of them{did_you_mean(str(given), self.choices)}")
        return Equal(str(given))

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


@dataclass(frozen=True)
class Flags:
    allowed: str = "true or false"
    is_list: bool = False

    def read(self, given: object) -> Equal:
        if not isinstance(given, bool):
            raise ValueError(f"{given!r:.60} is neither")
        return Equal(given)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


def did_you_mean(word: str, known: Sequence[str]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
