"""The agent's chart in every combination of values that it supports: what Kubernetes, the agent and a cautious reader
would say of it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import charts, kubernetes_schemas
from tests.support.charts import CHART, COMBINATIONS, Objects, container, objects, pod, rendered

from agent import configuration
from agent.collectors import BUILT_IN
from agent.identity.peers import MAX_BACKENDS
from agent.metrics.accumulate import MAX_CONTAINERS
from agent.metrics.labels import MAX_LENGTH
from agent.server import OPEN
from agent.settings import Settings, get, leaves
from bpfleet import __version__
from bpfleet.api import AnyOf
from bpfleet.catalogue import ALL
from bpfleet.events import SECURITY
from bundle import tools
from bundle.chart import rendering


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    charts.needed()


MINIMAL = {"BPF", "PERFMON", "NET_ADMIN"}
BEYOND = {"old-kernels": {"SYS_RESOURCE"}}
"""Of the combinations that add a capability."""

WRITTEN = {
    "cache-on-host": {"/var/lib/bpfleet"},
    "events-in-a-file": {"/var/log/bpfleet"},
}
"""Directories of the host that the agent may write, of the combinations that ask for one."""

COMPILING_SECONDS = 120
"""Sixty times what it takes on an idle core."""


@pytest.fixture(params=COMBINATIONS)
def combination(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def made(combination: str) -> Objects:
    return objects(rendered(combination))


def read(made: Objects, folder: Path) -> Settings:
    """By the agent, from the file and the environment that the pod has."""
    file = folder / "agent.yaml"
    file.write_text(made["ConfigMap"]["data"]["agent.yaml"], "utf-8")
    environment = {one["name"]: one.get("value", "node-1") for one in container(made)["env"]}
    assert environment.pop("BPFLEET_CONFIG") == "/etc/bpfleet/config/agent.yaml"
    known = {kind.name: kind.default for kind in BUILT_IN}
    return configuration.load(file, environment, {}, known).settings


def test_there_are_all_combinations() -> None:
    assert {"default", "minimal", *BEYOND, *WRITTEN} <= set(COMBINATIONS)


def test_helm_finds_nothing_to_complain_of(combination: str) -> None:
    said = tools.run("helm", "lint", "--strict", CHART, "--values", charts.values_file(combination))
    assert "1 chart(s) linted, 0 chart(s) failed" in said


def test_every_object_is_one_that_kubernetes_takes(made: Objects) -> None:
    assert [each for one in made.values() for each in kubernetes_schemas.mistakes(one)] == []


def test_a_field_that_kubernetes_does_not_know_would_be_found(made: Objects) -> None:
    made["DaemonSet"]["spec"]["template"]["spec"]["hostPid"] = True
    assert any("hostPid" in each for each in kubernetes_schemas.mistakes(made["DaemonSet"]))


def test_every_object_is_ours_and_in_our_namespace(made: Objects) -> None:
    for kind, each in made.items():
        assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "bpfleet"
        cluster_wide = kind in ("ClusterRole", "ClusterRoleBinding")
        assert each["metadata"].get("namespace", "") == ("" if cluster_wide else "bpfleet")


# Rights


def test_the_container_has_its_capabilities_and_nothing_else(combination: str, made: Objects) -> None:
    capabilities = container(made)["securityContext"].pop("capabilities")
    assert capabilities["drop"] == ["ALL"]
    assert len(capabilities["add"]) == len(set(capabilities["add"]))
    assert set(capabilities["add"]) == MINIMAL | BEYOND.get(combination, set())
    assert container(made)["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsUser": 0,
        "runAsGroup": 0,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def test_the_minimum_is_what_the_collectors_hooks_take() -> None:
    probes = [probe for kind in BUILT_IN for probe in (*kind.probes, *(kind.base.probes if kind.base else ()))]
    flat = [one for probe in probes for one in (probe.probes if isinstance(probe, AnyOf) else (probe,))]
    assert {capability for probe in flat for capability in probe.capabilities} == MINIMAL


def test_the_pod_has_the_hosts_processes_and_neither_its_network_nor_its_ipc(combination: str, made: Objects) -> None:
    assert pod(made)["hostPID"] is (combination != "minimal")
    assert pod(made)["hostNetwork"] is False
    assert not {"hostIPC", "hostUsers", "securityContext", "initContainers", "shareProcessNamespace"} & set(pod(made))


def test_directories_of_the_host_are_read_only_but_for_those_that_were_asked_for(
    combination: str, made: Objects
) -> None:
    mounts = {mount["name"]: mount for mount in container(made)["volumeMounts"]}
    host = {volume["name"]: volume["hostPath"]["path"] for volume in pod(made)["volumes"] if "hostPath" in volume}
    written = {path for name, path in host.items() if not mounts[name].get("readOnly")}
    assert written == WRITTEN.get(combination, set())
    assert set(mounts) == {volume["name"] for volume in pod(made)["volumes"]}
    assert host["cgroup"].startswith("/sys/fs/cgroup") and mounts["cgroup"]["mountPath"] == "/host/cgroup"
    kept = {"config", "tmp", "cgroup", "modules", "sources", "header-cache", "events"}
    assert set(host) <= kept, "a directory of the host that nobody has thought about"
    for name in ("config", "tls", "token", "plugins", "policies", "names", "sink-otlp", "sink-syslog"):
        assert mounts.get(name, {"readOnly": True})["readOnly"]


def test_there_is_a_token_and_rbac_only_where_names_come_from_the_api(made: Objects, tmp_path: Path) -> None:
    watches = read(made, tmp_path).identity.kubernetes == "on"
    assert made["ServiceAccount"]["automountServiceAccountToken"] is False
    assert pod(made)["automountServiceAccountToken"] is watches
    assert ("ClusterRole" in made, "ClusterRoleBinding" in made) == (watches, watches)


def test_the_role_allows_what_the_agent_watches_and_no_more(made: Objects, tmp_path: Path) -> None:
    if "ClusterRole" not in made:
        return
    allowed = {
        (group, resource, verb)
        for rule in made["ClusterRole"]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    watched = {("", "pods"), ("", "services"), ("", "nodes"), ("discovery.k8s.io", "endpointslices")}
    settings = read(made, tmp_path)
    told = {event for kind in BUILT_IN if settings.runs(kind.name) for event in kind.event_names}
    if settings.requests.annotations == "on" or settings.asks_namespaces(told):
        watched.add(("", "namespaces"))
    assert allowed == {(*each, verb) for each in watched for verb in ("list", "watch")}
    (subject,) = made["ClusterRoleBinding"]["subjects"]
    account = made["ServiceAccount"]["metadata"]
    assert (subject["name"], subject["namespace"]) == (account["name"], account["namespace"])
    assert pod(made)["serviceAccountName"] == account["name"]
    assert made["ClusterRoleBinding"]["roleRef"]["name"] == made["ClusterRole"]["metadata"]["name"]


@pytest.mark.parametrize(
    "name", ["tcp_states", *(kind.name for kind in BUILT_IN if set(kind.event_names) & set(SECURITY))]
)
def test_who_is_watched_by_annotation_is_asked_without_the_request_log(name: str, tmp_path: Path) -> None:
    wanted = {"collectors": [f"+{name}"], "requests": {"annotations": "off"}}
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"settings": wanted}), "utf-8")
    made = objects(rendering.render(CHART, [values]))
    asked = {resource for rule in made["ClusterRole"]["rules"] for resource in rule["resources"]}
    assert ("namespaces" in asked) is (name != "tcp_states")


def test_secrets_are_named_and_never_made(combination: str, made: Objects) -> None:
    assert "Secret" not in made
    wanted = yaml.safe_load(charts.values_file(combination).read_text("utf-8"))
    server, sinks = wanted.get("server", {}), wanted.get("sinks", {})
    names = {each["secretName"] for each in (*server.values(), *sinks.values())}
    secrets = {each["secret"]["secretName"]: each["secret"] for each in pod(made)["volumes"] if "secret" in each}
    assert set(secrets) == names
    assert all(secret["defaultMode"] == 0o400 and secret["items"] for secret in secrets.values())


# The agent's own reader


def test_the_agent_reads_every_setting_that_the_chart_sets(combination: str, made: Objects, tmp_path: Path) -> None:
    settings = read(made, tmp_path)
    wanted = yaml.safe_load(charts.values_file(combination).read_text("utf-8")).get("settings", {})
    asked = dict(flat(charts.defaults()["settings"])) | dict(flat(wanted))
    for leaf in leaves():
        if leaf.name in asked and leaf.kind not in ("names", "options"):
            value = get(settings, leaf)
            assert (list(value) if isinstance(value, tuple) else value) == asked[leaf.name], leaf.name
    assert settings.node_name == "node-1"
    assert settings.kernel.cgroup_root == "/host/cgroup" and settings.identity.docker == "off"


def flat(section: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in section.items():
        found += flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found


def test_every_file_that_settings_name_is_mounted(made: Objects, tmp_path: Path) -> None:
    settings = read(made, tmp_path)
    mounts = {mount["name"]: Path(mount["mountPath"]) for mount in container(made)["volumeMounts"]}
    secrets = {each["name"]: each["secret"]["items"] for each in pod(made)["volumes"] if "secret" in each}
    files = {mounts[name] / item["path"] for name, items in secrets.items() for item in items}
    named = {
        Path(str(get(settings, leaf)))
        for leaf in leaves()
        if leaf.path[-1].endswith(("file", "path", "dir", "cache")) and str(get(settings, leaf)).startswith("/")
    }
    unmounted = [path for path in named if not any(path.is_relative_to(mount) for mount in mounts.values())]
    assert unmounted == []
    inside = [
        path for path in named if str(path).startswith(("/etc/bpfleet/tls", "/etc/bpfleet/token", "/etc/bpfleet/s"))
    ]
    assert set(inside) <= files, "a key of a Secret that the volume leaves out"
    served = settings.server
    assert files - set(inside) <= {Path("/etc/bpfleet/tls/ca.crt")}, "a Secret's key that no setting names"
    assert bool(served.certificate_file) == ("tls" in mounts) and bool(served.token_file) == ("token" in mounts)


def test_one_port_has_one_name(made: Objects, tmp_path: Path) -> None:
    settings, (port,) = read(made, tmp_path), container(made)["ports"]
    assert (port["name"], port["containerPort"]) == ("metrics", settings.address[1])
    assert settings.address[0] in ("0.0.0.0", "::")
    for name in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container(made)[name]["httpGet"]["port"] == "metrics"
    if "Service" in made:
        (served,) = made["Service"]["spec"]["ports"]
        assert (served["port"], served["targetPort"]) == (settings.address[1], "metrics")
        assert made["Service"]["spec"]["type"] == "ClusterIP"


# How it runs


def test_probes_ask_pages_that_need_no_token(made: Objects) -> None:
    agent = container(made)
    asked = {name: agent[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert asked == {"startup": "/readyz", "readiness": "/readyz", "liveness": "/healthz"}
    assert set(asked.values()) == set(OPEN)
    startup = agent["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= COMPILING_SECONDS
    schemes = {agent[f"{name}Probe"]["httpGet"].get("scheme", "HTTP") for name in asked}
    secured = any(volume["name"] == "tls" for volume in pod(made)["volumes"])
    assert schemes == {"HTTPS" if secured else "HTTP"}


def test_a_roll_out_takes_a_tenth_of_the_nodes_and_never_has_two_agents_on_one(made: Objects, combination: str) -> None:
    spec = made["DaemonSet"]["spec"]
    most = 1 if combination == "scheduling" else "10%"
    assert spec["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": most, "maxSurge": 0},
    }
    assert spec["minReadySeconds"] == (0 if combination == "scheduling" else 10)


def test_it_runs_on_every_node_unless_told_otherwise() -> None:
    usual, scheduled = pod(objects(rendered("default"))), pod(objects(rendered("scheduling")))
    assert usual["tolerations"] == [{"operator": "Exists"}]
    assert not {"nodeSelector", "affinity", "priorityClassName"} & set(usual)
    assert "tolerations" not in scheduled and scheduled["priorityClassName"] == "system-node-critical"
    assert scheduled["nodeSelector"] and scheduled["affinity"]


def test_selectors_choose_the_agents_and_not_the_test(made: Objects) -> None:
    labels = made["DaemonSet"]["spec"]["template"]["metadata"]["labels"]
    choosers = [made["DaemonSet"]["spec"]["selector"]["matchLabels"]]
    choosers += [made[kind]["spec"]["selector"]["matchLabels"] for kind in MONITORS if kind in made]
    if "Service" in made:
        choosers.append(made["Service"]["spec"]["selector"])
    if "NetworkPolicy" in made:
        choosers.append(made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"])
    for chooser in choosers:
        assert chooser.items() <= labels.items()
        if "Pod" in made:
            assert not chooser.items() <= made["Pod"]["metadata"]["labels"].items()


def test_a_change_of_settings_rolls_the_pods_and_a_commit_does_not(tmp_path: Path) -> None:
    def template(*values: str, chart: Path = CHART) -> Any:
        text = tools.run("helm", "template", "bpfleet-agent", chart, *(f"--set-json={value}" for value in values))
        return objects(text)["DaemonSet"]["spec"]["template"]

    assert template() == template("podMonitor.ownSeries=20000")
    assert template() != template("settings.flow_idle_seconds=1200")
    packed = tools.run("helm", "package", CHART, "--version", f"{__version__}+0123456789ab", "--destination", tmp_path)
    committed = Path(packed.strip().rpartition(" ")[2])
    assert template() == template(chart=committed)
    labels = objects(tools.run("helm", "template", "x", committed))["ConfigMap"]["metadata"]["labels"]
    assert labels["helm.sh/chart"] == f"bpfleet-agent-{__version__}_0123456789ab"  # no label may have a plus


# Scraping

MONITORS = {"PodMonitor": "podMetricsEndpoints", "ServiceMonitor": "endpoints"}
BYTES_A_CHARACTER = 4
MILLISECONDS = {"ms": 1, "s": 1000}


def milliseconds(text: str) -> int:
    unit = text.lstrip("0123456789")
    return int(text.removesuffix(unit)) * MILLISECONDS[unit]


def test_a_monitor_keeps_the_agents_labels_and_is_above_its_series(made: Objects, tmp_path: Path) -> None:
    settings = read(made, tmp_path)
    kinds = [kind for kind in MONITORS if kind in made]
    assert len(kinds) <= 1
    for kind in kinds:
        spec = made[kind]["spec"]
        (endpoint,) = spec[MONITORS[kind]]
        assert endpoint["honorLabels"] is True and endpoint["port"] == "metrics"
        assert {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"} in endpoint["relabelings"]
        assert {"targetLabel": "job", "replacement": "bpfleet/bpfleet-agent"} in endpoint["relabelings"]
        assert milliseconds(endpoint["interval"]) == settings.scrape_interval_seconds * 1000
        assert milliseconds(endpoint["scrapeTimeout"]) <= milliseconds(endpoint["interval"])
        assert spec["sampleLimit"] >= settings.limits.series + MAX_CONTAINERS + MAX_BACKENDS + OTHERS
        assert spec["labelLimit"] >= MOST_LABELS and spec["labelValueLengthLimit"] >= BYTES_A_CHARACTER * MAX_LENGTH
        assert endpoint.get("scheme") == ("https" if settings.server.certificate_file else None)
        assert ("authorization" in endpoint) == bool(settings.server.token_file)


OTHERS = 3000
"""The agent's health: some hundred series for collectors, channels, programs and maps, and as many for plugins."""

