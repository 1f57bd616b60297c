import os
from pathlib import Path

import pytest
from tests.support import certificates

from agent.following import LOOK_SECONDS
from agent.sinks import trust
from bpfleet.errors import OptionError


def options(folder: Path, **files: str) -> dict[str, str]:
    return {name: str(folder / file) for name, file in files.items()}


def test_without_files_nothing_is_shown_and_the_systems_certificates_are_trusted() -> None:
    assert trust.follow("otlp", {}, encrypted=False)() == trust.Trust()
    found = trust.follow("otlp", {}, encrypted=True)()
    assert found.context and found.context.check_hostname and found.context.verify_mode.name == "CERT_REQUIRED"


def test_files_are_read_and_the_same_object_says_that_they_are_as_they_were(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    (tmp_path / "token").write_text(" secret\n")
    given = options(
        tmp_path, ca_file="server.crt", certificate_file="server.crt", key_file="server.key", token_file="token"
    )
    shown = trust.follow("otlp", given, encrypted=True)
    found = shown()
    assert (found.roots, found.chain, found.key) == (
        pair.chain.read_bytes(),
        pair.chain.read_bytes(),
        pair.key.read_bytes(),
    )
    assert found.token == "secret"
    assert shown() is found


def test_a_new_file_is_followed_and_a_bad_one_is_not(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("first")
    now = [0.0]
    shown = trust.follow("otlp", options(tmp_path, token_file="token"), encrypted=False, clock=lambda: now[0])
    for text, expected in (("second!", "second!"), ("two words", "second!"), ("", "second!"), ("third", "third")):
        token.write_text(text)
        os.utime(token, ns=(int(now[0]), int(now[0])))
        now[0] += LOOK_SECONDS
        assert shown().token == expected


@pytest.mark.parametrize(
    ("given", "option", "problem"),
    [
        ({"token_file": "none"}, "token_file", "cannot be read"),
        ({"token_file": "empty"}, "token_file", "a token is one word"),
        ({"ca_file": "empty"}, "ca_file", "no certificates"),
        (
            {"certificate_file": "server.crt", "key_file": "other.key"},
            "certificate_file",
            "no certificate with its key",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_option_to_blame(
    tmp_path: Path, given: dict[str, str], option: str, problem: str
) -> None:
    certificates.make(tmp_path)
    certificates.make(tmp_path, "other")
    (tmp_path / "empty").touch()
    with pytest.raises(OptionError, match=problem) as caught:
        trust.follow("otlp", options(tmp_path, **given), encrypted=True)
    assert caught.value.option == option
