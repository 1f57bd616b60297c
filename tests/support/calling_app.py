"""A web application that calls two other servers: one over a connection that it keeps, one anew each time.

Run as a script: PORT KEPT_PORT NEW_PORT, all on loopback. /kept and /new call one of them, /broken answers 500,
anything else 404. At the end of its stdin it says what it was asked for.
"""

import json
import socket
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HOST = "127.0.0.1"
WORD = b"PING\r\n"


def exchange(sock: socket.socket) -> None:
    sock.sendall(WORD)
    got = b""
    while len(got) < len(WORD):
        got += sock.recv(len(WORD) - len(got))


class Handler(BaseHTTPRequestHandler):
    kept: socket.socket
    new_port: int
    lock = threading.Lock()
    done: Counter[str] = Counter()

    def do_GET(self) -> None:
        name = self.path[1:].partition("?")[0]
        with self.lock:
            self.done[name] += 1
            if name == "kept":
                exchange(self.kept)
            elif name == "new":
                with socket.create_connection((HOST, self.new_port)) as sock:
                    exchange(sock)
        status = {"kept": 200, "new": 200, "broken": 500}.get(name, 404)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Standard error is the test's."""


def main() -> None:
    port, kept_port, Handler.new_port = map(int, sys.argv[1:4])
    Handler.kept = socket.create_connection((HOST, kept_port))
    server = ThreadingHTTPServer((HOST, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    json.dump(Handler.done, sys.stdout)


if __name__ == "__main__":
    main()
