"""Connections on which a test says every byte itself, from both ends: each say() is a segment of its own.

Run as a script inside a cgroup and namespace: one end, which obeys lines of JSON on stdin and answers each with one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import socket
import struct
import sys
import termios
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the script starts in a third of the time without it
    from tests.support.cgroups import Cgroup

TIMEOUT_SECONDS = 20.0
SIOCOUTQ = termios.TIOCOUTQ
LOOK_SECONDS = 0.0002
FORGED = 16
"""So far apart that hardly ever one lies in the window; a half of them lies ahead."""

ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


class End:
    """One end of a dialogue's connections, by number."""

    def __init__(self, cgroup: Cgroup, host: str, port: int, role: str) -> None:
        self.process = cgroup.start([sys.executable, "-I", __file__, role, host, str(port)], ready="ready")

    def ask(self, **request: Any) -> Any:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the other end of the dialogue died"
        return json.loads(line)


class Connection:
    """client and server say things in turn; what one says the other has read when say() returns."""

    def __init__(self, ends: dict[str, End], number: int) -> None:
        self.ends, self.number = ends, number

    def say(self, who: str, *parts: bytes, heard: bool = True) -> None:
        """Each part in a segment of its own. heard: wait until the other side has read it."""
        other = "server" if who == "client" else "client"
        for part in parts:
            self.ends[who].ask(do="send", number=self.number, data=part.decode("latin-1"))
            if heard:
                self.ends[other].ask(do="read", number=self.number, size=len(part))
                self.ends[who].ask(do="settle", number=self.number)

    def client(self, *parts: bytes, **options: bool) -> None:
        self.say("client", *parts, **options)

    def server(self, *parts: bytes, **options: bool) -> None:
        self.say("server", *parts, **options)

    def forge(self, who: str, data: bytes) -> None:
        """Segments that look as if they were this side's, of sequence numbers all around: sent past its socket."""
        self.ends[who].ask(do="forge", number=self.number, data=data.decode("latin-1"))

    def close(self, first: str = "client", reset: bool = False) -> None:
        second = "server" if first == "client" else "client"
        self.ends[first].ask(do="close", number=self.number, reset=reset)
        self.ends[second].ask(do="read", number=self.number, size=0)
        self.ends[second].ask(do="close", number=self.number, reset=False)


class Dialogue:
    """`with dialogue.connection() as c: c.client(b"...")`."""

    def __init__(self, client: Cgroup, server: Cgroup, host: str, port: int = 5001) -> None:
        self.ends = {"server": End(server, host, port, "server"), "client": End(client, host, port, "client")}

    def open(self, late: bytes = b"") -> Connection:
        """late: sent with the acknowledgement that completes the handshake."""
        number = self.ends["client"].ask(do="connect", late=late.decode("latin-1"))
        assert self.ends["server"].ask(do="accept") == number
        if late:
            self.ends["server"].ask(do="read", number=number, size=len(late))
        return Connection(self.ends, number)

    @contextlib.contextmanager
    def connection(self, late: bytes = b"") -> Iterator[Connection]:
        opened = self.open(late)
        yield opened
        opened.close()


def settle(sock: socket.socket) -> None:
    """Until everything that was sent is acknowledged: so nothing is joined with what comes next."""
    end = time.monotonic() + TIMEOUT_SECONDS
    while struct.unpack("i", fcntl.ioctl(sock, SIOCOUTQ, b"\0" * 4))[0]:
        if time.monotonic() > end:
            raise TimeoutError("what was sent is not acknowledged")
        time.sleep(LOOK_SECONDS)


def forge(sock: socket.socket, data: bytes) -> None:
    """From a raw socket, IPv4 only."""
    (source, port), (target, peer_port) = sock.getsockname(), sock.getpeername()
    pseudo = socket.inet_aton(source) + socket.inet_aton(target)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as raw:
        for part in range(FORGED):
            number = part * 2**32 // FORGED
            segment = struct.pack("!HHIIBBHHH", port, peer_port, number, 0, 5 << 4, 0x18, 1000, 0, 0) + data
            padded = pseudo + struct.pack("!HH", socket.IPPROTO_TCP, len(segment)) + segment + b"\0" * (len(data) % 2)
            total = sum(struct.unpack(f"!{len(padded) // 2}H", padded))
            while total >> 16:
                total = (total & 0xFFFF) + (total >> 16)
            raw.sendto(segment[:16] + struct.pack("!H", ~total & 0xFFFF) + segment[18:], (target, 0))


def serve(role: str, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    if role == "server":
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(64)
        listener.settimeout(TIMEOUT_SECONDS)
    print("ready", flush=True)
    socks: list[socket.socket] = []
    for line in sys.stdin:
        request = json.loads(line)
        answer: Any = True
        if request["do"] in ("connect", "accept"):
            if role == "server":
                sock, _ = listener.accept()
            else:
                sock = socket.socket(family, socket.SOCK_STREAM)
                if request["late"]:  # a client that has this set waits with its last acknowledgement for data
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 1)
                sock.settimeout(TIMEOUT_SECONDS)
                sock.connect((host, port))
                sock.sendall(request["late"].encode("latin-1"))
            sock.settimeout(TIMEOUT_SECONDS)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            answer = len(socks)
            socks.append(sock)
        elif request["do"] == "send":
            socks[request["number"]].sendall(request["data"].encode("latin-1"))
        elif request["do"] == "forge":
            forge(socks[request["number"]], request["data"].encode("latin-1"))
        elif request["do"] == "settle":
            settle(socks[request["number"]])
        elif request["do"] == "read":
            left = request["size"]
            with contextlib.suppress(ConnectionError):
                while part := socks[request["number"]].recv(left or 1):
                    left -= len(part)
                    socks[request["number"]].setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
                    if left <= 0:
                        break
        elif request["do"] == "close":
            sock = socks[request["number"]]
            if request["reset"]:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            sock.close()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
