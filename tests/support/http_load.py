"""A client that asks a web server in turn for what a schedule says, and reads every answer to its last byte.

Run as a script inside a cgroup and namespace; prints how many answers it has read, by method and status. Ends with
status 1 if a connection broke.
"""

import argparse
import collections
import json
import socket
import sys
import threading

SIZES = (0, 5, 900, 1447, 1448, 3000, 20_000, 60_000)
"""Bodies of less than a segment, of one, of several, of more than a window."""

LOOKS_LIKE_A_HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class Load:
    def __init__(self, host: str, port: int) -> None:
        self.address = (host, port)
        self.answers: collections.Counter[str] = collections.Counter()
        self.lock = threading.Lock()
        self.is_broken = False

    def request(self, number: int, get_only: bool) -> tuple[str, bytes]:
        size = SIZES[number % len(SIZES)]
        if number % 3 or get_only:
            return "GET", b"GET /%d HTTP/1.1\r\nHost: a\r\nX-Pad: %s\r\n\r\n" % (size, b"p" * (number * 37 % 600))
        body = (LOOKS_LIKE_A_HEAD * (size // len(LOOKS_LIKE_A_HEAD) + 1))[:size]
        return "POST", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%s" % (size, body)

    def read(self, sock: socket.socket, buffer: bytes) -> tuple[str, bytes]:
        while b"\r\n\r\n" not in buffer:
            buffer += self.more(sock)
        head, _, buffer = buffer.partition(b"\r\n\r\n")
        (length,) = (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        while len(buffer) < length:
            buffer += self.more(sock)
        return head.split()[1].decode(), buffer[length:]

    def more(self, sock: socket.socket) -> bytes:
        part = sock.recv(1 << 16)
        if not part:
            raise EOFError("the server closed in the middle")
        return part

    def run(self, first: int, count: int, depth: int) -> None:
        try:
            self.ask(first, count, depth)
        except BaseException:
            self.is_broken = True
            raise

    def ask(self, first: int, count: int, depth: int) -> None:
        """depth: so many requests at a time, in one piece."""
        with socket.create_connection(self.address) as sock:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            buffer = b""
            for start in range(0, count, depth):
                asked = [self.request(first + start + turn, depth > 1) for turn in range(min(depth, count - start))]
                sock.sendall(b"".join(head for _, head in asked))
                for method, _ in asked:
                    status, buffer = self.read(sock, buffer)
                    with self.lock:
                        self.answers[f"{method} {status}"] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--requests", type=int, default=100, help="a connection")
    parser.add_argument("--depth", type=int, default=1)
    arguments = parser.parse_args()
    load = Load(arguments.host, arguments.port)
    threads = [
        threading.Thread(target=load.run, args=(number * 5, arguments.requests, arguments.depth))
        for number in range(arguments.connections)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    json.dump(load.answers, sys.stdout)
    sys.stdout.flush()
    sys.exit(load.is_broken)


if __name__ == "__main__":
    main()
