"""Files that are a certificate or a token: when are they read again, and what if they cannot be used?"""

import os
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.support import certificates
from tests.support.marks import needs
from tests.unit.metrics.fakes import Clock

from agent.configuration import Configuration
from agent.credentials import SHORTEST_TOKEN, Credentials, certificate, token
from agent.following import LOOK_SECONDS, Credential, State
from agent.settings import build
from bpfleet.errors import SettingsError

TOKEN, OTHER = b"0123456789abcdef", b"fedcba9876543210"


class Held:
    """A token file and the credential made of it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.clock = folder / "token", Clock()
        self.file.write_bytes(TOKEN)
        self.credential = Credential("token", (self.file,), lambda: token(self.file), self.clock)

    def value(self) -> bytes:
        self.clock.sleep(LOOK_SECONDS)
        return self.credential.value()

    def problem(self) -> str:
        return self.credential.state().problem


@pytest.fixture
def held(tmp_path: Path) -> Held:
    return Held(tmp_path)


def replace(file: Path, content: bytes) -> None:
    """As most tools do it: a new file under the old name."""
    new = file.with_name("new")
    new.write_bytes(content)
    new.replace(file)


@pytest.mark.parametrize("content", [TOKEN, TOKEN + b"\n", b" \t" + TOKEN + b"\r\n\n"])
def test_white_space_around_a_token_is_not_part_of_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    assert token(tmp_path / "token") == TOKEN


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"a" * (SHORTEST_TOKEN - 1), "has 15 characters"),
        (b"a" * 4097, "has 4097 characters"),
        (b"two words of a token", "one word"),
        (b"0123456789abcdef\n0123456789abcdef", "one word"),
        ("0123456789abcdé".encode(), "one word"),
        (b"a" * (1 << 21), "larger than"),
    ],
)
def test_what_is_no_token_is_refused_and_never_repeated(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=why) as refused:
        token(file)
    assert str(refused.value).startswith(f"{file}: ")
    assert not content.strip() or content.decode().strip() not in str(refused.value)


def test_a_file_that_is_replaced_is_read_again(held: Held) -> None:
    assert held.value() == TOKEN
    replace(held.file, OTHER)
    assert held.value() == OTHER
    assert held.credential.state() == State((str(held.file),), "")


def test_a_file_that_is_written_in_place_is_read_again(held: Held) -> None:
    held.file.write_bytes(OTHER + b"\n")
    assert held.value() == OTHER


def test_a_swapped_link_is_followed_as_kubernetes_swaps_it(tmp_path: Path) -> None:
    """token -> ..data/token, and ..data -> a directory of each version."""
    for name, content in (("one", TOKEN), ("two", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_bytes(content)
        os.utime(tmp_path / name / "token", ns=(0, 0))
    (tmp_path / "..data").symlink_to("one")
    (tmp_path / "token").symlink_to("..data/token")
    clock = Clock()
    credential = Credential("token", [tmp_path / "token"], lambda: token(tmp_path / "token"), clock)
    assert credential.value() == TOKEN
    (tmp_path / "..data_tmp").symlink_to("two")
    (tmp_path / "..data_tmp").replace(tmp_path / "..data")
    clock.sleep(LOOK_SECONDS)
    assert credential.value() == OTHER


def test_a_file_is_looked_at_once_a_second_at_most(held: Held) -> None:
    replace(held.file, OTHER)
    held.clock.sleep(LOOK_SECONDS / 2)
    assert held.credential.value() == TOKEN
    held.clock.sleep(LOOK_SECONDS / 2)
    assert held.credential.value() == OTHER


def test_a_file_that_did_not_change_is_not_read(tmp_path: Path) -> None:
    file, clock, read = tmp_path / "token", Clock(), []
    file.write_bytes(TOKEN)
    credential = Credential("token", [file], lambda: read.append(None), clock)
    for _ in range(5):
        clock.sleep(LOOK_SECONDS)
        credential.value()
    assert len(read) == 1


@pytest.mark.parametrize("content", [b"", b"short"])
def test_a_bad_file_leaves_the_last_good_value_and_a_good_one_heals(
    held: Held, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    replace(held.file, content)
    for _ in range(3):
        assert held.value() == TOKEN
    assert held.problem().startswith(f"{held.file}: ")
    assert [record.levelname for record in caplog.records] == ["ERROR"], "each problem is told once"
    replace(held.file, OTHER)
    assert held.value() == OTHER
    assert held.problem() == ""


def test_a_file_that_is_gone_leaves_the_last_good_value(held: Held) -> None:
    held.file.unlink()
    assert held.value() == TOKEN
    assert "cannot be read: No such file" in held.problem()


def test_a_pipe_in_the_place_of_a_file_leaves_the_last_good_value_and_holds_nobody(held: Held) -> None:
    held.file.unlink()
    os.mkfifo(held.file)
    assert held.value() == TOKEN
    assert "it is a pipe" in held.problem()


def test_a_half_written_file_heals_even_where_stat_cannot_tell_the_halves_apart(held: Held) -> None:
    held.file.write_bytes(b"x" * 8 + b" " * 8)
    os.utime(held.file, ns=(1, 1))
    assert held.value() == TOKEN
    held.file.write_bytes(OTHER)
    os.utime(held.file, ns=(1, 1))
    assert held.value() == OTHER


def test_refresh_looks_at_once_and_says_what_is_wrong(held: Held) -> None:
    replace(held.file, OTHER)
    held.credential.refresh()
    assert held.credential.value() == OTHER
    replace(held.file, b"")
    with pytest.raises(SettingsError, match="is empty"):
        held.credential.refresh()
    assert held.credential.value() == OTHER


def test_the_log_has_no_token(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for content in (OTHER, b"", TOKEN + b" " + TOKEN, TOKEN):
        replace(held.file, content)
        held.value()
    assert caplog.records
    assert TOKEN.decode() not in caplog.text and OTHER.decode() not in caplog.text


@needs("openssl")
def test_a_certificate_is_served_by_tls_1_2_at_least(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    assert certificate(*pair).minimum_version >= ssl.TLSVersion.TLSv1_2


@needs("openssl")
def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    one, two = certificates.make(tmp_path, "one"), certificates.make(tmp_path, "two")
    with pytest.raises(SettingsError, match=r"one.crt, .*two.key: no certificate with its key: KEY_VALUES_MISMATCH"):
        certificate(one.chain, two.key)
    two.key.write_text("nonsense")
    with pytest.raises(SettingsError, match="no certificate with its key"):
        certificate(two.chain, two.key)
    two.key.unlink()
    with pytest.raises(SettingsError, match=r"two.key: cannot be read: No such file"):
        certificate(two.chain, two.key)


@needs("openssl")
def test_a_key_with_a_password_is_refused_instead_of_asked_for(tmp_path: Path) -> None:
    pair = certificates.make(tmp_path)
    locked = tmp_path / "locked.key"
    subprocess.run(
        ["openssl", "pkey", "-in", pair.key, "-aes256", "-passout", "pass:secret", "-out", locked],
        check=True,
        capture_output=True,
    )
    with pytest.raises(SettingsError, match="the key has a password"):
        certificate(pair.chain, locked)


def asked(**server: Path) -> Configuration:
    values = {f"server.{name}": str(path) for name, path in server.items()}
    return Configuration(build(values), dict.fromkeys(values, "agent.yaml:3"))


def test_without_files_nothing_is_shown_and_nothing_asked_for() -> None:
    credentials = Credentials(asked())
    assert (credentials.context, credentials.bearer(), credentials.states(), credentials.good()) == (None, b"", {}, {})


def test_a_file_that_cannot_be_used_is_told_with_the_place_of_its_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        Credentials(asked(token_file=tmp_path / "absent"))
    expected = f"agent.yaml:3: server.token_file: {tmp_path}/absent: cannot be read: No such file or directory"
    assert str(refused.value) == expected
    with pytest.raises(SettingsError, match=r"agent.yaml:3: server.certificate_file: .*absent.crt: cannot be read"):
        Credentials(asked(certificate_file=tmp_path / "absent.crt", key_file=tmp_path / "absent.key"))


@needs("openssl")
def test_a_check_looks_at_the_files_in_use_and_at_those_that_are_wanted(tmp_path: Path) -> None:
    pair, file = certificates.make(tmp_path), tmp_path / "token"
    file.write_bytes(TOKEN)
    here = asked(certificate_file=pair.chain, key_file=pair.key, token_file=file)
    credentials = Credentials(here)
    credentials.check(here)
    with pytest.raises(SettingsError, match="absent"):
        credentials.check(asked(token_file=tmp_path / "absent"))
    file.write_bytes(b"short")
    with pytest.raises(SettingsError, match="has 5 characters"):
        credentials.check(asked())
    assert credentials.bearer() == TOKEN
    assert credentials.good() == {"certificate": True, "token": False}
