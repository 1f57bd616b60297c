"""Heads of requests and paths by the million, from a seed: real ones, and ones cut, bent or made up."""

import random
from collections.abc import Iterator

CAPTURES = (
    b"GET /index.html?q=1 HTTP/1.1\r\nHost: shop.example:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n\r\n",
    b"POST /api/v1/users/23/orders HTTP/1.1\r\nHost: api.shop.example\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl\r\nContent-Length: 2\r\n\r\n",
    b"GET /orders/550e8400-e29b-41d4-a716-446655440000 HTTP/1.0\r\nHost: backend\r\nConnection: close\r\n"
    b"X-Forwarded-For: 192.0.2.7\r\n\r\n",
    b"CONNECT db.example:5432 HTTP/1.1\r\nHost: db.example:5432\r\nProxy-Connection: Keep-Alive\r\n\r\n",
    b"GET http://user:geheim@proxy.example/a/b?c=d HTTP/1.1\r\nHost: other.example\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nhOsT:\t[2001:db8::1]:8443 \r\n\r\n",
    b"BREW /pot-0 HTTP/1.1\nHost: pot.example\n\n",
    b"\r\n\r\nPUT /a%20b/%C3%BC HTTP/1.1\r\nHost:\r\n folded.example\r\nCookie: session=geheim\r\n\r\n",
    b"PATCH /caf\xc3\xa9/\x1b[31m HTTP/1.1\r\nX: 1\r\nHost: first.example\r\nHost: second.example\r\n\r\n",
)

WORDS = (
    *(
        "users",
        "orders",
        "api",
        "v1",
        "oauth2",
        "getUserById",
        "favicon.ico",
        "index.html",
        "search",
        "token",
        "static",
    ),
    *(
        "23",
        "20261121",
        "2026-11-21",
        "550e8400-e29b-41d4-a716-446655440000",
        "deadbeefcafe",
        "3f2a9c1b",
        "a@b.example",
    ),
    *("eyJhbGciOi.eyJzdWIi.x", "%41%42", "%2e%2e", "..", "", "*", "{id}", "caf\xe9", "\x00", "\x1b[2J", "\u202e", "%"),
)


def heads(count: int, seed: int = 23) -> Iterator[bytes]:
    dice = random.Random(seed)
    for _ in range(count):
        yield _HEADS[dice.randrange(len(_HEADS))](dice)


def paths(count: int, seed: int = 23) -> Iterator[str]:
    dice = random.Random(seed)
    for _ in range(count):
        yield _PATHS[dice.randrange(len(_PATHS))](dice)


def _cut(dice: random.Random) -> bytes:
    head = dice.choice(CAPTURES)
    return head[: dice.randrange(len(head) + 1)]


def _bent(dice: random.Random) -> bytes:
    head = bytearray(dice.choice(CAPTURES))
    for _ in range(dice.randrange(1, 8)):
        at = dice.randrange(len(head))
        head[at : at + dice.randrange(3)] = dice.randbytes(dice.randrange(4)) or dice.choice(
            (b"\n", b"\r\n", b" ", b":")
        )
    return bytes(head)


def _garbage(dice: random.Random) -> bytes:
    return dice.choice((b"", b"GET ", b"GET / HTTP/1.", b"POST http://")) + dice.randbytes(dice.randrange(200))


def _spliced(dice: random.Random) -> bytes:
    return _cut(dice) + _cut(dice)[-dice.randrange(1, 60) :]


def _long(dice: random.Random) -> bytes:
    line = dice.choice((b"GET /" + b"a" * 9000, b"GET " + b"/%41" * 3000, b"X" * 9000))
    return line + dice.choice((b"", b" HTTP/1.1\r\nHost: x\r\n\r\n", b"\nA:b" * 300))


_HEADS = (_cut, _cut, _cut, _bent, _bent, _bent, _garbage, _garbage, _spliced) * 11 + (_long,)


def _written(dice: random.Random) -> str:
    return "/" + "/".join(dice.choices(WORDS, k=dice.randrange(1, 9)))


def _drawn(dice: random.Random) -> str:
    alphabet = dice.choice(("abcdefghijklmnopqrstuvwxyz", "0123456789abcdef", "aA0-_.~%/=+:@", "aeXk9Qz7"))
    return "/" + "".join(dice.choices(alphabet, k=dice.randrange(80)))


def _bytes(dice: random.Random) -> str:
    return dice.randbytes(dice.randrange(120)).decode("latin-1")


def _deep(dice: random.Random) -> str:
    return dice.choice(("/a", "/", "/1", "/%2525", "/aaaaaaaaaaaaaaaa-")) * dice.randrange(400)


_PATHS = (_written, _written, _written, _drawn, _drawn, _bytes) * 8 + (_deep,)
