"""A web application with a Redis, over a connection that it keeps, and a MariaDB, over a new one each time.

Run as a script: PORT REDIS_PORT MARIADB_PORT, all on loopback. /redis and /mariadb use one of them, /both both, /broken
answers 500, anything else 404. At the end of its stdin it says what it was asked for.
"""

import json
import socket
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO, Any

HOST = "127.0.0.1"
KEY = "asked"
INCREMENT = f"*2\r\n$4\r\nINCR\r\n${len(KEY)}\r\n{KEY}\r\n".encode()
"""https://redis.io/docs/latest/develop/reference/protocol-spec/"""

SELECT, QUIT = b"\x03SELECT 1", b"\x01"
ANYBODY = (0x8201).to_bytes(4, "little") + (1 << 24).to_bytes(4, "little") + b"\x21" + bytes(23) + b"anybody\0\0"
"""https://mariadb.com/kb/en/connection/: protocol 4.1, a name, no password."""

END = 0xFE


def count(redis: IO[bytes]) -> None:
    redis.write(INCREMENT)
    redis.flush()
    assert redis.readline().startswith(b":")


def packet(mariadb: IO[bytes]) -> bytes:
    return mariadb.read(int.from_bytes(mariadb.read(4)[:3], "little"))


def send(mariadb: IO[bytes], payload: bytes, number: int = 0) -> None:
    mariadb.write(len(payload).to_bytes(3, "little") + bytes([number]) + payload)
    mariadb.flush()


def select(mariadb: IO[bytes]) -> None:
    packet(mariadb)  # its greeting
    send(mariadb, ANYBODY, 1)
    assert packet(mariadb)[0] == 0
    send(mariadb, SELECT)
    ends = 0
    while ends < 2:  # after the columns, and after the rows
        ends += packet(mariadb)[0] == END
    send(mariadb, QUIT)
    assert mariadb.read(1) == b"", "it hangs up first"


class Handler(BaseHTTPRequestHandler):
    redis: IO[bytes]
    mariadb_port: int
    lock = threading.Lock()
    done: Counter[str] = Counter()

    def do_GET(self) -> None:
        name = self.path[1:].partition("?")[0]
        with self.lock:
            self.done[name] += 1
            if name in ("redis", "both"):
                count(self.redis)
            if name in ("mariadb", "both"):
                with socket.create_connection((HOST, self.mariadb_port)) as sock, sock.makefile("rwb") as file:
                    select(file)
        status = {"redis": 200, "mariadb": 200, "both": 200, "broken": 500}.get(name, 404)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Standard error is the test's."""


def main() -> None:
    port, redis_port, Handler.mariadb_port = map(int, sys.argv[1:4])
    Handler.redis = socket.create_connection((HOST, redis_port)).makefile("rwb")
    server = ThreadingHTTPServer((HOST, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    json.dump(Handler.done, sys.stdout)


if __name__ == "__main__":
    main()
