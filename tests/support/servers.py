"""Real servers in a cgroup and a namespace, with the log that says what they served."""

import subprocess
import sys
import time
from pathlib import Path

from tests.support.cgroups import Cgroup

START_SECONDS = 10.0

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; user root;
events {{ worker_connections 4096; }}
http {{
  log_format served '$server_addr $status $body_bytes_sent $connection';
  access_log {folder}/access.log served;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  sendfile on; {directives}
  server {{ listen {port} backlog=4096; listen [::]:{port} backlog=4096; root {folder}/files;
    location = / {{ return 200 "hello\\n"; }} }}
}}
"""


class Nginx:
    """nginx on every address of its namespace; files are put into `folder`/files."""

    def __init__(self, cgroup: Cgroup, folder: Path, port: int = 80, directives: str = "") -> None:
        self.folder, self.port = folder, port
        (folder / "files").mkdir(parents=True, exist_ok=True)
        configuration = folder / "nginx.conf"
        configuration.write_text(NGINX.format(folder=folder, port=port, directives=directives))
        cgroup.start(["nginx", "-c", str(configuration), "-e", f"{folder}/error.log"])
        await_listener(cgroup, port)

    def file(self, name: str, size: int) -> None:
        with (self.folder / "files" / name).open("wb") as file:
            file.truncate(size)

    def served(self) -> list[list[str]]:
        """The access log: address, status, body bytes and connection number of each request."""
        return [line.split() for line in (self.folder / "access.log").read_text().splitlines()]


def await_listener(cgroup: Cgroup, port: int, transport: str = "tcp") -> None:
    """Wait until somebody in the cgroup's namespace (the host's, if it has none) listens on the port. Raises
    TimeoutError."""
    end = time.monotonic() + START_SECONDS
    argv = ["ss", "-Htln" if transport == "tcp" else "-Huln", f"sport = :{port}"]
    if cgroup.namespace:
        argv = cgroup.namespace.command(argv)
    passed = (cgroup.namespace.fd,) if cgroup.namespace else ()
    while not subprocess.run(argv, pass_fds=passed, check=True, capture_output=True).stdout:
        if time.monotonic() > end:
            raise TimeoutError(f"nobody listens on {port}")
        time.sleep(0.02)


THINKER = """
import http.server, sys, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(float(self.path[1:]))
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
http.server.ThreadingHTTPServer(("", int(sys.argv[1])), Slow).serve_forever()
"""


def start_thinker(cgroup: Cgroup, port: int) -> None:
    """A web server of Python's that answers after as many seconds as the path says."""
    cgroup.start([sys.executable, "-c", THINKER, str(port)])
    await_listener(cgroup, port)


def start_dnsmasq(cgroup: Cgroup) -> None:
    """A name server on port 53 that knows every name under .test."""
    cgroup.start(
        ["dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null", "--pid-file=",
         "--user=root", "--address=/test/192.0.2.99", "--address=/test/2001:db8::99", "--cache-size=0"]
    )  # fmt: skip
    await_listener(cgroup, 53, "udp")


def start_mariadb(cgroup: Cgroup, folder: Path, port: int = 3306) -> None:
    """A real MariaDB that lets everybody in and has no tables of its own, which is why it starts in a moment."""
    data = folder / "data"
    data.mkdir(parents=True)
    with (folder / "mariadb.log").open("w") as log:
        cgroup.start(
            ["mariadbd", "--no-defaults", f"--datadir={data}", "--user=root", f"--port={port}", "--bind-address=*",
             f"--socket={folder}/socket", f"--pid-file={folder}/pid", "--innodb-buffer-pool-size=8M",
             "--innodb-log-file-size=4M", "--skip-name-resolve", "--skip-grant-tables"],
            stderr=log,
        )  # fmt: skip
    await_listener(cgroup, port)


def start_redis(cgroup: Cgroup, folder: Path, port: int = 6379) -> None:
    """A real Redis that keeps nothing on disk."""
    folder.mkdir(parents=True, exist_ok=True)
    options = {"port": port, "bind": "*", "protected-mode": "no", "save": "", "appendonly": "no", "dir": folder}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    cgroup.start(["redis-server", *words, "--logfile", str(folder / "redis.log")])
    await_listener(cgroup, port)
