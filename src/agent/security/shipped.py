"""Where the policies are that come with bpfleet: in the installed package, or in its source tree."""

from pathlib import Path


def directory() -> Path:
    installed = Path(__file__).resolve().parents[1] / "policies"
    return installed if installed.is_dir() else Path(__file__).resolve().parents[3] / "policies" / "security"
