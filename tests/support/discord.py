"""A webhook as Discord has it: takes messages, and refuses as many as it is told to with the statuses it is told."""

import json
import threading
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

OK = 204


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
                    status = outer.refusals.popleft() if outer.refusals else OK
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

    def until(self, count: int, title: str, within_seconds: float = 10.0, status: int = OK) -> list[Message]:
        """The messages with this in the title that were answered so, once there are `count`."""

        def found() -> list[Message]:
            return [
                each for each in self.messages if each.status == status and title in each.body["embeds"][0]["title"]
            ]

        with self._came:
            assert self._came.wait_for(lambda: len(found()) >= count, within_seconds), self.messages
            return found()
