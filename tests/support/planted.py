"""Secrets as they stand in URLs and headers: 300, made from a seed, none of them anybody's."""

import base64
import json
import random
import string
from typing import NamedTuple

COUNT = 300
ALNUM = string.ascii_letters + string.digits
WORDS = ("hunter2", "letmein", "Tr0ub4dor", "correcthorsebatterystaple", "geheim", "s3cr3t", "qwertz", "passw0rt")
NAMES = ("password", "pwd", "access_token", "api-key", "client_secret", "sig", "session_id", "otp", "X-Amz-Signature")


class Planted(NamedTuple):
    """head: of the request that holds it."""

    secret: str
    head: bytes


def planted(seed: int = 23) -> list[Planted]:
    dice = random.Random(seed)
    return [_plant(dice, number) for number in range(COUNT)]


def _plant(dice: random.Random, number: int) -> Planted:
    kind, place = KINDS[number % len(KINDS)], PLACES[number // len(KINDS) % len(PLACES)]
    secret = kind(dice)
    if kind is _word:  # nobody can tell an ordinary word from a secret, but by where it stands
        place = (_named, _userinfo, _announced, _authorization, _nested)[number // len(KINDS) % 5]
    return Planted(secret, place(dice, secret).encode("latin-1"))


def _draw(dice: random.Random, alphabet: str, count: int) -> str:
    return "".join(dice.choices(alphabet, k=count))


def _word(dice: random.Random) -> str:
    return dice.choice(WORDS) + _draw(dice, string.digits, 5)


def _aws(dice: random.Random) -> str:
    return "AKIA" + _draw(dice, string.ascii_uppercase + string.digits, 16)


def _aws_secret(dice: random.Random) -> str:
    return _draw(dice, ALNUM, 40)


def _github(dice: random.Random) -> str:
    return dice.choice(("ghp_", "gho_", "ghs_", "github_pat_")) + _draw(dice, ALNUM, 36)


def _slack(dice: random.Random) -> str:
    return f"xoxb-{_draw(dice, string.digits, 11)}-{_draw(dice, ALNUM, 24)}"


def _stripe(dice: random.Random) -> str:
    return "sk_live_" + _draw(dice, ALNUM, 24)


def _jwt(dice: random.Random) -> str:
    parts = [json.dumps({"alg": "HS256"}), json.dumps({"sub": _draw(dice, ALNUM, 8)}), _draw(dice, ALNUM, 32)]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


def _email(dice: random.Random) -> str:
    return f"{_draw(dice, string.ascii_lowercase, 6)}.{_draw(dice, string.ascii_lowercase, 7)}@shop.example"


def _card(dice: random.Random) -> str:
    digits = "4" + _draw(dice, string.digits, 14)
    doubled = [sum(divmod(2 * int(digit), 10)) for digit in digits[::-2]]
    return digits + str(-(sum(doubled) + sum(int(digit) for digit in digits[-2::-2])) % 10)


def _hexadecimal(dice: random.Random) -> str:
    return _draw(dice, "0123456789abcdef", 40)


def _base64(dice: random.Random) -> str:
    return base64.b64encode(dice.randbytes(33)).decode()


def _google(dice: random.Random) -> str:
    return "AIza" + _draw(dice, ALNUM + "-_", 35)


KINDS = (_word, _aws, _aws_secret, _github, _slack, _stripe, _jwt, _email, _card, _hexadecimal, _base64, _google)


def _head(target: str, *fields: str, method: str = "GET", host: str = "shop.example") -> str:
    return "\r\n".join((f"{method} {target} HTTP/1.1", f"Host: {host}", *fields, "", ""))


def _quoted(text: str) -> str:
    return "".join(character if character.isalnum() else f"%{ord(character):02X}" for character in text)


def _twice(text: str) -> str:
    return _quoted(_quoted(text))


def _segment(dice: random.Random, secret: str) -> str:
    return _head(f"/files/{dice.choice((str, _quoted, _twice))(secret)}/info")


def _named(dice: random.Random, secret: str) -> str:
    return _head(f"/login?page=1&{dice.choice(NAMES)}={dice.choice((str, _quoted))(secret)}&next=/")


def _value(dice: random.Random, secret: str) -> str:
    return _head(f"/search?q={dice.choice((str, _quoted, _twice))(secret)}&page=2#top")


def _bare(dice: random.Random, secret: str) -> str:
    return _head(f"/hook?{_quoted(secret)}")


def _nested(dice: random.Random, secret: str) -> str:
    return _head("/go?to=" + _quoted(f"https://a.example/?password={_quoted(secret)}"))


def _userinfo(dice: random.Random, secret: str) -> str:
    return _head(f"http://user:{_quoted(secret)}@shop.example/a", host=f"user:{_quoted(secret)}@shop.example")


def _announced(dice: random.Random, secret: str) -> str:
    return _head(f"/reset-password/{_quoted(secret)}")


def _parameter(dice: random.Random, secret: str) -> str:
    return _head(f"/cart;jsessionid={_quoted(secret)}/items")


def _authorization(dice: random.Random, secret: str) -> str:
    return _head("/a", f"Authorization: Bearer {secret}", f"Cookie: session={secret}", f"X-Api-Key: {secret}")


def _hosted(dice: random.Random, secret: str) -> str:
    return _head("/a", host=f"{secret}@shop.example")


def _method(dice: random.Random, secret: str) -> str:
    return _head("/a", method=secret)


PLACES = (_segment, _named, _value, _bare, _nested, _userinfo, _announced, _parameter, _authorization, _hosted, _method)
