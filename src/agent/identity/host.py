"""Who is it outside Kubernetes? A container, a user, a systemd unit, else the cgroup's path: in that order, because
Docker's scopes and a user's services are units too."""

import http.client
import json
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.identity import addresses, model, runtimes
from agent.identity.model import Owner
from bpfleet import names

SHORT_ID = 12
"""Digits of a container id that Docker's own tools show."""

MAX_CONFIG_BYTES = 4 << 20
"""Docker's description of one container has some 10 kB; more is not read."""

SOCKET_SECONDS = 1.0
"""Longest wait for Docker's API: counting waits meanwhile."""

RETRY_SECONDS = 60.0
"""A container that Docker could not name is asked for again after this long."""

_USER = re.compile(r"user-[0-9]+\.slice", re.ASCII)
_ID = re.compile(r"[0-9a-f]{64}", re.ASCII)


class Docker:
    """Names and images of Docker's containers: from its files, or from its API where the files lie elsewhere."""

    def __init__(
        self,
        root: Path = Path("/var/lib/docker"),
        api: Path = Path("/run/docker.sock"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._root = root
        self._api = api
        self._clock = clock
        self._silent_until = float("-inf")

    def container(self, container_id: str) -> tuple[str, str] | None:
        """Name and image; None where Docker does not know it or does not answer."""
        if not _ID.fullmatch(container_id):
            return None
        found = self._from_files(container_id) or self._from_api(container_id)
        try:
            return (model.text(found["Name"]).lstrip("/"), model.text(found["Config"]["Image"])) if found else None
        except (KeyError, TypeError):
            return None

    def _from_files(self, container_id: str) -> Any:
        try:
            with open(self._root / "containers" / container_id / "config.v2.json", "rb") as file:
                return json.loads(file.read(MAX_CONFIG_BYTES))
        except (OSError, ValueError):
            return None

    def _from_api(self, container_id: str) -> Any:
        """A daemon that does not answer costs a drain one wait a minute, however many containers there are."""
        if self._clock() < self._silent_until:
            return None
        connection = _UnixConnection(self._api)
        try:
            connection.request("GET", f"/containers/{container_id}/json")
            response = connection.getresponse()
            return json.loads(response.read(MAX_CONFIG_BYTES)) if response.status == 200 else None
        except TimeoutError:
            self._silent_until = self._clock() + RETRY_SECONDS
            return None
        except (OSError, ValueError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=SOCKET_SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SOCKET_SECONDS)
        self.sock.connect(str(self._path))


class Host:
    """Used from one thread. docker: None where it is not to be asked. node: this machine's name."""

    def __init__(self, docker: Docker | None, clock: Callable[[], float], node: str = "") -> None:
        self._docker = docker
        self._clock = clock
        self._node = node
        self._containers: dict[str, tuple[str, str]] = {}
        self._asked: dict[str, float] = {}

    def owner(self, path: str, ref: runtimes.ContainerRef | None) -> Owner:
        """path: from the v2 mount on; ref: what runtimes.parse says of it."""
        if ref and ref.container_id:
            return self._container(ref)
        name, kind, key = unit(path)
        return Owner(names.HOST_NAMESPACE, workload=name, workload_kind=kind, node=self._node, key=key)

    def forget(self, living: set[str]) -> None:
        """Drops what is known of containers other than those whose ids are given."""
        self._containers = {key: value for key, value in self._containers.items() if key in living}
        self._asked = {key: value for key, value in self._asked.items() if key in living}

    def _container(self, ref: runtimes.ContainerRef) -> Owner:
        name, image = self._described(ref.container_id)
        return Owner(
            names.HOST_NAMESPACE,
            container=name,
            workload=name,
            workload_kind="Container",
            image=image,
            node=self._node,
            key=ref.container_id,
        )

    def _described(self, container_id: str) -> tuple[str, str]:
        known, now = self._containers.get(container_id), self._clock()
        if known is None and self._docker and now - self._asked.get(container_id, now - RETRY_SECONDS) >= RETRY_SECONDS:
            self._asked[container_id] = now
            known = self._docker.container(container_id)
            if known:
                self._containers[container_id] = known
        return known or (container_id[:SHORT_ID], "")


def unit(path: str) -> tuple[str, str, str]:
    """Name and kind of what systemd runs in a cgroup, and the path of the part that has the name."""
    segments = [segment for segment in path.split("/") if segment]
    for position, segment in enumerate(segments):
        if _USER.fullmatch(segment) or segment.endswith((".service", ".scope", ".socket", ".mount", ".swap")):
            return model.text(segment), "SystemdUnit", "/" + "/".join(segments[: position + 1])
        if not segment.endswith(".slice"):
            break
    if segments and all(segment.endswith(".slice") for segment in segments):
        return model.text(segments[-1]), "SystemdUnit", path
    return model.text(path) or "/", "Cgroup", path


def own_addresses(proc: Path) -> set[bytes]:
    """This machine's own addresses as 16 bytes. proc: a /proc whose process 1 lives in the machine's network."""
    return _inet(_lines(proc / "1/net/fib_trie")) | _inet6(_lines(proc / "1/net/if_inet6"))


def _inet(lines: list[str]) -> set[bytes]:
    found: set[bytes] = set()
    last = ""
    for line in lines:
        words = line.split()
        if words[:1] == ["|--"] and len(words) > 1:
            last = words[1]
        elif words == ["/32", "host", "LOCAL"]:
            found.update(addresses.parse_all([last]))
    return found


def _inet6(lines: list[str]) -> set[bytes]:
    return {bytes.fromhex(line.split()[0]) for line in lines if line.strip()}


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("ascii", "replace").splitlines()
    except OSError:
        return []
