"""A real Alertmanager with the bundle's own configuration, made as the operator makes it, in short intervals."""

import http.client
import json
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support.agents import free_port

from bundle import tools
from bundle.routes import config, raw

REPOSITORY = Path(__file__).parents[2]
START_SECONDS = 20.0
SHORT = {"group_wait": "200ms", "group_interval": "1s", "repeat_interval": "3s"}
"""repeat_interval counts only from one group_interval to the next."""


def shortened(route: dict[str, Any]) -> dict[str, Any]:
    below = [shortened(each) for each in route.get("routes", [])]
    return {**route, **SHORT, **({"routes": below} if below else {})}


class Alertmanager:
    """For the time of a `with`. webhook: takes what every Secret's key would send, each at its own path."""

    def __init__(self, folder: Path, webhook: str, file: Path = REPOSITORY / config.FILE) -> None:
        self.folder, self.port = folder, free_port()
        templates = sorted((file.parent / "templates").glob("*.tmpl"))
        made = raw.translate(config.read(file), templates, lambda name, key: f"{webhook}/{name}/{key}")
        made["route"] = shortened(made["route"])
        (folder / "alertmanager.yml").write_text(raw.text(made))

    def __enter__(self) -> "Alertmanager":
        with (self.folder / "log").open("w") as log:
            self.process = subprocess.Popen(
                [tools.find("alertmanager"), f"--config.file={self.folder}/alertmanager.yml",
                 f"--storage.path={self.folder}/data", f"--web.listen-address=127.0.0.1:{self.port}",
                 "--cluster.listen-address=", "--log.level=debug"], stdout=log, stderr=log
            )  # fmt: skip
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                self.ask("GET", "status")
                return self
            except OSError:
                if time.monotonic() > end or self.process.poll() is not None:
                    self.__exit__()
                    raise AssertionError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def tell(
        self, labels: Mapping[str, str], annotations: Mapping[str, str] | None = None, over: bool = False
    ) -> datetime:
        """As Prometheus does: an alert that fires, or that is over. When it began."""
        began = datetime.now(UTC) - timedelta(seconds=2)
        alert = {"labels": labels, "annotations": annotations or {}, "startsAt": began.isoformat()}
        if over:
            alert["endsAt"] = (datetime.now(UTC) - timedelta(milliseconds=1)).isoformat()
        self.ask("POST", "alerts", [alert])
        return began

    def alerts(self, **labels: str) -> list[dict[str, Any]]:
        """Those it has with these labels, with who mutes them."""
        found = self.ask("GET", "alerts")
        return [each for each in found if labels.items() <= each["labels"].items()]

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request(
                method, f"/api/v2/{path}", json.dumps(body) if body is not None else None,
                {"Content-Type": "application/json"}
            )  # fmt: skip
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        assert reply.status == 200, (reply.status, text)
        return json.loads(text) if text.strip() else None
