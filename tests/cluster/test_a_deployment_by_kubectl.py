"""`kubectl apply -k apps/agent/plain`: the image runs as the manifests say, a Prometheus finds it by its annotations,
and what is deleted leaves nothing in the kernel.

Before the other files beside it: a node has one agent, and their pod stays until the end."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.cluster.conftest import eventually, made_namespace
from tests.image.conftest import BUILD, obstacle
from tests.support import images
from tests.support.cgroups import v2_root
from tests.support.kernel_objects import all_objects, held, processes
from tests.support.prometheuses import Prometheus

from bundle import tools

ROOT = Path(__file__).parents[2]
PLAIN = ROOT / "apps/agent/plain"
TOOL = ROOT.parent / "shared" / "cluster" / "cluster"
"""Puts an image into the cluster."""

NAMESPACE = "bpfleet"
AGENT = "bpfleet-agent"
IMAGE = f"docker.io/library/{images.IMAGE}"
REQUESTS = 89
ASK = "import sys, urllib.request\nfor _ in range(int(sys.argv[2])): urllib.request.urlopen(sys.argv[1]).read()"
READY_SECONDS = 90.0
GONE_SECONDS = 60.0
SCRAPED_SECONDS = 60.0

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
GROUPS = [f"system:serviceaccounts:{NAMESPACE}", "system:serviceaccounts", "system:authenticated"]
"""Those that Kubernetes puts every account of the namespace in: what they may the agent may, too."""

DISCOVERY = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: annotated
    honor_labels: true
    kubernetes_sd_configs:
      - {{role: endpointslice, kubeconfig_file: KUBECONFIG, namespaces: {{names: [bpfleet]}}}}
    relabel_configs:
      - {{action: keep, source_labels: [__meta_kubernetes_service_annotation_prometheus_io_scrape], regex: "true"}}
      - source_labels: [__address__, __meta_kubernetes_service_annotation_prometheus_io_port]
        regex: (.+):\\d+;(\\d+)
        replacement: $1:$2
        target_label: __address__
      - source_labels: [__meta_kubernetes_service_annotation_prometheus_io_path]
        target_label: __metrics_path__
      - {{source_labels: [__meta_kubernetes_endpointslice_endpoint_node_name], target_label: node}}
      - {{source_labels: [__meta_kubernetes_namespace], target_label: namespace}}
      - {{source_labels: [__meta_kubernetes_pod_name], target_label: pod}}
"""
"""As the charts of Prometheus' community have it for services with annotations."""

WORKLOAD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "echo", "labels": {"app": "echo"}},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {
                "name": "server",
                "image": IMAGE,
                "imagePullPolicy": "Never",
                "command": ["python3", "-m", "http.server", "--directory", "/etc", "8080"],
            }
        ],
    },
}
CLIENT = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "client"},
    "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [
            {"name": "shell", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "infinity"]},
        ],
    },
}


