"""Destinations that cannot be are refused with the place where they were given."""

from pathlib import Path

import pytest
from tests.support import certificates

from agent.__main__ import sinks
from agent.configuration import load
from bpfleet.errors import SettingsError

KNOWN = {"traffic": True}
OTLP = "sinks:\n  jsonl:\n    path: ''\n  otlp:\n"
SYSLOG = "sinks:\n  jsonl:\n    path: ''\n  syslog:\n"


def read(folder: Path, text: str) -> list[str]:
    """The names of the sinks that are made."""
    file = folder / "agent.yaml"
    file.write_text(text.replace("FOLDER", str(folder)))
    made = sinks(load(file, {}, {}, KNOWN))
    for each in made:
        each.close()
    return [each.name for each in made]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        (OTLP + "    endpoint: localhost:4317\n", 5, "must be http://HOST:PORT, https://HOST:PORT"),
        (OTLP + "    endpoint: http://user:secret@otel:4317\n", 5, "no user or password"),
        (OTLP + "    endpoint: http://otel:70000\n", 5, "has a port that there is none"),
        (
            OTLP + "    endpoint: http://otel:4317/path\n    protocol: grpc\n",
            5,
            "has a path, which sinks.otlp.protocol ('grpc'",
        ),
        (OTLP + "    endpoint: http://otel:4318/x?y\n    protocol: http/protobuf\n", 5, "has more than a path"),
        (OTLP + "    protocol: http\n", 5, "must be one of grpc, http/protobuf"),
        (OTLP + "    ca_file: /ca\n    endpoint: http://otel:4317\n", 5, "has no use with sinks.otlp.endpoint"),
        (OTLP + "    key_file: /key\n    endpoint: https://otel:4317\n", 5, "go together: both, or none"),
        (OTLP + "    token_file: /token\n    endpoint: http://otel:4317\n", 5, "would be sent in plain text"),
        (OTLP + "    token_file: /token\n    endpoint: http://127.0.0.1.example:1\n", 5, "would be sent in plain text"),
        (OTLP + "    token_file: /token\n", 5, "has no use with sinks.otlp.endpoint ('', the default)"),
        (OTLP + "    token_file: FOLDER/none\n    endpoint: https://otel\n", 5, "cannot be read"),
        (OTLP + "    ca_file: FOLDER/agent.yaml\n    endpoint: https://otel\n", 5, "no certificates"),
        (SYSLOG + "    address: udp://siem:514\n", 5, "must be tcp://HOST:PORT, tls://HOST:PORT"),
        (SYSLOG + "    address: tcp://siem:0\n", 5, "has a port that there is none"),
        (SYSLOG + "    certificate_file: /x\n    key_file: /y\n    address: tcp://siem\n", 5, "it is not TLS"),
        (SYSLOG + "    structured_data_id: me\n", 5, "must be NAME@NUMBER"),
        (SYSLOG + "    facility: local8\n", 5, "is not one of them"),
        ("sinks:\n  jsonl:\n    path: /x\n  file:\n    path: /x\n", 5, "is the same file as sinks.jsonl.path"),
        ("sinks:\n  file:\n    path: x\n", 3, "must be an absolute path, or empty"),
    ],
)
def test_what_cannot_be_is_refused_with_file_and_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(tmp_path, text)
    assert f"agent.yaml:{line}" in str(caught.value) and problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("", ["jsonl"]),
        (OTLP + "    endpoint: http://otel\n", ["otlp"]),
        (OTLP + "    endpoint: https://[2001:db8::1]:4318/otlp\n    protocol: http/protobuf\n", ["otlp"]),
        (OTLP + "    endpoint: http://127.0.0.9:1\n    token_file: FOLDER/token\n", ["otlp"]),
        (OTLP + "    endpoint: http://[::1]:1\n    token_file: FOLDER/token\n", ["otlp"]),
        (OTLP + "    endpoint: http://otel:1\n    token_file: FOLDER/token\n    plain_token: anywhere\n", ["otlp"]),
        (OTLP + "    endpoint: https://otel\n    ca_file: FOLDER/server.crt\n", ["otlp"]),
        (SYSLOG + "    address: tls://siem.example\n    ca_file: FOLDER/server.crt\n", ["syslog"]),
        ("sinks:\n  file:\n    path: /x\n  syslog:\n    address: tcp://siem:601\n", ["jsonl", "file", "syslog"]),
    ],
)
def test_what_can_be_is_made(tmp_path: Path, text: str, made: list[str]) -> None:
    certificates.make(tmp_path)
    (tmp_path / "token").write_text("secret\n")
    assert read(tmp_path, text) == made
