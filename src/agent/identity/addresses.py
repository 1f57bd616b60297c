"""Addresses as the kernel's keys have them: 16 bytes, IPv4 as ::ffff:a.b.c.d (RFC 4291, 2.5.5.2)."""

import socket
from collections.abc import Iterable, Iterator

MAPPED = bytes(10) + b"\xff\xff"
NONE = bytes(16)
LOOPBACK6 = bytes(15) + b"\x01"


def parse(text: object) -> bytes | None:
    """None where it is no address (a Service's clusterIP may be the word None)."""
    if not isinstance(text, str):
        return None
    try:
        return (
            socket.inet_pton(socket.AF_INET6, text) if ":" in text else MAPPED + socket.inet_pton(socket.AF_INET, text)
        )
    except (OSError, ValueError):
        return None


def parse_all(texts: Iterable[object]) -> Iterator[bytes]:
    return (address for address in map(parse, texts) if address is not None)


def network(text: object) -> tuple[int, int] | None:
    """A prefix such as 10.244.0.0/24 as (bits of 128 that count, their value)."""
    base, _, length = text.partition("/") if isinstance(text, str) else ("", "", "")
    address = parse(base)
    if address is None or not (length.isascii() and length.isdigit()):
        return None
    bits = int(length) + (0 if ":" in base else 96)
    return (bits, number(address) >> (128 - bits)) if bits <= 128 else None


def number(address: bytes) -> int:
    return int.from_bytes(address, "big")


def is_loopback(address: bytes) -> bool:
    return address == LOOPBACK6 or (address.startswith(MAPPED) and address[12] == 127)


def is_private(address: bytes) -> bool:
    """10/8, 172.16/12, 192.168/16 (RFC 1918), 100.64/10 (RFC 6598), fc00::/7 (RFC 4193)."""
    if not address.startswith(MAPPED):
        return address[0] & 0xFE == 0xFC
    first, second = address[12], address[13]
    return (
        first == 10
        or (first == 172 and second & 0xF0 == 16)
        or (first == 192 and second == 168)
        or (first == 100 and second & 0xC0 == 64)
    )


def is_nobody(address: bytes) -> bool:
    """Unspecified, multicast, broadcast or link-local: no single host beyond the link."""
    if address.startswith(MAPPED):
        return address[12] in (0, *range(224, 256)) or (address[12] == 169 and address[13] == 254)
    return address == NONE or address[0] == 0xFF or (address[0] == 0xFE and address[1] & 0xC0 == 0x80)
