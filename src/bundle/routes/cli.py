"""`bpfleet routes explain | show | check`: where alerts go."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bpfleet.cli import Command
from bpfleet.errors import BundleError
from bundle import places, tools
from bundle.routes import config, raw
from bundle.routes import templates as missing
from bundle.routes.explain import explain, labels

TEMPLATES = Path("infrastructure/alertmanager/templates")


def _main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bpfleet routes", description=ROUTES.help)
    parser.add_argument("--file", type=Path, help=f"the AlertmanagerConfig (default: the bundle's {config.FILE})")
    actions = parser.add_subparsers(dest="action", required=True)
    told = actions.add_parser("explain", help="who is told of an alert, when, and what could mute it")
    told.add_argument("label", nargs="*", help="NAME=VALUE, e.g. alertname=AgentDown severity=critical")
    actions.add_parser("show", help="Alertmanager's own YAML, as the operator makes it; Secrets are placeholders")
    actions.add_parser("check", help="have amtool check it, with the templates")
    options = parser.parse_args(arguments)
    file = options.file or places.root(Path.cwd()) / config.FILE
    read = config.read(file)
    if options.action == "explain":
        print(explain(read, labels(options.label)))
        return 0
    templates = sorted((file.parent / TEMPLATES.name).glob("*.tmpl"))
    text = raw.text(raw.translate(read, [each.resolve() for each in templates]))
    if options.action == "show":
        print(text, end="")
    else:
        if found := missing.problems(file, templates):
            raise BundleError("\n".join(found))
        check(text)
        print(f"ok: {len(read.receivers)} receivers, {len(templates)} files of templates")
    return 0


def check(text: str) -> None:
    """By Alertmanager's own tool. Raises BundleError with its complaint."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "alertmanager.yml"
        file.write_text(text, "utf-8")
        said = tools.ask("amtool", "check-config", file)
    if said.returncode:
        complaint = " ".join((said.stdout + said.stderr).replace(str(file), "alertmanager.yml").split())
        raise BundleError(f"amtool refuses the configuration: {complaint}")


ROUTES = Command("Where alerts go: explain LABELS, show (Alertmanager's own YAML), check.", _main)
