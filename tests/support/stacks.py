"""Agent, Prometheus, Alertmanager and a webhook on this machine, with the bundle's own rules and routes."""

import http.client
import itertools
import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template

import yaml
from tests.support.agents import Agent
from tests.support.alertmanagers import Alertmanager
from tests.support.cgroups import Cgroup
from tests.support.discord import Discord
from tests.support.prometheuses import Prometheus

from bundle import tools
from bundle.rules import model
from bundle.slo import generating, objectives

REPOSITORY = Path(__file__).parents[2]

PROFILE = "stack"
WINDOWS: Mapping[str, str] = {
    "interval": "1s", "long_interval": "1s", "page_for": "2s", "ticket_for": "8s", "absent_for": "1m",
    "5m": "10s", "30m": "12s", "1h": "15s", "2h": "15s", "6h": "18s", "1d": "20s", "3d": "20s", "30d": "2m",
}  # fmt: skip
"""Windows of the SLO rules: a minute stands for a quarter of a second or less, so that an alert comes and goes."""

CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [$rules/*.yaml]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:$alertmanager"]}}]}}]}}
scrape_configs:
  - job_name: bpfleet/bpfleet-agent
    honor_labels: true
    static_configs:
      - targets: ["127.0.0.1:{port}"]
        labels: {{namespace: bpfleet, pod: agent-pod, container: agent, node: node-1}}
  - job_name: kube-state-metrics
    honor_labels: true
    static_configs: [{{targets: ["127.0.0.1:$cluster"]}}]
"""


class Cluster:
    """What kube-state-metrics would say of these namespaces, on a page. tiers: by namespace; empty for no label."""

    def __init__(self, tiers: Mapping[str, str]) -> None:
        text = "".join(
            f'kube_namespace_labels{{namespace="{name}"'
            + (f',label_bpfleet_dev_slo_tier="{tier}"' if tier else "")
            + f'}} 1\nkube_pod_status_phase{{namespace="{name}",pod="{name}-0",phase="Running"}} 1\n'
            for name, tier in tiers.items()
        ).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port

    def __enter__(self) -> "Cluster":
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class Visitor:
    """Asks /200 of a server on loopback, some 40 times a second, for the time of a `with`. errors: one request in so
    many is /500; 0 for none. answers: what came, by status."""

    def __init__(self, port: int) -> None:
        self.port, self.errors = port, 0
        self.answers: Counter[int] = Counter()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        for number in itertools.count():
            if self._end.wait(0.025):
                break
            connection.request("GET", "/500" if self.errors and number % self.errors == 0 else "/200")
            reply = connection.getresponse()
            reply.read()
            self.answers[reply.status] += 1
        connection.close()


def written_rules(folder: Path) -> Path:
    """Every PrometheusRule of the bundle as Prometheus reads it; those of the SLO with our windows."""
    rules, policies = folder / "rules", folder / "policies" / "slo"
    rules.mkdir()
    policies.mkdir(parents=True)
    stated = yaml.safe_load((REPOSITORY / objectives.FILE).read_text())
    stated["windows"][PROFILE] = dict(WINDOWS)
    file = policies / "objectives.yaml"
    file.write_text(yaml.safe_dump(stated, sort_keys=False))
    made = yaml.safe_load(generating.text(objectives.read(file), PROFILE))
    (rules / "slo.yaml").write_text(yaml.safe_dump({"groups": made["spec"]["groups"]}))
    for each in model.files(REPOSITORY):
        if not each.path.is_relative_to("policies/slo"):
            (rules / each.path.name).write_text(yaml.safe_dump(dict(each.plain)))
    return rules


class Stack:
    """For the time of a `with`. tiers: of namespaces; each is the namespace of a cgroup of the same name."""

    def __init__(self, folder: Path, tiers: Mapping[str, str], collectors: str = "") -> None:
        self.folder, self.tiers = folder, tiers
        self.environment = {"BPFLEET_COLLECTORS": collectors} if collectors else {}

    def __enter__(self) -> "Stack":
        with ExitStack() as stack:
            self.places = {name: stack.enter_context(Cgroup(name)) for name in self.tiers}
            names = self.folder / "names.yaml"
            names.write_text(yaml.safe_dump([self._name(name, place) for name, place in self.places.items()]))
            self.agent = stack.enter_context(
                Agent(
                    environment={
                        **self.environment,
                        "BPFLEET_IDENTITY_STATIC_FILE": str(names),
                        "BPFLEET_SCRAPE_INTERVAL_SECONDS": "1",
                    }
                )
            )
            self.discord = stack.enter_context(Discord())
            below = {name: self.folder / name for name in ("alertmanager", "prometheus")}
            for each in below.values():
                each.mkdir()
            self.alertmanager = stack.enter_context(Alertmanager(below["alertmanager"], self.discord.url))
            cluster = stack.enter_context(Cluster(self.tiers))
            text = Template(CONFIGURATION).substitute(
                rules=written_rules(self.folder), alertmanager=self.alertmanager.port, cluster=cluster.port
            )
            self.prometheus = stack.enter_context(
                Prometheus(
                    below["prometheus"],
                    self.agent.port,
                    configuration=text,
                    program=tools.find("prometheus"),
                    first="count(up == 1) == 2",
                )
            )
            self.stack = stack.pop_all()
        return self

    @staticmethod
    def _name(namespace: str, place: Cgroup) -> dict[str, str]:
        labels = {"namespace": namespace, "pod": f"{namespace}-0", "container": "web", "workload": "web"}
        return {"cgroup": place.workload, **labels, "workload_kind": "Deployment"}

    def __exit__(self, *_: object) -> None:
        self.stack.close()

    def firing(self) -> set[tuple[str, str]]:
        """Alert and namespace, as Prometheus has them."""
        found = self.prometheus.query('ALERTS{alertstate="firing"}')
        return {(each["metric"]["alertname"], each["metric"].get("namespace", "")) for each in found}
