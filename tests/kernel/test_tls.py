"""The agent over HTTPS and behind a token: does the real Prometheus scrape it, also after both were changed on disk?

Witnesses: Debian's prometheus, openssl s_client, curl.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import certificates
from tests.support.agents import Agent, House
from tests.support.marks import needs
from tests.support.namespaces import RUN_SECONDS
from tests.support.prometheuses import Prometheus
from tests.support.terminals import BPFLEET

pytestmark = needs("openssl")

TOKEN, OTHER = "0123456789abcdef-first", "0123456789abcdef-second"
ONE = {"BPFLEET_COLLECTORS": "traffic"}
"""Compiles in a third of the time; what is counted is nothing to a certificate."""
LESS = ("--identity-kubernetes", "off", "--collectors", "traffic")

SEEN_SECONDS = 1.2
"""The agent looks at its files once a second at most."""

FOLLOWED_SECONDS = 60.0
"""For Prometheus, which reads a credentials file at each scrape and a certificate authority at its own pace."""

CREDENTIALS = "bpfleet_server_credentials_last_reload_successful"


class Guarded:
    """Files of a certificate and a token, and an agent that uses them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair = certificates.make(folder)
        self.token = folder / "token"
        self.token.write_text(f"{TOKEN}\n")
        self.file = folder / "agent.yaml"
        self.file.write_text(
            f"server:\n  certificate_file: {self.pair.chain}\n  key_file: {self.pair.key}\n  token_file: {self.token}\n"
        )
        self.agent = Agent("--config", str(self.file), environment=ONE, ca_file=self.pair.chain, token=TOKEN)

    def curl(self, path: str, *words: str) -> str:
        """The status."""
        url = f"https://localhost:{self.agent.port}{path}"
        command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert", str(self.pair.chain), *words, url]
        return subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS).stdout

    def prometheus(self, name: str, token: str = TOKEN, first: str = "up == 1") -> Prometheus:
        folder = self.folder / name
        folder.mkdir()
        (folder / "token").write_text(token)
        return Prometheus(folder, self.agent.port, self.pair.chain, folder / "token", first)


@pytest.fixture
def guarded(alone: House, tmp_path: Path) -> Iterator[Guarded]:
    made = Guarded(tmp_path)
    with made.agent:
        yield made


@needs("prometheus")
def test_prometheus_scrapes_over_https_with_the_token_and_not_with_a_wrong_one(guarded: Guarded) -> None:
    with guarded.prometheus("right") as prometheus:
        assert prometheus.until("bpfleet_collector_up{collector='traffic'} == 1")
        found = {sample["metric"]["credential"]: sample["value"][1] for sample in prometheus.query(CREDENTIALS)}
        assert found == {"certificate": "1", "token": "1"}
    with guarded.prometheus("wrong", OTHER, first="up == 0") as prometheus:
        prometheus.await_problem("401 Unauthorized")
        assert prometheus.query("bpfleet_collector_up") == []


@needs("prometheus")
def test_prometheus_does_not_scrape_whom_it_cannot_believe(guarded: Guarded) -> None:
    foreign = certificates.make(guarded.folder, "foreign").chain
    (guarded.folder / "foreign").mkdir()
    with Prometheus(guarded.folder / "foreign", guarded.agent.port, foreign, guarded.token, "up == 0") as prometheus:
        prometheus.await_problem("x509")


@needs("prometheus")
def test_a_certificate_and_a_token_that_change_on_disk_count_without_a_restart(guarded: Guarded) -> None:
    pid = guarded.agent.process.pid
    with guarded.prometheus("steady") as prometheus:
        old = certificates.shown(guarded.agent.port)
        assert old == certificates.fingerprint(guarded.pair.chain)
        certificates.make(guarded.folder)
        time.sleep(SEEN_SECONDS)
        assert certificates.shown(guarded.agent.port) == certificates.fingerprint(guarded.pair.chain) != old

        guarded.token.write_text(OTHER)
        # If it opens a connection anew, it first has to read the new authority.
        prometheus.await_problem("401 Unauthorized", FOLLOWED_SECONDS)
        (guarded.folder / "steady" / "token").write_text(OTHER)
        prometheus.until("up == 1", FOLLOWED_SECONDS)
        assert guarded.agent.get("/metrics")[0] == 401
    assert guarded.agent.process.pid == pid and guarded.agent.process.poll() is None
    with guarded.prometheus("new", OTHER) as prometheus:
        assert prometheus.until("up == 1"), "the new certificate is believed"


