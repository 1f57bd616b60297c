"""Receivers of events that are nobody's of ours: an OpenTelemetry Collector, built from its Go modules, and rsyslog."""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.certificates import Pair
from tests.support.debians import cache

SOURCE = Path(__file__).parents[1] / "sinks" / "collector"
HOST = "127.0.0.1"
BUILD_SECONDS = 1800.0
START_SECONDS = 30.0
PATIENCE_SECONDS = 30.0

COLLECTOR = """
receivers:
  otlp/plain:
    protocols:
      grpc: {{endpoint: "{host}:{ports[grpc]}"}}
      http: {{endpoint: "{host}:{ports[http]}"}}
  otlp/tls:
    protocols:
      grpc: {{endpoint: "{host}:{ports[grpc_tls]}", tls: &tls {{cert_file: {server.chain}, key_file: {server.key},
             client_ca_file: {client.chain}}}}}
      http: {{endpoint: "{host}:{ports[http_tls]}", tls: *tls}}
  syslog/plain:
    protocol: rfc5424
    enable_octet_counting: true
    tcp: {{listen_address: "{host}:{ports[syslog]}"}}
exporters:
  file: {{path: "{folder}/rows.json", append: true, flush_interval: 50ms}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: warn}}}}
  pipelines:
    logs: {{receivers: [otlp/plain, otlp/tls, syslog/plain], exporters: [file]}}
"""

RSYSLOG = """
global(workDirectory="{folder}" net.enableDNS="off" maxMessageSize="64k" debug.onShutdown="off"
       defaultNetstreamDriverCAFile="{client.chain}"
       defaultNetstreamDriverCertFile="{server.chain}" defaultNetstreamDriverKeyFile="{server.key}")
module(load="builtin:omfile")
module(load="imtcp" streamDriver.name="{driver}" streamDriver.mode="{mode}" streamDriver.authMode="{auth}")
template(name="row" type="string"
  string="%pri-text%\\t%protocol-version%\\t%timestamp:::date-rfc3339%\\t%hostname%\\t%app-name%\\t%msgid%\\t%structured-data%\\t%msg%\\n")
ruleset(name="all") {{ action(type="omfile" file="{folder}/rows" template="row" asyncWriting="off") }}
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="all")
"""


