"""Small servers and clients whose every packet is known. Run as a script inside a cgroup and namespace.

Each prints `ready` when it listens or is connected, and what it did when it ends. Clients that hold connections wait
for a line on stdin (or its end) before they close.
"""

import argparse
import contextlib
import errno
import resource
import socket
import struct
import sys
import threading
import time

CHUNK = b"\x17" * 65536
ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST


def say(*words: object) -> None:
    print(*words, flush=True)


def family_of(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def listener(arguments: argparse.Namespace) -> socket.socket:
    sock = socket.socket(family_of(arguments.host), socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not arguments.dual)
    sock.bind((arguments.host, arguments.port))
    sock.listen(arguments.backlog)
    say("ready")
    return sock


def serve(arguments: argparse.Namespace) -> None:
    """Answer each connection by `mode`: echo; sink (read to the end, send one byte, close); banner (send --size bytes,
    close when the client has); late (close --pause seconds after the client did); reset (close with RST after the first
    byte); hold (accept and keep); deaf (never accept)."""
    sock = listener(arguments)
    if arguments.mode == "deaf":
        sys.stdin.readline()
        return
    kept = []
    while True:
        peer, _ = sock.accept()
        if arguments.mode == "hold":
            kept.append(peer)
        else:
            threading.Thread(target=answer, args=(arguments, peer), daemon=True).start()


def answer(arguments: argparse.Namespace, peer: socket.socket) -> None:
    with peer, contextlib.suppress(ConnectionError):
        if arguments.mode == "banner":
            peer.sendall(CHUNK[: arguments.size])
            while peer.recv(65536):
                pass
            return
        while part := peer.recv(1 << 20):
            if arguments.mode == "echo":
                peer.sendall(part)
            elif arguments.mode == "reset":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
                return
        if arguments.mode == "late":
            time.sleep(arguments.pause)
        if arguments.mode == "sink":
            peer.sendall(b".")


def prepared(arguments: argparse.Namespace) -> socket.socket:
    sock = socket.socket(family_of(arguments.host), socket.SOCK_STREAM)
    if arguments.abort:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
    if arguments.local:
        sock.bind(("", arguments.local))
    return sock


def connect(arguments: argparse.Namespace) -> None:
    """--count connections one after another: send --size bytes, shut down if --shutdown, read to the end if --read,
    wait --pause seconds, close. Prints how many of each outcome there were, e.g. `done ok=500`."""
    outcomes: dict[str, int] = {}
    for _ in range(arguments.count):
        with prepared(arguments) as sock:
            try:
                sock.connect((arguments.host, arguments.port))
                exchange(arguments, sock)
                outcome = "ok"
            except OSError as error:
                outcome = errno.errorcode.get(error.errno or 0, "timeout")
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
    say("done", *(f"{name}={count}" for name, count in sorted(outcomes.items())))


def exchange(arguments: argparse.Namespace, sock: socket.socket) -> None:
    left = arguments.size
    while left > 0:
        left -= sock.send(CHUNK[: min(left, len(CHUNK))])
    if arguments.pause:
        time.sleep(arguments.pause)
    if arguments.shutdown:
        sock.shutdown(socket.SHUT_WR)
    if arguments.read:
        while sock.recv(1 << 20):
            pass


def hold(arguments: argparse.Namespace) -> None:
    """Open --count connections, say ready, close them at the next line on stdin."""
    socks = []
    for _ in range(arguments.count):
        sock = prepared(arguments)
        sock.connect((arguments.host, arguments.port))
        socks.append(sock)
    say("ready")
    for line in sys.stdin:
        if line.strip() != "send":
            break
        for sock in socks:
            sock.sendall(CHUNK[: arguments.size])
            received = 0
            while received < arguments.size:
                received += len(sock.recv(1 << 16))
        say("sent")
    for sock in socks:
        sock.close()
    say("closed")


def abandon(arguments: argparse.Namespace) -> None:
    """Begin --count connections without waiting, close them after --pause seconds, still connecting."""
    socks = []
    for _ in range(arguments.count):
        sock = prepared(arguments)
        sock.setblocking(False)
        if sock.connect_ex((arguments.host, arguments.port)) != errno.EINPROGRESS:
            raise OSError("connect() did not begin")
        socks.append(sock)
    time.sleep(arguments.pause)
    for sock in socks:
        sock.close()
    say("done")


def many(arguments: argparse.Namespace) -> None:
    """--count connections of --pause seconds each, at most --parallel at a time, without a thread each."""
    open_until: list[tuple[float, socket.socket]] = []
    made = 0
    while made < arguments.count or open_until:
        now = time.monotonic()
        while open_until and open_until[0][0] <= now:
            open_until.pop(0)[1].close()
        if made < arguments.count and len(open_until) < arguments.parallel:
            sock = prepared(arguments)
            sock.connect((arguments.host, arguments.port))
            if arguments.size:
                sock.send(CHUNK[: arguments.size])
            made += 1
            open_until.append((time.monotonic() + arguments.pause, sock))
        elif open_until:
            time.sleep(max(0.0, open_until[0][0] - now))
    say("done", f"ok={made}")


def udp_sink(arguments: argparse.Namespace) -> None:
    """Receive until a datagram of one byte; print how many others came."""
    sock = socket.socket(family_of(arguments.host), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), 1 << 26)
    sock.bind((arguments.host, arguments.port))
    say("ready")
    received = 0
    while len(sock.recv(65535)) != 1:
        received += 1
    say("received", received)


