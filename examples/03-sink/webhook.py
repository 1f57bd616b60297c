"""Events as JSON arrays, posted to a URL."""

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from bpfleet.api import Option, OptionValue, Record, Sink

ANSWER_SECONDS = 0.9
"""A write that is asked to end has to return within a second."""

PAUSE_SECONDS = 0.5
"""Between two tries while the receiver is away."""


class Webhook(Sink):
    name = "webhook"
    default = False
    options = (Option("url", "", "Where events are posted.", pattern=r"(https?://[^/]+(/.*)?)?"),)

    def __init__(self, given: Mapping[str, OptionValue] | None = None) -> None:
        super().__init__(given)
        if not self.given["url"]:
            raise ValueError("plugins.options.webhook.url is not set")

    def encode(self, record: Record) -> bytes:
        told = {"name": record.name, "time_ns": record.time_ns}
        return json.dumps({**told, **record.resource, **record.attributes}).encode()

    def write(self, items: Sequence[bytes]) -> int:
        try:
            status = self.post(b"[" + b",".join(items) + b"]")
        except (OSError, http.client.HTTPException):
            time.sleep(PAUSE_SECONDS)
            return 0  # offered again, until the queue is full
        if status >= 300:
            raise ValueError(f"the receiver answers {status}")  # these are lost, and counted
        return len(items)

    def post(self, body: bytes) -> int:
        url = urlsplit(str(self.given["url"]))
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "", url.port, timeout=ANSWER_SECONDS)
        try:
            connection.request("POST", url.path or "/", body, {"Content-Type": "application/json"})
            return connection.getresponse().status
        finally:
            connection.close()
