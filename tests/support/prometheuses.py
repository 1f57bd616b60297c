"""A real Prometheus that scrapes the agent as in a cluster: with labels of the agent's own pod and honor_labels."""

import http.client
import json
import subprocess
import time
import urllib.parse
from pathlib import Path
from typing import Any

from tests.support.agents import free_port

START_SECONDS = 20.0
ANSWER_SECONDS = 20.0

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: bpfleet
    honor_labels: true
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels: {{namespace: bpfleet-system, pod: agent-pod, container: agent, node: node-1}}
"""
HTTPS = """
    scheme: https
    tls_config: {{ca_file: {ca_file}}}
"""
TOKEN = """
    authorization: {{credentials_file: {token_file}}}
"""


class Prometheus:
    """For the time of a `with`. ca_file: asks over HTTPS and believes this one; token_file: presents what is there.
    first: what is to hold before the `with` begins. configuration: with {port} for the agent's. program: another than
    Debian's."""

    def __init__(
        self,
        folder: Path,
        agent_port: int = 0,
        ca_file: Path | None = None,
        token_file: Path | None = None,
        first: str = "up == 1",
        configuration: str = CONFIGURATION,
        program: str | Path = "prometheus",
    ) -> None:
        self.folder, self.port, self.first, self.program = folder, free_port(), first, program
        self.configuration = folder / "prometheus.yml"
        text = configuration.format(port=agent_port)
        text += HTTPS.format(ca_file=ca_file) if ca_file else ""
        text += TOKEN.format(token_file=token_file) if token_file else ""
        self.configuration.write_text(text)

    def __enter__(self) -> "Prometheus":
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [self.program, f"--config.file={self.configuration}", f"--storage.tsdb.path={self.folder}/data",
                 f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"], stdout=log, stderr=log
            )  # fmt: skip
        try:
            self.until(self.first, START_SECONDS)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query: [{"metric": {...}, "value": [time, text]}]."""
        found: list[dict[str, Any]] = self._get("query?" + urllib.parse.urlencode({"query": expression}))["result"]
        return found

    def await_problem(self, part: str, within_seconds: float = ANSWER_SECONDS) -> None:
        """Until the last scrape failed with this in Prometheus' own words. Raises AssertionError with the last ones."""
        end, last = time.monotonic() + within_seconds, ""
        while time.monotonic() < end:
            (target,) = self._get("targets")["activeTargets"]
            last = str(target["lastError"])
            if part in last:
                return
            time.sleep(0.2)
        raise AssertionError(f"{part!r} is not in {last!r}")

    def _get(self, path: str) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", f"/api/v1/{path}")
            reply = connection.getresponse()
            if reply.status == http.client.SERVICE_UNAVAILABLE:  # it listens before it is ready
                raise ConnectionError("Prometheus is not ready")
            answer = json.loads(reply.read())
        finally:
            connection.close()
        assert answer["status"] == "success", answer
        found: dict[str, Any] = answer["data"]
        return found

    def until(self, expression: str, within_seconds: float = ANSWER_SECONDS) -> list[dict[str, Any]]:
        """Its first answer that is not empty. Raises AssertionError with Prometheus' log."""
        end = time.monotonic() + within_seconds
        while time.monotonic() < end:
            try:
                if found := self.query(expression):
                    return found
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(f"no answer to {expression}:\n{(self.folder / 'log').read_text()}")
