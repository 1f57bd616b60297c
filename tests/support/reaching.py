"""Every way for a process to name the other end of a socket, each with an answer. Run as a script.

`reaching.py serve PORT`: what comes by TCP or UDP, over both families, is sent back.
`reaching.py call JSON`: a list of [way, address, port]; prints its own process id, then a line for each: what came
back, or the error's name.
"""

import array
import ctypes
import errno
import json
import mmap
import os
import select
import socket
import struct
import sys
import threading

TCP_WAYS = ("tcp", "tcp_later", "fast_open", "fast_open_connect", "mptcp")
UDP_WAYS = {
    "udp_connected": 1,
    "udp_with_control": 1,
    "udp_own_peer": 1,
    "udp_twice": 2,
    "udp_sendto": 3,
    "udp_sendmsg": 1,
    "udp_sendmmsg": 2,
}
"""How many destinations each of these names."""

TIMEOUT_SECONDS = 5.0
MSG_FASTOPEN = 0x20000000
TCP_FASTOPEN_CONNECT = 30
IPPROTO_MPTCP = 262
LIBC = ctypes.CDLL(None, use_errno=True)

IO_URING_SETUP, IO_URING_ENTER = 425, 426
IORING_OFF_SQES = 0x10000000
IORING_OP_CONNECT, IORING_ENTER_GETEVENTS = 16, 1


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def sockaddr(address: str, port: int, family: int = 0) -> bytes:
    """As C has it; family: another one than the address'."""
    of = family_of(address)
    head = struct.pack("=H", family or of) + struct.pack("!H", port)
    if of == socket.AF_INET6:
        return head + bytes(4) + socket.inet_pton(of, address) + bytes(4)
    return head + socket.inet_pton(of, address) + bytes(8)


def stream(address: str, protocol: int = 0) -> socket.socket:
    sock = socket.socket(family_of(address), socket.SOCK_STREAM, protocol)
    sock.settimeout(TIMEOUT_SECONDS)
    return sock


def datagrams(address: str) -> socket.socket:
    sock = socket.socket(family_of(address), socket.SOCK_DGRAM)
    sock.settimeout(TIMEOUT_SECONDS)
    return sock


def echoed(sock: socket.socket, text: bytes = b"hello") -> str:
    sock.send(text)
    return sock.recv(100).decode()


def tcp(address: str, port: int) -> str:
    with stream(address) as sock:
        sock.connect((address, port))
        return echoed(sock)


def mptcp(address: str, port: int) -> str:
    with stream(address, IPPROTO_MPTCP) as sock:
        sock.connect((address, port))
        return echoed(sock)


def tcp_later(address: str, port: int) -> str:
    """connect() returns at once; the second call asks how it went."""
    with stream(address) as sock:
        sock.setblocking(False)
        first = sock.connect_ex((address, port))
        if first != errno.EINPROGRESS:
            raise OSError(first, "")
        select.select([], [sock], [], TIMEOUT_SECONDS)
        sock.connect((address, port))
        sock.settimeout(TIMEOUT_SECONDS)
        return echoed(sock)


def fast_open(address: str, port: int) -> str:
    with stream(address) as sock:
        sock.settimeout(None)
        sock.sendto(b"hello", MSG_FASTOPEN, (address, port))
        return sock.recv(100).decode()


def fast_open_connect(address: str, port: int) -> str:
    with stream(address) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 1)
        sock.connect((address, port))
        return echoed(sock)


def udp_connected(address: str, port: int) -> str:
    with datagrams(address) as sock:
        sock.connect((address, port))
        return echoed(sock) + echoed(sock, b"again")


def udp_with_control(address: str, port: int) -> str:
    """A connected socket whose datagrams come with a control message: they pass the hook, and name nobody."""
    level, kind = (socket.IPPROTO_IPV6, 52) if ":" in address else (socket.IPPROTO_IP, socket.IP_TTL)
    with datagrams(address) as sock:
        sock.connect((address, port))
        sock.sendmsg([b"hello"], [(level, kind, array.array("i", [9]))])
        return sock.recv(100).decode()


def udp_own_peer(address: str, port: int) -> str:
    """A connected socket whose datagram names the one that it is connected to."""
    with datagrams(address) as sock:
        sock.connect((address, port))
        sock.sendto(b"hello", (address, port))
        return sock.recv(100).decode()


def udp_twice(address: str, port: int) -> str:
    """Connected, let go (which is no destination), and connected again."""
    with datagrams(address) as sock:
        sock.connect((address, port))
        LIBC.connect(sock.fileno(), bytes(16), 16)
        sock.connect((address, port))
        return echoed(sock)


def udp_sendto(address: str, port: int) -> str:
    with datagrams(address) as sock:
        for _ in range(3):
            sock.sendto(b"hello", (address, port))
        return sock.recv(100).decode()


def udp_sendmsg(address: str, port: int) -> str:
    with datagrams(address) as sock:
        sock.sendmsg([b"hel", b"lo"], [], 0, (address, port))
        return sock.recv(100).decode()


