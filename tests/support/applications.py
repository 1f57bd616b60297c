"""Real web servers of three kinds that answer /404 with 404, and say what they have answered."""

import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.support.cgroups import Cgroup
from tests.support.http_ask import STATUSES
from tests.support.servers import Nginx, await_listener

PROGRAMS = Path(__file__).with_name("programs")

Answers = dict[tuple[str, str], int]
"""By method and status."""

Server = Callable[[], Answers]
"""What it has answered by now, as it says itself."""


def count(log: Path, line: str) -> Answers:
    """line: a pattern whose two groups are method and status."""
    return dict(Counter((found[1], found[2]) for found in re.finditer(line, log.read_text(), re.M)))


def nginx(cgroup: Cgroup, folder: Path, port: int, directives: str = "", locations: str = "") -> Server:
    """An access log of its own for this port; what else the configuration has listens on the port after it."""
    log = folder / f"{port}.log"
    places = "".join(f"location = /{status} {{ return {status}; }}" for status in STATUSES if status != 200)
    Nginx(
        cgroup,
        folder,
        port + 1,
        f"log_format asked '$request_method $status'; keepalive_requests 1000000; {directives} "
        f"server {{ listen {port}; listen [::]:{port}; access_log {log} asked; "
        f"{locations or places + 'location = /200 { return 200 hello; }'} }}",
    )
    await_listener(cgroup, port)
    return lambda: count(log, r"^(\S+) (\d+)$")


def uvicorn(cgroup: Cgroup, folder: Path, port: int) -> Server:
    log = folder / f"{port}.log"
    words = ["--app-dir", str(PROGRAMS), "--host", "", "--port", str(port), "--no-use-colors", "asgi:app"]
    with log.open("w") as file:
        cgroup.start([sys.executable, "-m", "uvicorn", *words], stdout=file, stderr=file)
    await_listener(cgroup, port)
    return lambda: count(log, r'"(\S+) \S+ HTTP/1.1" (\d+)')


def node(cgroup: Cgroup, folder: Path, port: int) -> Server:
    log = folder / f"{port}.log"
    with log.open("w") as file:
        cgroup.start(["node", str(PROGRAMS / "answers.js"), str(port)], stdout=file, stderr=file)
    await_listener(cgroup, port)
    return lambda: count(log, r"^(\S+) (\d+)$")


KINDS = {"nginx": nginx, "uvicorn": uvicorn, "node": node}