@pytest.fixture(scope="module")
def loaded(kube: Any, pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image, in the cluster's store."""
    if not TOOL.exists():
        pytest.skip("no tool to load an image into this cluster")
    build: Any = pytestconfig.pluginmanager.get_plugin(BUILD)  # where the suite `image` runs, too
    if build:
        archive = build.archive()
    elif said := obstacle():
        pytest.skip(said)
    else:
        archive = tmp_path_factory.mktemp("image") / "image.tar"
        images.build(archive)
    subprocess.run([TOOL, "load", archive], check=True, capture_output=True, timeout=300)
    return IMAGE


@pytest.fixture(scope="module")
def overlay(loaded: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain manifests with this image, this machine's cgroups, and numbers that come sooner."""
    plain = {each["kind"]: each for each in yaml.safe_load_all(tools.run("kubectl", "kustomize", PLAIN))}
    settings = yaml.safe_load(plain["ConfigMap"]["data"]["agent.yaml"])
    settings |= {"scrape_interval_seconds": 1, "drain_interval_seconds": 0.3}
    plain["ConfigMap"]["data"]["agent.yaml"] = yaml.safe_dump(settings)
    directory = tmp_path_factory.mktemp("plain")
    (directory / "agent.yaml").write_text(yaml.safe_dump_all(plain.values()), "utf-8")
    spec = {"volumes": [{"name": "cgroup", "hostPath": {"path": str(v2_root()), "type": "Directory"}}]}
    name = {"name": AGENT, "namespace": NAMESPACE}
    patch = {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": name, "spec": {"template": {"spec": spec}}}
    image = {"name": "ghcr.io/bpfleet/agent", "newName": loaded.partition(":")[0], "newTag": loaded.rpartition(":")[2]}
    kustomization = {"resources": ["agent.yaml"], "images": [image], "patches": [{"patch": yaml.safe_dump(patch)}]}
    (directory / "kustomization.yaml").write_text(yaml.safe_dump(kustomization), "utf-8")
    return directory


@pytest.fixture(scope="module")
def agent(kube: Any, node: str, overlay: Path) -> Iterator[str]:
    """Applied and ready; the name of its pod. Deleted again."""
    core, apps = kube.client.CoreV1Api(), kube.client.AppsV1Api()
    if NAMESPACE in {each.metadata.name for each in core.list_namespace().items}:
        pytest.skip(f"the cluster has a namespace {NAMESPACE} already")
    owned = set()

    def ready() -> bool:
        status = apps.read_namespaced_daemon_set_status(AGENT, NAMESPACE).status
        return bool(status.desired_number_scheduled) and status.number_ready == status.desired_number_scheduled

    try:
        tools.run("kubectl", "apply", "--kustomize", overlay)
        try:
            eventually(ready, "the agent is ready on every node", READY_SECONDS)
        except AssertionError as error:
            told = tools.ask("kubectl", "--namespace", NAMESPACE, "describe", "pods").stdout[-3000:]
            log = tools.ask("kubectl", "--namespace", NAMESPACE, "logs", f"daemonset/{AGENT}").stdout
            raise AssertionError(f"{error}; {told}\nthe agent says:\n{log}") from error
        (pod,) = core.list_namespaced_pod(NAMESPACE).items
        containers = [each.container_id.partition("://")[2] for each in pod.status.container_statuses]
        owned = {one for container in containers for process in processes(container) for one in held(process)}
        assert {one.kind for one in owned} >= {"prog", "map"} and owned <= all_objects()
        yield str(pod.metadata.name)
    finally:
        tools.run("kubectl", "delete", "--kustomize", overlay, "--wait", "--timeout=60s")
    eventually(lambda: not owned & all_objects(), "its programs, maps and links are gone", GONE_SECONDS)


@pytest.fixture(scope="module")
def workloads(kube: Any, agent: str) -> Iterator[str]:
    """A server and a client, both younger than the agent."""
    core = kube.client.CoreV1Api()
    with made_namespace(kube) as namespace:
        for pod in (WORKLOAD, CLIENT):
            core.create_namespaced_pod(namespace, pod)

        def ready() -> bool:
            pods = core.list_namespaced_pod(namespace).items
            return all(each.status.container_statuses and each.status.container_statuses[0].ready for each in pods)

        eventually(ready, "server and client run")
        yield namespace


def execute(namespace: str, pod: str, *command: str) -> str:
    return tools.run("kubectl", "--namespace", namespace, "exec", pod, "--", *command)


def test_its_pod_has_three_capabilities_and_can_write_nowhere(agent: str) -> None:
    status = execute(NAMESPACE, agent, "cat", "/proc/self/status")
    mask = sum(1 << bit for bit in (12, 38, 39))
    assert f"CapEff:\t{mask:016x}" in status and f"CapBnd:\t{mask:016x}" in status
    assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
    for path in ("/x", "/host/cgroup/x", "/etc/bpfleet/config/x", "/opt/bpfleet/x"):
        said = tools.ask("kubectl", "--namespace", NAMESPACE, "exec", agent, "--", "mkdir", path)
        assert said.returncode and "Read-only file system" in said.stderr, path


def test_it_runs_with_the_settings_of_its_manifest(agent: str) -> None:
    shown = yaml.safe_load(execute(NAMESPACE, agent, "bpfleet", "config", "show"))
    assert (shown["scrape_interval_seconds"], shown["listen"]) == (1, "0.0.0.0:9436")


def test_a_prometheus_finds_it_by_annotations_and_has_every_request_once(
    kube: Any, agent: str, node: str, workloads: str, tmp_path: Path
) -> None:
    core = kube.client.CoreV1Api()
    address = core.read_namespaced_pod("echo", workloads).status.pod_ip
    served = {"namespace": workloads, "pod": "echo", "container": "server", "workload": "echo", "node": node}
    series = "{" + ", ".join(f'{name}="{value}"' for name, value in served.items()) + "}"
    configuration = DISCOVERY.replace("KUBECONFIG", os.environ["KUBECONFIG"])
    newest = tools.find("prometheus")  # Debian's own asks no Kubernetes
    with Prometheus(
        tmp_path, 0, first="bpfleet_collector_up == 1", configuration=configuration, program=newest
    ) as prometheus:
        prometheus.until(f"bpfleet_tcp_connections_accepted_total{series} == 0", SCRAPED_SECONDS)
        execute(workloads, "client", "python3", "-c", ASK, f"http://{address}:8080/hostname", str(REQUESTS))
        log = core.read_namespaced_pod_log("echo", workloads)
        assert log.count("GET /hostname") == REQUESTS
        counted = f"bpfleet_tcp_connections_accepted_total{series}"
        prometheus.until(f"{counted} >= {REQUESTS}", SCRAPED_SECONDS)
        (sample,) = prometheus.query(counted)
        assert float(sample["value"][1]) == REQUESTS
        (up,) = prometheus.query("up")
        assert (up["metric"]["pod"], up["metric"]["node"], up["value"][1]) == (agent, node, "1")
        assert prometheus.query('{exported_namespace!=""}') == []


def test_its_account_may_watch_and_nothing_else(kube: Any, agent: str) -> None:
    account = f"system:serviceaccount:{NAMESPACE}:{AGENT}"
    reviews = kube.client.AuthorizationV1Api()

    def may(what: str) -> set[str]:
        """Of a resource, as `group/resource/subresource`, in all namespaces."""
        group, resource, subresource = what.split("/")
        asked = {"group": group, "resource": resource, "subresource": subresource}
        found = set()
        for verb in VERBS:
            spec = {"user": account, "groups": GROUPS, "resourceAttributes": asked | {"verb": verb}}
            if reviews.create_subject_access_review({"spec": spec}).status.allowed:
                found.add(verb)
        return found

    for what in ("/pods/", "/services/", "/nodes/", "/namespaces/", "discovery.k8s.io/endpointslices/"):
        assert may(what) == {"list", "watch"}, what
    for what in ("/secrets/", "/configmaps/", "/pods/log", "/pods/exec", "/nodes/proxy", "apps/daemonsets/", "*/*/"):
        assert may(what) == set(), what