def udp_sendmmsg(address: str, port: int) -> str:
    """Two datagrams by one call: `struct mmsghdr`."""
    name, text = ctypes.create_string_buffer(sockaddr(address, port)), ctypes.create_string_buffer(b"hello", 5)
    vector = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(text), 5))
    one = struct.pack("=QI4xQQQQi4xI4x", ctypes.addressof(name), len(name) - 1, ctypes.addressof(vector), 1, 0, 0, 0, 0)
    with datagrams(address) as sock:
        if LIBC.sendmmsg(sock.fileno(), ctypes.create_string_buffer(one * 2), 2, 0) != 2:
            raise OSError(ctypes.get_errno(), "")
        return sock.recv(100).decode()


def udp_unspecified(address: str, port: int) -> str:
    """IPv4 takes an address of no family for one of its own (net/ipv4/udp.c, udp_sendmsg)."""
    name = bytes(2) + sockaddr(address, port)[2:]
    with datagrams(address) as sock:
        if LIBC.sendto(sock.fileno(), b"hello", 5, 0, name, len(name)) < 0:
            raise OSError(ctypes.get_errno(), "")
        return sock.recv(100).decode()


def udp_port_zero(address: str, port: int) -> str:
    """Nobody can bind to that port, but the datagrams leave: who reads all of UDP gets them. To this host itself."""
    with datagrams(address) as sock, socket.socket(family_of(address), socket.SOCK_RAW, socket.IPPROTO_UDP) as reader:
        reader.settimeout(TIMEOUT_SECONDS)
        reader.bind((address, 0))
        sock.connect((address, port))
        sock.send(b"hello")
        return reader.recv(100)[-5:].decode()


def udp_lite(address: str, port: int) -> str:
    with socket.socket(family_of(address), socket.SOCK_DGRAM, socket.IPPROTO_UDPLITE) as sock:
        sock.connect((address, port))
        return f"{sock.send(bytes(9))} bytes"


def ping(address: str, port: int) -> str:
    """An echo request by a socket that takes no capability."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.sendto(struct.pack("!BBHHH", 8, 0, 0, 1, 1) + bytes(9), (address, port))
        return f"{len(sock.recv(100))} bytes"


def uring(address: str, port: int) -> str:
    """connect() by io_uring: one entry, waited for."""
    parameters = bytearray(120)
    place = (ctypes.c_char * 120).from_buffer(parameters)
    ring = LIBC.syscall(IO_URING_SETUP, 4, place)
    if ring < 0:
        raise OSError(ctypes.get_errno(), "")
    tail, array_of, completed = (struct.unpack_from("=I", parameters, offset)[0] for offset in (44, 64, 100))
    with stream(address) as sock, mmap.mmap(ring, 4096, offset=0) as queue:
        with mmap.mmap(ring, 4096, offset=IORING_OFF_SQES) as entries:
            name = ctypes.create_string_buffer(sockaddr(address, port))
            sock.settimeout(None)
            entry = struct.pack(
                "=BBHiQQ", IORING_OP_CONNECT, 0, 0, sock.fileno(), len(name) - 1, ctypes.addressof(name)
            )
            entries[: len(entry)] = entry
            queue[array_of : array_of + 4] = struct.pack("=I", 0)
            queue[tail : tail + 4] = struct.pack("=I", 1)
            if LIBC.syscall(IO_URING_ENTER, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) != 1:
                raise OSError(ctypes.get_errno(), "")
            (result,) = struct.unpack_from("=i", queue, completed + 8)
        os.close(ring)
        if result:
            raise OSError(-result, "")
        sock.settimeout(TIMEOUT_SECONDS)
        return echoed(sock)


def raw(address: str, port: int) -> str:
    """An echo request of ICMP, made by the process itself."""
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(TIMEOUT_SECONDS)
        sock.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FD, 1, 1), (address, 0))
        return f"{len(sock.recv(100))} bytes"


def packet(address: str, port: int) -> str:
    """A frame of the process' own making."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as sock:
        return f"{sock.sendto(bytes(40), ('veth0', 0x0800, 0, 0, bytes(6)))} bytes"


WAYS = {
    each.__name__: each
    for each in (
        *(tcp, mptcp, tcp_later, fast_open, fast_open_connect, uring),
        *(udp_connected, udp_with_control, udp_own_peer, udp_twice),
        *(udp_sendto, udp_sendmsg, udp_sendmmsg, udp_unspecified, udp_port_zero),
        *(raw, packet, udp_lite, ping),
    )
}


def call(calls: list[tuple[str, str, int]]) -> None:
    print(os.getpid(), flush=True)
    for way, address, port in calls:
        try:
            print(WAYS[way](address, port), flush=True)
        except OSError as error:
            print(errno.errorcode.get(error.errno or 0, str(error)), flush=True)


def serve(port: int) -> None:
    server = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100)
    sink = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sink.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sink.bind(("::", port))
    threading.Thread(target=send_back, args=(sink,), daemon=True).start()
    print("ready", flush=True)
    while True:
        peer, _ = server.accept()
        threading.Thread(target=echo, args=(peer,), daemon=True).start()


def echo(peer: socket.socket) -> None:
    with peer:
        while part := peer.recv(100):
            peer.sendall(part)


def send_back(sink: socket.socket) -> None:
    while True:
        text, sender = sink.recvfrom(100)
        sink.sendto(text, sender)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(int(sys.argv[2]))
    call(json.loads(sys.argv[2]))
