"""Settings, annotations, a clock and a request as the tests want them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.collectors.http import error_type
from agent.protocols import http1
from bpfleet.events import Attribute, Record

NOW = datetime(2026, 11, 21, 17, 0, tzinfo=UTC)
SHOP = ("shop", "web-7d9f8b6c5d-x2x4z", "main", "web", "Deployment")


@dataclass
class Clock:
    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Book:
    given: dict[str, Mapping[str, str]] = field(default_factory=dict)
    version: int = 0
    is_known: bool = True
    looks: int = 0

    def annotations(self) -> Mapping[str, Mapping[str, str]]:
        self.looks += 1
        return dict(self.given)

    def annotate(self, namespace: str, **values: str) -> None:
        """values: by the name after `request_log`; `mode` is the one without."""
        names = {key: "bpfleet.io/request-log" + f"-{key.replace('_', '-')}" * (key != "mode") for key in values}
        self.given[namespace] = {names[key]: value for key, value in values.items()}
        self.version += 1


def after(**time: float) -> str:
    return (NOW + timedelta(**time)).isoformat().replace("+00:00", "Z")


def request(head: bytes, status: int = 200, seconds: float = 0.25, role: str = "server") -> Record:
    """As the collector tells of it: the target as it was sent, the Host field's value."""
    read = http1.parse_request(head)
    attributes: dict[str, Attribute] = {
        "http.request.method": read.method if read.method in ("GET", "POST", "CONNECT") else "_OTHER",
        "http.response.status_code": status,
        "url.path": read.target,
        "server.address": read.host,
        "network.protocol.version": read.version,
        "bpfleet.http.role": role,
        "bpfleet.duration": seconds,
    }
    if attributes["http.request.method"] == "_OTHER":
        attributes["http.request.method_original"] = read.method
    if failed := error_type(2 if role == "server" else 1, status, 0):
        attributes["error.type"] = failed
    return Record("bpfleet.http.request", 1_700_000_000_000_000_000, {"k8s.namespace.name": "shop"}, attributes)


def get(target: str, host: str = "shop.example", **more: float) -> Record:
    return request(f"GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1"), **more)  # type: ignore[arg-type]