OF_THE_SCRAPE = {"__name__", "le", "job", "instance", "node", "endpoint", "service"}
MOST_LABELS = max(len({*metric.label_names, *OF_THE_SCRAPE, "namespace", "pod", "container"}) for metric in ALL)


def test_prometheus_checks_the_certificate_where_it_is_told_an_authority() -> None:
    (checked,) = objects(rendered("tls-and-token"))["PodMonitor"]["spec"]["podMetricsEndpoints"]
    ca = {"secret": {"name": "bpfleet-agent-tls", "key": "ca.crt"}}
    assert checked["tlsConfig"] == {"ca": ca, "serverName": "agents.bpfleet.example"}
    assert checked["authorization"] == {"credentials": {"name": "bpfleet-agent-token", "key": "bearer"}}
    (unchecked,) = objects(rendered("tls-unchecked"))["PodMonitor"]["spec"]["podMetricsEndpoints"]
    assert unchecked["tlsConfig"] == {"insecureSkipVerify": True}


def test_the_network_policy_lets_prometheus_in_and_the_agent_to_the_api() -> None:
    spec = objects(rendered("default"))["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"port": "metrics", "protocol": "TCP"}]
    prometheus, test = rule["from"]
    assert prometheus["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "monitoring"}
    assert prometheus["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": "prometheus"}
    assert (
        test["podSelector"]["matchLabels"].items() <= objects(rendered("default"))["Pod"]["metadata"]["labels"].items()
    )
    assert spec["egress"] == [{"ports": [{"port": port, "protocol": "TCP"} for port in (443, 6443)]}]
    assert objects(rendered("isolated"))["NetworkPolicy"]["spec"]["egress"] == []
    assert len(objects(rendered("sinks"))["NetworkPolicy"]["spec"]["egress"]) == 3


def test_the_minimum_is_three_objects() -> None:
    assert set(objects(rendered("minimal"))) == {"ServiceAccount", "ConfigMap", "DaemonSet"}


def test_an_image_comes_from_one_registry_by_digest() -> None:
    made = objects(rendered("air-gapped"))
    images = {container(made)["image"], made["Pod"]["spec"]["containers"][0]["image"]}
    assert len(images) == 1
    assert images.pop().startswith(f"registry.example:5000/mirror/bpfleet/agent:{__version__}@sha256:e3b0c442")
    assert pod(made)["imagePullSecrets"] == made["Pod"]["spec"]["imagePullSecrets"] == [{"name": "registry"}]


# What the chart is made of


def test_the_charts_defaults_are_the_agents() -> None:
    settings, values = Settings(), charts.defaults()
    assert values["settings"]["scrape_interval_seconds"] == settings.scrape_interval_seconds
    assert values["settings"]["limits"]["series"] == settings.limits.series
    assert values["port"] == settings.address[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text("utf-8"))
    assert chart["version"] == chart["appVersion"] == __version__


def test_the_notes_begin_with_three_commands(combination: str) -> None:
    said = tools.run(
        *("helm", "install", "bpfleet-agent", CHART, "--namespace", "bpfleet", "--dry-run=client"),
        *("--values", charts.values_file(combination)),
    )
    notes = said.partition("NOTES:")[2]
    commands = [line.strip() for line in notes.splitlines() if line.startswith("    ")]
    assert len(commands) == 4 and commands[3].startswith("curl "), "the last one is two lines"
    secured = "tls" in combination
    assert (" --insecure " in commands[3], " https://" in commands[3]) == (secured, secured)
    assert ("Bearer $TOKEN" in commands[3]) == (combination in ("tls-and-token", "service-monitor"))