def binary() -> Path:
    """Built once for these sources, which takes some minutes. Raises OSError in one line."""
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in ("main.go", "go.mod", "go.sum")))
    kept = cache() / f"collector-{digest.hexdigest()[:12]}"
    if kept.exists():
        return kept
    if not shutil.which("go"):
        raise OSError("the OpenTelemetry Collector is not built, and there is no Go to build it")
    folder = Path(tempfile.mkdtemp(dir=cache()))
    try:
        command = ["go", "build", "-mod=readonly", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "collector"), "."]
        environment = {**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
        built = subprocess.run(
            command, cwd=SOURCE, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS
        )
        if built.returncode:
            why = (built.stderr.strip().splitlines() or ["go build fails"])[-1]
            raise OSError(f"the OpenTelemetry Collector cannot be built: {why}")
        (folder / "collector").rename(kept)
    except subprocess.TimeoutExpired as error:
        raise OSError(f"the OpenTelemetry Collector is not built after {BUILD_SECONDS:.0f} s") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return kept


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def answers(port: int, host: str = HOST) -> bool:
    with socket.socket() as client:
        return not client.connect_ex((host, port))


class Server:
    """A process that listens on ports of this machine."""

    def __init__(self, command: list[str], ports: list[int], log: Path, host: str = HOST) -> None:
        self._command, self._ports, self._log, self._host = command, ports, log, host
        self.start()

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        for port in self._ports:
            while not answers(port, self._host):
                assert self.process.poll() is None and time.monotonic() < end, self._log.read_text()
                time.sleep(0.02)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """With everything that it has taken written down."""
        self.process.terminate()
        self.process.wait(PATIENCE_SECONDS)


class Row(NamedTuple):
    """A log record as the collector has written it, with its resource's attributes."""

    name: str
    time_ns: int
    severity: str
    resource: Mapping[str, Any]
    attributes: Mapping[str, Any]


class Collector(Server):
    """server: what it shows; client: whose certificates it takes."""

    def __init__(self, folder: Path, server: Pair, client: Pair, host: str = HOST) -> None:
        names = ("grpc", "http", "grpc_tls", "http_tls", "syslog")
        self.ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._rows = folder / "rows.json"
        configuration = folder / "collector.yaml"
        values = {"ports": self.ports, "server": server, "client": client, "folder": folder, "host": host}
        configuration.write_text(COLLECTOR.format(**values))
        command = [str(binary()), "--config", f"file:{configuration}"]
        super().__init__(command, list(self.ports.values()), folder / "collector.log", host)

    def rows(self, workload: str, count: int) -> list[Row]:
        """Waits until there are so many of this workload; then whether there are more is told by the answer."""
        return awaited(lambda: [row for row in self._read() if row.resource.get("service.name") == workload], count)

    def syslog_rows(self, workload: str, count: int) -> list[Mapping[str, Any]]:
        """The attributes of what came as syslog, with the structured data of our id under `data`."""

        def found() -> list[Mapping[str, Any]]:
            rows = [row.attributes for row in self._read() if "structured_data" in row.attributes]
            told = [{**row, "data": next(iter(row["structured_data"].values()))} for row in rows]
            return [row for row in told if row["data"].get("bpfleet.workload.name") == workload]

        return awaited(found, count)

    def _read(self) -> Iterator[Row]:
        if not self._rows.exists():
            return
        for line in self._rows.read_bytes().split(b"\n")[:-1]:
            for group in json.loads(line)["resourceLogs"]:
                resource = attributes(group["resource"].get("attributes", []))
                for scope in group["scopeLogs"]:
                    for each in scope["logRecords"]:
                        yield Row(
                            each.get("eventName", ""),
                            int(each["timeUnixNano"]),
                            each["severityText"],
                            resource,
                            attributes(each.get("attributes", [])),
                        )


def attributes(found: list[dict[str, Any]]) -> dict[str, Any]:
    """With their types, from OTLP's JSON."""
    return {each["key"]: _value(each["value"]) for each in found}


def _value(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items()
    if kind == "kvlistValue":
        return attributes(content["values"])
    return int(content) if kind == "intValue" else content


class Rsyslog(Server):
    """server: what it shows, and whose certificates it takes, over TLS; without it, TCP."""

    FIELDS = ("priority", "version", "time", "host", "application", "message_id", "data", "message")

    def __init__(self, folder: Path, server: Pair | None = None, client: Pair | None = None) -> None:
        (self.port,) = free_ports(1)
        self._rows = folder / "rows"
        nobody = Pair(Path(), Path())
        text = RSYSLOG.format(
            folder=folder,
            port=self.port,
            server=server or nobody,
            client=client or nobody,
            driver="ossl" if server else "ptcp",
            mode=1 if server else 0,
            auth="x509/certvalid" if server else "anon",
        )
        if not server:
            text = "\n".join(line for line in text.splitlines() if "defaultNetstreamDriver" not in line)
            text = text.replace('debug.onShutdown="off"', 'debug.onShutdown="off")')
        configuration = folder / "rsyslog.conf"
        configuration.write_text(text)
        command = ["/usr/sbin/rsyslogd", "-n", "-f", str(configuration), "-i", str(folder / "pid")]
        super().__init__(command, [self.port], folder / "rsyslog.log")

    def rows(self, count: int) -> list[dict[str, str]]:
        return awaited(self._read, count)

    def _read(self) -> list[dict[str, str]]:
        if not self._rows.exists():
            return []
        lines = self._rows.read_text().split("\n")[:-1]
        return [dict(zip(self.FIELDS, line.split("\t"), strict=True)) for line in lines]


def awaited(read: Any, count: int) -> Any:
    """What is there as soon as there are so many, or what there is when that takes too long."""
    end = time.monotonic() + PATIENCE_SECONDS
    while len(found := read()) < count and time.monotonic() < end:
        time.sleep(0.05)
    return found
