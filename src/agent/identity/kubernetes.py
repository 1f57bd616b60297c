"""The door to the Kubernetes API: the official client (`kubernetes`) for configuration, credentials, TLS and requests.

Answers are read as raw JSON, not as model objects, and of the client only what that takes is imported: in a cluster 3
MiB of resident memory instead of 20 (its package imports every API, OAuth and WebSockets).
"""

import importlib
import importlib.util
import json
import os
import random
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from agent.identity.listings import Json, Listing
from agent.identity.watches import Expired, Forbidden, Refused, Resource, Silent, Unauthorized
from bpfleet.errors import ClusterError

CONNECT_SECONDS = 5.0
LIST_SECONDS = 30.0
"""Longest silence within a list."""

WATCH_SECONDS = (240, 300)
"""The server ends a watch after a random time between these, so that 500 agents do not come back at once."""

SILENCE_SECONDS = 120.0
"""Longest silence within a watch: the server sends a bookmark each minute, give or take half of one."""

CHUNK_BYTES = 64 << 10
MAX_EVENT_BYTES = 8 << 20
"""etcd refuses objects above 1.5 MB."""

MAX_RETRY_AFTER_SECONDS = 300.0
MAX_ERROR_BYTES = 4096

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_BARE = ("kubernetes", "kubernetes.config", "kubernetes.utils")


def is_in_cluster(environment: Mapping[str, str] = os.environ, token: Path = SERVICE_ACCOUNT) -> bool:
    return bool(environment.get("KUBERNETES_SERVICE_HOST")) and token.exists()


class KubernetesApi:
    """See watches.Api. kubeconfig: a file; empty: the pod's service account. Used by several threads."""

    def __init__(self, kubeconfig: str = "") -> None:
        self._load = _from_kubeconfig(kubeconfig) if kubeconfig else _from_service_account()
        self._connection: tuple[Any, Any] | None = None

    def list(self, resource: Resource, token: str) -> Listing:
        """From the server's cache (resourceVersion=0): a list by each node of a fleet must not reach etcd."""
        query = {"continue": token} if token else {"resourceVersion": "0"}
        return Listing(self._get(resource, query, LIST_SECONDS))

    def watch(self, resource: Resource, version: str) -> Iterator[Json]:
        """Returns when the server has begun to answer."""
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(random.randint(*WATCH_SECONDS)),
        }
        return events(self._get(resource, query, SILENCE_SECONDS))

    def reconnect(self) -> None:
        """Reads token, certificates and address anew with the next request."""
        self._connection = None

    def _get(self, resource: Resource, query: dict[str, str], silence_seconds: float) -> Iterator[bytes]:
        if resource.field_selector:
            query["fieldSelector"] = resource.field_selector
        with _translated():
            configuration, client = self._connected()
            headers = {setting["key"]: setting["value"] for setting in configuration.auth_settings().values()}
            response = client.request(
                "GET",
                f"{configuration.host}{resource.path}?{urlencode(query)}",
                headers={"Accept": "application/json", **headers},
                _request_timeout=(CONNECT_SECONDS, silence_seconds),
            ).response
            if response.status != 200:
                raise _refusal(response)
        return _body(response)

    def _connected(self) -> tuple[Any, Any]:
        connection = self._connection
        if connection is None:
            configuration = self._loaded()
            configuration.retries = False  # watches.Watch repeats, with delays that the client does not know
            rest = importlib.import_module("kubernetes.client.rest")
            connection = self._connection = (configuration, rest.RESTClientObject(configuration))
        return connection

    def _loaded(self) -> Any:
        try:
            return self._load()
        except Exception as error:  # the client's own reading of a damaged kubeconfig raises whatever comes along
            raise ClusterError(f"Kubernetes credentials: {error}") from error


def _body(response: Any) -> Iterator[bytes]:
    with _translated():
        try:
            yield from response.stream(CHUNK_BYTES, decode_content=True)
        finally:
            response.close()


def events(chunks: Iterator[bytes]) -> Iterator[Json]:
    """One JSON object a line. Raises ClusterError."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        yield from (_event(line) for line in lines if line.strip())
        if len(rest) > MAX_EVENT_BYTES:
            raise ClusterError(f"an event of more than {MAX_EVENT_BYTES} bytes")


def _event(line: bytes) -> Json:
    try:
        event = json.loads(line)
    except ValueError as error:
        raise ClusterError(f"an event that is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise ClusterError("an event that is not an object")
    return event


def _refusal(response: Any) -> ClusterError:
    status, body = response.status, response.read(MAX_ERROR_BYTES, decode_content=True)
    response.close()
    try:
        message = f"{status} {json.loads(body)['message']}"
    except (ValueError, KeyError, TypeError):
        message = f"{status} {response.reason}"
    if status == 410:
        return Expired(message)
    if status == 401:
        return Unauthorized(message)
    if status in (403, 404):
        return Forbidden(message)
    after = str(response.headers.get("Retry-After") or "")
    seconds = float(after) if after.isascii() and after.isdigit() else 0.0
    return Refused(message, min(seconds, MAX_RETRY_AFTER_SECONDS))


@contextmanager
def _translated() -> Iterator[None]:
    """The client's and urllib3's errors, a token or certificate that cannot be read."""
    try:
        yield
    except ClusterError:
        raise
    except (OSError, ValueError) as error:
        raise ClusterError(f"Kubernetes API: {error}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("kubernetes", "urllib3"):
            raise
        if type(error).__name__ == "ReadTimeoutError":
            raise Silent(f"Kubernetes API: {error}") from error
        raise ClusterError(f"Kubernetes API: {error}") from error


def _from_kubeconfig(file: str) -> Callable[[], Any]:
    client, config = _import("kubernetes.client.configuration", "kubernetes.config.kube_config")

    def load() -> Any:
        configuration = client.Configuration()
        config.load_kube_config(config_file=file, client_configuration=configuration, persist_config=False)
        return configuration

    return load


def _from_service_account() -> Callable[[], Any]:
    """The client reads the token again each minute; the kubelet renews it long before it expires."""
    with _bare_packages():
        client, config, _ = _import(
            "kubernetes.client.configuration", "kubernetes.config.incluster_config", "kubernetes.client.rest"
        )

    def load() -> Any:
        configuration = client.Configuration()
        config.load_incluster_config(client_configuration=configuration)
        return configuration

    return load


def _import(*modules: str) -> list[Any]:
    try:
        return [importlib.import_module(module) for module in modules]
    except ImportError as error:
        raise ClusterError(f"the Python package `kubernetes` cannot be used: {error}") from error


@contextmanager
def _bare_packages() -> Iterator[None]:
    """Lets submodules be imported without their packages' __init__, which imports all of the client.

    Afterwards the packages are as if never imported, so that anybody else gets them whole."""
    bare = [name for name in _BARE if name not in sys.modules]
    for name in bare:
        spec = importlib.util.find_spec(name)
        if spec is None:
            raise ClusterError("the Python package `kubernetes` is not installed")
        module = types.ModuleType(name)
        module.__path__ = list(spec.submodule_search_locations or ())
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in bare:
            sys.modules.pop(name, None)
