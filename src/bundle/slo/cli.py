"""`bpfleet slo`: objectives of namespaces, as rules and in words."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from bpfleet.cli import OK, Command
from bpfleet.errors import BundleError


def _slo(arguments: Sequence[str]) -> int:
    wanted = _parse(arguments)
    return _generate(wanted) if wanted.what == "generate" else _explain(wanted)


def _generate(wanted: argparse.Namespace) -> int:
    from bundle import places
    from bundle.slo import objectives, written

    root = places.root(wanted.root)
    texts = written.texts(objectives.read(root / objectives.FILE))
    stale = [path for path, text in texts.items() if written.now(root / path) != text]
    if wanted.check:
        if stale:
            raise BundleError("\n".join(f"{path}: not what bpfleet slo generate writes: run it" for path in stale))
        print(f"{len(texts)} files are up to date")
        return OK
    for path in stale:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(texts[path], "utf-8")
        print(f"{path} written")
    if not stale:
        print(f"{len(texts)} files were up to date")
    return OK


def _explain(wanted: argparse.Namespace) -> int:
    from bundle import places
    from bundle.slo import explaining, objectives

    root = places.root(wanted.root)
    stated = objectives.read(root / objectives.FILE)
    if wanted.profile not in stated.windows:
        raise BundleError(f"--profile {wanted.profile}: no such profile; there are {', '.join(stated.windows)}")
    if wanted.tier is not None:
        chosen = explaining.by_word(stated, wanted.tier)
    elif wanted.namespaces is not None:
        chosen = explaining.by_file(stated, wanted.namespace, wanted.namespaces)
    elif wanted.kubeconfig is not None:
        chosen = explaining.by_cluster(stated, wanted.namespace, wanted.kubeconfig)
    else:
        chosen = explaining.by_default(stated)
    for line in explaining.lines(stated, wanted.namespace, chosen, wanted.profile):
        print(line)
    return OK


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("bpfleet slo", description=SLO.help)
    what = parser.add_subparsers(dest="what", required=True)
    root = argparse.ArgumentParser(add_help=False)
    root.add_argument("--root", type=Path, default=Path(), help="directory in the bundle (default: this one)")

    generate = what.add_parser(
        "generate", parents=[root], help="write the rules of policies/slo and of anomalies from the objectives"
    )
    generate.add_argument("--check", action="store_true", help="write nothing, only say whether they are up to date")

    explain = what.add_parser("explain", parents=[root], help="tier, objectives, budget and alerts of a namespace")
    explain.add_argument("namespace")
    explain.add_argument("--profile", default="default", help="windows of objectives.yaml (default: default)")
    source = explain.add_mutually_exclusive_group()
    source.add_argument("--tier", help="as if its label said so")
    source.add_argument("--namespaces", type=Path, metavar="FILE", help="Namespace objects in YAML, for its labels")
    source.add_argument("--kubeconfig", type=Path, metavar="FILE", help="ask the cluster for its labels")
    return parser.parse_args(arguments)


SLO = Command("Objectives of namespaces: write their rules, explain what applies.", _slo)
