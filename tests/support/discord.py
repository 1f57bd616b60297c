"""A webhook as Discord has it: takes messages, refuses those that are too long, and as many as it is told to with the
statuses it is told."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

OK, TOO_LONG = 204, 400

CONTENT, TITLE, DESCRIPTION, EMBEDS, TOGETHER = 2000, 256, 4096, 10, 6000
"""Characters, and embeds, that Discord takes (discord.com/developers/docs: "Create Message", "Embed Limits")."""


def fits(body: dict[str, Any]) -> bool:
    embeds = body.get("embeds") or []
    texts = [each.get(part) or "" for each in embeds for part in ("title", "description")]
    return (
        len(body.get("content") or "") <= CONTENT
        and all(len(each.get("title") or "") <= TITLE for each in embeds)
        and all(len(each.get("description") or "") <= DESCRIPTION for each in embeds)
        and len(embeds) <= EMBEDS
        and sum(map(len, texts)) <= TOGETHER
    )


class Message(NamedTuple):
    """status: what it was answered with."""

    path: str
    body: dict[str, Any]
    status: int


class Discord:
    """For the time of a `with`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.refusals: deque[int] = deque()
        self._came = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._came:
                    status = outer.refusals.popleft() if outer.refusals else OK if fits(body) else TOO_LONG
                    outer.messages.append(Message(self.path, body, status))
                    outer._came.notify_all()
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Discord":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def refused(self) -> list[Message]:
        return [each for each in self.messages if each.status == TOO_LONG]

    def until(self, count: int, title: str, within_seconds: float = 10.0, status: int = OK) -> list[Message]:
        """The messages with this in the title that were answered so, once there are `count`."""

        def found() -> list[Message]:
            return [
                each for each in self.messages if each.status == status and title in each.body["embeds"][0]["title"]
            ]

        with self._came:
            assert self._came.wait_for(lambda: len(found()) >= count, within_seconds), self.messages
            return found()
