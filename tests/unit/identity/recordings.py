"""The recorded lists and streams as answers of a FakeApi."""

import json
from pathlib import Path

from agent.identity.fake import Answer
from agent.identity.listings import Json

FIXTURES = Path(__file__).parents[2] / "fixtures/kubernetes"
RESOURCES = ("pods", "nodes", "services", "endpointslices")


def listed(resource: str) -> bytes:
    return (FIXTURES / f"{resource}.list.json").read_bytes()


def watched(resource: str) -> list[Json]:
    return [json.loads(line) for line in (FIXTURES / f"{resource}.watch.jsonl").read_text("utf-8").splitlines()]


def answers() -> dict[str, list[Answer]]:
    return {resource: [listed(resource), watched(resource)] for resource in RESOURCES}
