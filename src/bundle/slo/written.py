"""The files that are generated, and what they should say."""

from pathlib import Path

from bundle.slo import anomalies, generating
from bundle.slo.objectives import DEFAULT, Objectives

DIRECTORY = Path("policies/slo")


def texts(objectives: Objectives) -> dict[Path, str]:
    """By path from the root. A profile has a directory of its own, because a kustomization reads nothing above it."""
    found = {
        DIRECTORY / ("" if profile == DEFAULT else profile) / "rules.yaml": profile for profile in objectives.windows
    }
    written = {path: generating.text(objectives, profile) for path, profile in found.items()}
    return written | {anomalies.FILE: anomalies.text()}


def now(file: Path) -> str | None:
    return file.read_text("utf-8") if file.is_file() else None
