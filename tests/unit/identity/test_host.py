import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.identity import addresses, host, runtimes
from agent.identity.host import RETRY_SECONDS, Docker, Host
from agent.identity.model import Owner

ID = "c0ffee" + "0" * 58

UNITS = {
    "/": ("/", "Cgroup", "/"),
    "/system.slice/nginx.service": ("nginx.service", "SystemdUnit", "/system.slice/nginx.service"),
    "/system.slice/nginx.service/worker": ("nginx.service", "SystemdUnit", "/system.slice/nginx.service"),
    "/system.slice/system-getty.slice/getty@tty1.service": (
        "getty@tty1.service",
        "SystemdUnit",
        "/system.slice/system-getty.slice/getty@tty1.service",
    ),
    "/system.slice/dev-hugepages.mount": ("dev-hugepages.mount", "SystemdUnit", "/system.slice/dev-hugepages.mount"),
    "/init.scope": ("init.scope", "SystemdUnit", "/init.scope"),
    "/machine.slice": ("machine.slice", "SystemdUnit", "/machine.slice"),
    "/user.slice/user-1000.slice/session-3.scope": ("user-1000.slice", "SystemdUnit", "/user.slice/user-1000.slice"),
    "/user.slice/user-1000.slice/user@1000.service/app.slice/editor.service": (
        "user-1000.slice",
        "SystemdUnit",
        "/user.slice/user-1000.slice",
    ),
    "/tenants/a/web": ("/tenants/a/web", "Cgroup", "/tenants/a/web"),
    "/tenants/evil.service": ("/tenants/evil.service", "Cgroup", "/tenants/evil.service"),
    "/system.slice/plain": ("/system.slice/plain", "Cgroup", "/system.slice/plain"),
}


@pytest.mark.parametrize(("path", "expected"), UNITS.items())
def test_a_cgroup_is_a_unit_a_user_or_its_path(path: str, expected: tuple[str, str, str]) -> None:
    assert host.unit(path) == expected


def test_the_owner_of_a_unit_is_in_the_hosts_namespace(clock: Callable[[], float], tmp_path: Path) -> None:
    names = Host(Docker(tmp_path, tmp_path / "no.sock"), clock, node="box")
    owner = names.owner("/system.slice/nginx.service/w", None)
    assert owner == Owner(
        "_host",
        workload="nginx.service",
        workload_kind="SystemdUnit",
        node="box",
        key="/system.slice/nginx.service",
    )
    assert owner.labels == ("_host", "", "", "nginx.service", "SystemdUnit")


def write_config(root: Path, container_id: str, content: object) -> None:
    directory = root / "containers" / container_id
    directory.mkdir(parents=True)
    (directory / "config.v2.json").write_text(json.dumps(content))


def test_a_container_has_the_name_and_image_that_docker_wrote_down(tmp_path: Path, clock: Callable[[], float]) -> None:
    write_config(tmp_path, ID, {"ID": ID, "Name": "/web", "Config": {"Image": "nginx:1.29"}})
    names = Host(Docker(tmp_path, tmp_path / "no.sock"), clock, node="box")
    owner = names.owner(f"/docker/{ID}", runtimes.parse(f"/docker/{ID}"))
    assert owner == Owner("_host", "", "web", "web", "Container", "nginx:1.29", "box", key=ID)


@pytest.mark.parametrize("content", [{}, {"Name": "/x"}, {"Name": "/x", "Config": None}, [], "x", None])
def test_a_description_that_makes_no_sense_names_nobody(tmp_path: Path, content: object) -> None:
    write_config(tmp_path, ID, content)
    assert Docker(tmp_path, tmp_path / "no.sock").container(ID) is None


def test_dockers_api_names_what_its_files_do_not(tmp_path: Path) -> None:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "docker.sock"))
    listener.listen()
    asked: list[bytes] = []

    def serve() -> None:
        connection, _ = listener.accept()
        asked.append(connection.recv(4096))
        body = json.dumps({"Name": "/db", "Config": {"Image": "mariadb:11"}}).encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        connection.close()

    thread = threading.Thread(target=serve)
    thread.start()
    found = Docker(tmp_path, tmp_path / "docker.sock").container(ID)
    thread.join()
    listener.close()
    assert found == ("db", "mariadb:11")
    assert asked[0].startswith(f"GET /containers/{ID}/json HTTP/1.1\r\n".encode())


def test_a_daemon_that_does_not_answer_is_left_alone_for_a_minute(tmp_path: Path, clock, monkeypatch) -> None:
    monkeypatch.setattr(host, "SOCKET_SECONDS", 0.01)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))
        listener.listen()
        docker = Docker(tmp_path, tmp_path / "docker.sock", clock)
        assert [docker.container(f"{number:064x}") for number in range(5)] == [None] * 5
        clock.pass_by(RETRY_SECONDS)
        assert docker.container(ID) is None
        listener.setblocking(False)
        asked = 0
        while True:
            try:
                listener.accept()[0].close()
            except BlockingIOError:
                break
            asked += 1
        assert asked == 2


def test_docker_is_not_asked_when_it_is_switched_off(clock: Callable[[], float]) -> None:
    owner = Host(None, clock).owner(f"/docker/{ID}", runtimes.parse(f"/docker/{ID}"))
    assert (owner.workload, owner.workload_kind, owner.image) == (ID[:12], "Container", "")


class CountingDocker(Docker):
    asked = 0

    def container(self, container_id: str) -> tuple[str, str] | None:
        self.asked += 1
        return None


def test_a_container_that_docker_does_not_know_is_asked_for_once_a_minute(tmp_path: Path, clock) -> None:
    docker = CountingDocker()
    names = Host(docker, clock)
    ref = runtimes.parse(f"/docker/{ID}")
    assert [names.owner("", ref).workload for _ in range(23)] == [ID[:12]] * 23
    assert docker.asked == 1
    clock.pass_by(RETRY_SECONDS)
    names.owner("", ref)
    assert docker.asked == 2
    names.forget(set())
    names.owner("", ref)
    assert docker.asked == 3


FIB_TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.89.0.0/24 2 0 2
        |-- 10.89.0.1
           /32 host LOCAL
        |-- 10.89.0.255
           /32 link BROADCAST
Local:
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.1
           /32 host LOCAL
"""
IF_INET6 = """00000000000000000000000000000001 01 80 10 80       lo
fd000000000000000000000000000005 02 40 00 80     eth0
"""


def test_the_machines_own_addresses_come_from_its_routing_table(tmp_path: Path) -> None:
    (tmp_path / "1/net").mkdir(parents=True)
    (tmp_path / "1/net/fib_trie").write_text(FIB_TRIE)
    (tmp_path / "1/net/if_inet6").write_text(IF_INET6)
    expected = ["10.89.0.1", "127.0.0.1", "::1", "fd00::5"]
    assert host.own_addresses(tmp_path) == set(addresses.parse_all(expected))


def test_a_machine_without_ipv6_has_its_other_addresses(tmp_path: Path) -> None:
    (tmp_path / "1/net").mkdir(parents=True)
    (tmp_path / "1/net/fib_trie").write_text(FIB_TRIE)
    assert addresses.parse("10.89.0.1") in host.own_addresses(tmp_path)
    assert host.own_addresses(tmp_path / "absent") == set()
