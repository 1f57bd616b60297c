"""In a guest: a web server of Python's own for http_load.py, which may keep its connections; or a client that asks it
for what it does not answer, so many times, a connection each.

Usage: python3 -m matrix.web ADDRESS PORT [TIMES]
"""

import contextlib
import http.client
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UNANSWERED = "/unanswered"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """As many bytes as the path says."""
        if self.path == UNANSWERED:
            self.close_connection = True
            return
        self._answer(200, int(self.path[1:]))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(405, 0)

    def _answer(self, status: int, size: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        self.wfile.write(bytes(size))

    def log_message(self, *_: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True


class Server6(Server):
    address_family = socket.AF_INET6


def ask_in_vain(host: str, port: int, times: int) -> None:
    for _ in range(times):
        asking = http.client.HTTPConnection(host, port)
        asking.request("GET", UNANSWERED)
        with contextlib.suppress(http.client.RemoteDisconnected):
            asking.getresponse()
            raise SystemExit("it was answered")
        asking.close()


if __name__ == "__main__":
    host, port, *times = sys.argv[1:]
    if times:
        ask_in_vain(host, int(port), int(times[0]))
        raise SystemExit
    with (Server6 if ":" in host else Server)((host, int(port)), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()
