import random
import string

import pytest

from agent.protocols import secrets

ALPHABETS = {
    "letters and digits": string.ascii_letters + string.digits,
    "base64url": string.ascii_letters + string.digits + "-_",
    "hexadecimal": "0123456789abcdef",
    "upper case": string.ascii_uppercase + string.digits,
}


@pytest.mark.parametrize(
    "text",
    [
        *("AKIAIOSFODNN7EXAMPLE", "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "glpat-abcdefgh12", "SG.abcdefgh.ijkl"),
        *("xoxb-1234567890-abcdef", "sk_live_4eC39HqLyjWD", "AIzaSyDaGmWKa4JsXZ", "eyJhbGciOiJIUzI1NiJ9.e30.x"),
        *("Bearer abcd", "basic+dXNlcjpwYXNz", "password=hunter2", '{"token":"x"}', "api_key:abc", "a@b.example"),
        *("http://user:geheim@db.example/", "4111 1111 1111 1111", "4111111111111111", "123-45-6789"),
        *("DE89370400440532013000", "-----BEGIN PRIVATE KEY", "%70assword%3Dhunter2", "%2570assword%253Dx"),
        *("T0ABCDEF1/B0ABCDEF2/aBcDeFgHiJkL", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    ],
)
def test_known_shapes_are_seen(text: str) -> None:
    assert secrets.is_secret(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "index.html", "internationalization", "getUserAccountDetailsByIdentifier", "application_configuration"),
        *("how-to-build-a-thing-that-lasts-in-2026", "550e8400-e29b-41d4-a716-446655440000", "react@18.2.0", "@scope"),
        *("4111111111111112", "2026-11-21", "1732209600000001", "red shoes", "shop.example", "openid-configuration"),
    ],
)
def test_ordinary_words_are_none(text: str) -> None:
    assert not secrets.is_secret(text)


@pytest.mark.parametrize("alphabet", ALPHABETS)
def test_of_random_keys_nearly_all_are_seen(alphabet: str) -> None:
    dice = random.Random(23)
    keys = ["".join(dice.choices(ALPHABETS[alphabet], k=32)) for _ in range(2000)]
    assert sum(map(secrets.is_secret, keys)) >= 1960


def test_names_that_say_that_a_secret_follows() -> None:
    for name in (
        "password",
        "PassWord",
        "x-api-key",
        "access_token",
        "sig",
        "%70assword",
        "user[password]",
        "X-Amz-Signature",
    ):
        assert secrets.is_sensitive(name), name
    for name in ("page", "q", "sort", "monkey", "design", "shipping"):
        assert not secrets.is_sensitive(name), name
    assert secrets.announces("reset-password") and not secrets.announces("oauth2") and not secrets.announces("users")


@pytest.mark.parametrize(
    "unit", ["a", "@", "a@", "1 ", "%25", "=", "//a", "ghp_", "Aa1", "bearer ", "T1/B1/", "eyJ", ":"]
)
def test_no_text_makes_a_search_go_on_for_ever(unit: str) -> None:
    """Ten times what is ever looked at: who searched in quadratic time for all of it would take seconds, exponential
    time would not end."""
    secrets.is_secret((unit * 10_240)[:10_240])
