"""The API server, asked without a process for each question; and what stands behind it, through its proxy."""

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import urllib3

PATHS: Mapping[str, str] = {
    "AlertmanagerConfig": "/apis/monitoring.coreos.com/v1alpha1/namespaces/{}/alertmanagerconfigs",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "GitRepository": "/apis/source.toolkit.fluxcd.io/v1/namespaces/{}/gitrepositories",
    "HelmRelease": "/apis/helm.toolkit.fluxcd.io/v2/namespaces/{}/helmreleases",
    "Kustomization": "/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{}/kustomizations",
    "OCIRepository": "/apis/source.toolkit.fluxcd.io/v1/namespaces/{}/ocirepositories",
    "Pod": "/api/v1/namespaces/{}/pods",
    "PrometheusRule": "/apis/monitoring.coreos.com/v1/namespaces/{}/prometheusrules",
    "Service": "/api/v1/namespaces/{}/services",
}
ANSWER_SECONDS = 20
REQUESTED = "reconcile.fluxcd.io/requestedAt"


class Api:
    """With the client's own address and credentials."""

    def __init__(self, kube: Any) -> None:
        known = kube.client.Configuration.get_default_copy()
        self._host, self._known = known.host, known
        self._pool = urllib3.PoolManager(
            ca_certs=known.ssl_ca_cert, cert_file=known.cert_file, key_file=known.key_file, timeout=ANSWER_SECONDS,
            assert_hostname=known.assert_hostname,
        )  # fmt: skip

    def ask(self, method: str, path: str, body: Any = None, query: Mapping[str, str] | None = None) -> Any:
        """None where there is no such thing."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers = {"Accept": "application/json", "Content-Type": kind}
        if token := self._known.get_api_key_with_prefix("authorization"):
            headers["Authorization"] = token
        answer = self._pool.request(
            method, f"{self._host}{path}{'?' if query else ''}{urlencode(query or {})}", headers=headers,
            body=json.dumps(body) if body is not None else None,
        )  # fmt: skip
        if answer.status == http.client.NOT_FOUND:
            return None
        assert answer.status < http.client.BAD_REQUEST, (answer.status, method, path, answer.data.decode()[:2000])
        return json.loads(answer.data)

    def get(self, kind: str, namespace: str, name: str) -> Any:
        return self.ask("GET", f"{PATHS[kind].format(namespace)}/{name}")

    def all(self, kind: str, namespace: str = "") -> list[Any]:
        """Of every namespace unless one is named; none where the kind is not known."""
        path = PATHS[kind].format(namespace) if namespace else PATHS[kind].replace("/namespaces/{}", "")
        return list((self.ask("GET", path) or {}).get("items", ()))

    def patch(self, kind: str, namespace: str, name: str, change: Mapping[str, Any]) -> Any:
        return self.ask("PATCH", f"{PATHS[kind].format(namespace)}/{name}", change)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        self.ask("DELETE", f"{PATHS[kind].format(namespace)}/{name}")

    def behind(self, service: str, path: str, query: Mapping[str, str] | None = None) -> Any:
        """service: NAMESPACE/NAME:PORT."""
        namespace, _, name = service.partition("/")
        return self.ask("GET", f"/api/v1/namespaces/{namespace}/services/{name}/proxy{path}", query=query)


def condition(item: Any, kind: str = "Ready") -> tuple[str, str]:
    """Its status and message; two empty texts where there is none, or it is about an older generation."""
    status = (item or {}).get("status", {})
    if not item or status.get("observedGeneration", 0) < item["metadata"]["generation"]:
        return "", ""
    found = [each for each in status.get("conditions", ()) if each["type"] == kind]
    return (found[0]["status"], found[0]["message"]) if found else ("", "")
