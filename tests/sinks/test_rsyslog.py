"""What the sink `syslog` sends is what rsyslog and the collector have received: each event once, field by field."""

import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support import marks, sending
from tests.support.certificates import Pair
from tests.support.receivers import Collector, Rsyslog
from tests.support.sending import EVENT, event
from tests.unit.hostile import STRINGS

from bpfleet.events import Record
from bpfleet.times import rfc3339

OPENSSL_DRIVER = "/usr/share/doc/rsyslog-openssl"
ELEMENT = re.compile(r"\[(?P<id>[^ ]+)(?P<parameters>.*)\]")
PARAMETER = re.compile(r' (?P<name>[!-~]{1,32})="(?P<value>(?:[^"\\\]]|\\["\\\]])*)"')
pytestmark = marks.needs("rsyslogd")


def hostile(workload: str) -> list[Record]:
    return [event(number, workload, text=text, share=number / 8) for number, text in enumerate(STRINGS)]


def fields(data: str) -> dict[str, str]:
    """Of structured data, as RFC 5424 says it is read."""
    element = ELEMENT.fullmatch(data)
    assert element and element["id"] == "bpfleet@32473", data
    found = PARAMETER.findall(element["parameters"])
    assert "".join(f' {name}="{value}"' for name, value in found) == element["parameters"]
    return {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in found}


def read(values: Mapping[str, str]) -> dict[str, str]:
    """Each value as it was: the inside of a JSON string, but for the quotation marks."""
    return {name: json.loads('"' + value.replace('"', '\\"') + '"') for name, value in values.items()}


def expected(record: Record) -> dict[str, str]:
    own = {name: value if isinstance(value, str) else json.dumps(value) for name, value in record.attributes.items()}
    return {**own, **record.resource, "time": rfc3339(record.time_ns), "event.name": record.name}


def check(rows: list[dict[str, str]], events: list[Record]) -> None:
    assert [read(fields(row["data"])) for row in rows] == [expected(each) for each in events]
    for row, each in zip(rows, events, strict=True):
        assert row["priority"] == "local0.info" and row["version"] == "1"
        assert row["time"] == rfc3339(each.time_ns)[:26] + "+00:00" or row["time"] == rfc3339(each.time_ns)[:26] + "Z"
        assert (row["host"], row["application"], row["message_id"]) == ("node-1", "bpfleet", EVENT)
        assert row["message"].strip() == EVENT


def test_over_tcp_every_event_is_there_once_with_every_field_as_it_was(tmp_path: Path) -> None:
    receiver, events = Rsyslog(tmp_path), hostile("web")
    try:
        with sending.sending("syslog", address=f"tcp://127.0.0.1:{receiver.port}", max_bytes=65536) as to:
            to.put(*events)
            assert to.settled() == {"delivered": len(events)}
            check(receiver.rows(len(events)), events)
    finally:
        receiver.stop()


@pytest.mark.skipif(not Path(OPENSSL_DRIVER).exists(), reason="not installed: rsyslog-openssl")
def test_over_tls_with_certificates_on_both_sides(tmp_path: Path, server: Pair, client: Pair) -> None:
    receiver, events = Rsyslog(tmp_path, server, client), hostile("web")
    files = {"ca_file": server.chain, "certificate_file": client.chain, "key_file": client.key}
    options = {name: str(file) for name, file in files.items()}
    address = f"tls://localhost:{receiver.port}"
    try:
        with sending.sending("syslog", address=address, max_bytes=65536, **options) as to:
            to.put(*events)
            assert to.settled() == {"delivered": len(events)}
            check(receiver.rows(len(events)), events)
        with sending.sending("syslog", address=address, **options | {"ca_file": str(client.chain)}) as to:
            to.put(event(1, "nobody"))
            to.postponed()
        assert len(receiver.rows(len(events))) == len(events)
    finally:
        receiver.stop()


def test_a_receiver_that_was_away_gets_everything_once_and_in_order(tmp_path: Path) -> None:
    receiver = Rsyslog(tmp_path)
    try:
        with sending.sending("syslog", address=f"tcp://127.0.0.1:{receiver.port}") as to:
            to.put(*(event(number) for number in range(100)))
            assert to.settled() == {"delivered": 100}
            receiver.rows(100)  # its kernel has them: it must read them before it goes
            receiver.stop()
            to.put(*(event(number) for number in range(100, 1_307)))
            to.postponed()
            receiver.start()
            assert to.settled() == {"delivered": 1_307}
        rows = receiver.rows(1_307)
        assert [int(fields(row["data"])["n"]) for row in rows] == list(range(1_307))
    finally:
        receiver.stop()


def test_the_collectors_receiver_reads_the_same(collector: Collector) -> None:
    events = [each for each in hostile("syslog") if len(str(each.attributes["text"])) < 1024]
    with sending.sending("syslog", address=f"tcp://127.0.0.1:{collector.ports['syslog']}") as to:
        to.put(*events)
        assert to.settled() == {"delivered": len(events)}
    rows = collector.syslog_rows("syslog", len(events))
    found = sorted((read(row["data"]) for row in rows), key=lambda row: int(row["n"]))
    assert found == [expected(each) for each in events]
    assert {(row["msg_id"], row["appname"], row["hostname"]) for row in rows} == {(EVENT, "bpfleet", "node-1")}