@needs("prometheus")
def test_broken_files_leave_the_old_ones_and_a_metric_says_so(guarded: Guarded) -> None:
    old = certificates.shown(guarded.agent.port)
    with guarded.prometheus("steady") as prometheus:
        guarded.pair.chain.with_name("good.crt").write_bytes(guarded.pair.chain.read_bytes())
        broken = guarded.pair.key.with_name("broken.key")
        broken.write_text("nonsense")
        good = guarded.pair.key.read_bytes()
        broken.replace(guarded.pair.key)
        prometheus.until(f"{CREDENTIALS}{{credential='certificate'}} == 0")
        assert certificates.shown(guarded.agent.port) == old
        assert "no certificate with its key" in guarded.agent.status()["credentials"]["certificate"]["problem"]
        guarded.token.write_text("short")
        prometheus.until(f"{CREDENTIALS}{{credential='token'}} == 0")
        assert guarded.agent.get("/metrics")[0] == 200, "the old token counts on"
        guarded.pair.key.write_bytes(good)
        guarded.token.write_text(TOKEN)
        prometheus.until(f"sum({CREDENTIALS}) == 2")
    said = guarded.agent.output()
    assert said.count("stays the last good one") == 2
    assert TOKEN not in said


@needs("curl")
def test_only_the_probes_are_open_and_plain_http_has_no_answer(guarded: Guarded) -> None:
    given = ("-H", f"Authorization: Bearer {TOKEN}")
    pages = ("/healthz", "/readyz", "/metrics", "/status", "/", "/nothing")
    assert [guarded.curl(page) for page in pages] == ["200", "200", "401", "401", "401", "401"]
    assert [guarded.curl(page, *given) for page in pages] == ["200", "200", "200", "200", "200", "404"]
    plain = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", f"http://localhost:{guarded.agent.port}/metrics"]
    done = subprocess.run(plain, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert (done.returncode != 0, done.stdout) == (True, "000")
    assert guarded.curl("/healthz") == "200"


@needs("curl")
def test_the_token_stands_nowhere(guarded: Guarded) -> None:
    guarded.curl("/metrics", "-H", f"Authorization: Bearer {OTHER}")
    shown = subprocess.run(
        [*BPFLEET, "config", "show", "--config", str(guarded.file)], capture_output=True, text=True, check=True
    ).stdout
    command_line = Path(f"/proc/{guarded.agent.process.pid}/cmdline").read_text()
    for text in (guarded.agent.text(), str(guarded.agent.status()), guarded.agent.output(), shown, command_line):
        assert TOKEN not in text and OTHER not in text


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("certificate_file: {folder}/server.crt", "server.key_file"),
        ("token_file: {folder}/empty", "agent.yaml:2: server.token_file: {folder}/empty: the token is empty"),
        ("token_file: {folder}/short", "has 5 characters"),
        ("token_file: {folder}/absent", "cannot be read: No such file"),
        ("{{certificate_file: {folder}/short, key_file: {folder}/server.key}}", "no certificate with its key"),
    ],
)
def test_files_that_cannot_be_used_are_refused_at_the_start(
    alone: House, tmp_path: Path, settings: str, why: str
) -> None:
    certificates.make(tmp_path)
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "short").write_text("short")
    (tmp_path / "agent.yaml").write_text(f"server:\n  {settings.format(folder=tmp_path)}\n")
    status, said = Agent("--config", str(tmp_path / "agent.yaml")).start().ended()
    assert status == 1
    assert why.format(folder=tmp_path) in said and "Traceback" not in said


@needs("prometheus")
def test_a_secret_of_kubernetes_that_is_swapped_is_followed(alone: House, tmp_path: Path) -> None:
    """tls.crt -> ..data/tls.crt, ..data -> a directory a version; all change by one rename."""
    for name, token in (("..one", TOKEN), ("..two", OTHER)):
        (tmp_path / name).mkdir()
        pair = certificates.make(tmp_path / name)
        pair.chain.rename(tmp_path / name / "tls.crt")
        pair.key.rename(tmp_path / name / "tls.key")
        (tmp_path / name / "token").write_text(token)
    (tmp_path / "..data").symlink_to("..one")
    for name in ("tls.crt", "tls.key", "token"):
        (tmp_path / name).symlink_to(f"..data/{name}")
    flags = ("certificate-file=tls.crt", "key-file=tls.key", "token-file=token")
    words = [f"--server-{name}={tmp_path}/{file}" for name, _, file in (flag.partition("=") for flag in flags)]
    with Agent(*words, environment=ONE, ca_file=tmp_path / "tls.crt", token=TOKEN) as agent:
        assert certificates.shown(agent.port) == certificates.fingerprint(tmp_path / "..one/tls.crt")
        (tmp_path / "..data_tmp").symlink_to("..two")
        os.replace(tmp_path / "..data_tmp", tmp_path / "..data")
        time.sleep(SEEN_SECONDS)
        assert certificates.shown(agent.port) == certificates.fingerprint(tmp_path / "..two/tls.crt")
        assert agent.get("/metrics")[0] == 401
        agent.token = OTHER
        assert agent.get("/metrics")[0] == 200


def test_bpfleet_top_works_with_a_certificate_and_a_token(alone: House, tmp_path: Path) -> None:
    file = Guarded(tmp_path).file
    told = subprocess.run(
        [*BPFLEET, "top", "--once", "--interval", "0.5", "--config", str(file), *LESS],
        capture_output=True,
        text=True,
        timeout=RUN_SECONDS,
    )
    assert told.returncode == 0, told.stderr
    assert "metrics at https://127.0.0.1" in told.stderr
    assert told.stdout.splitlines()[0].startswith("NAMESPACE")