def udp_deaf(arguments: argparse.Namespace) -> None:
    """Never receive; a receive buffer of --size bytes."""
    sock = socket.socket(family_of(arguments.host), socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, arguments.size)
    sock.bind((arguments.host, arguments.port))
    say("ready")
    sys.stdin.readline()


def udp_burst(arguments: argparse.Namespace) -> None:
    """--count datagrams of --size bytes, from a connected socket unless --unconnected."""
    sock = socket.socket(family_of(arguments.host), socket.SOCK_DGRAM)
    target = (arguments.host, arguments.port)
    if not arguments.unconnected:
        sock.connect(target)
    data, refused = CHUNK[: arguments.size], 0
    for _ in range(arguments.count):
        try:
            sock.sendto(data, target) if arguments.unconnected else sock.send(data)
        except ConnectionRefusedError:
            refused += 1
            sock.send(data)
        if arguments.pause:
            time.sleep(arguments.pause)
    say("done", arguments.count, "refused", refused)


def udp_ports(arguments: argparse.Namespace) -> None:
    """One datagram of --size bytes to each of --count ports from the given one on, from one unconnected socket."""
    sock = socket.socket(family_of(arguments.host), socket.SOCK_DGRAM)
    for port in range(arguments.port, arguments.port + arguments.count):
        sock.sendto(CHUNK[: arguments.size], (arguments.host, port))
    say("done", arguments.count)


def udp_peers(arguments: argparse.Namespace) -> None:
    """One datagram of --size bytes to each of --count addresses from the given one on, from one unconnected socket."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    (first,) = struct.unpack("!I", socket.inet_aton(arguments.host))
    for address in range(first, first + arguments.count):
        sock.sendto(CHUNK[: arguments.size], (socket.inet_ntoa(struct.pack("!I", address)), arguments.port))
    say("done", arguments.count)


def raw_burst(arguments: argparse.Namespace) -> None:
    """--count packets of --size bytes behind the IP header; `port` is the IP protocol's number."""
    sock = socket.socket(family_of(arguments.host), socket.SOCK_RAW, arguments.port)
    for _ in range(arguments.count):
        sock.sendto(CHUNK[: arguments.size], (arguments.host, 0))
    say("done", arguments.count)


def dns(arguments: argparse.Namespace) -> None:
    """--count questions for an A record, each answered before the next; prints how many answers came."""
    sock = socket.socket(family_of(arguments.host), socket.SOCK_DGRAM)
    sock.settimeout(5)
    sock.connect((arguments.host, arguments.port))
    answers = 0
    for number in range(arguments.count):
        sock.send(struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + b"\x04name\x04test\0" + b"\0\1\0\1")
        answers += sock.recv(4096)[:2] == struct.pack("!H", number & 0xFFFF)
    say("answers", answers)


COMMANDS = (serve, connect, hold, abandon, many, udp_sink, udp_deaf, udp_burst, udp_ports, udp_peers, raw_burst, dns)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=[one.__name__ for one in COMMANDS])
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("--mode", default="sink")
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--size", type=int, default=0)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--local", type=int, default=0, help="the client's own port")
    parser.add_argument("--parallel", type=int, default=64)
    parser.add_argument("--backlog", type=int, default=4096)
    for switch in ("--abort", "--shutdown", "--read", "--unconnected", "--dual"):
        parser.add_argument(switch, action="store_true")
    arguments = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(KeyboardInterrupt):
        {one.__name__: one for one in COMMANDS}[arguments.command](arguments)


if __name__ == "__main__":
    main()
