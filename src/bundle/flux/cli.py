"""`bpfleet bundle`: the tree as Flux would apply it, what is wrong with it, and what a change of it changes."""

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bpfleet.cli import FAILED, OK, Command
from bpfleet.errors import BundleError
from bundle import places
from bundle.flux import clusters, differences, keys, rendering, validating
from bundle.flux.sources import Sources


def _bundle(arguments: Sequence[str]) -> int:
    parsed = _parser().parse_args(arguments)
    action: Callable[[argparse.Namespace], int] = parsed.action
    return action(parsed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="bpfleet bundle", description=BUNDLE.help)
    parser.add_argument(
        "--root", type=Path, default=Path(), help="a directory of the bundle (default: the current one)"
    )
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    render = actions.add_parser("render", help="print what Flux would apply to a cluster, in its order")
    render.add_argument("cluster")
    render.add_argument("--step", help="only this one")
    render.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="a variable of another value")
    render.set_defaults(action=_render)
    validate = actions.add_parser("validate", help="say what is wrong with the tree, by file and line")
    validate.add_argument("cluster", nargs="*", help="only these")
    validate.set_defaults(action=_validate)
    diff = actions.add_parser("diff", help="say what changes in each cluster since a revision of Git")
    diff.add_argument("base")
    diff.add_argument("cluster", nargs="*", help="only these")
    diff.set_defaults(action=_diff)
    listed = actions.add_parser("values-keys", help=f"find keys of {keys.CHART}'s values")
    listed.add_argument("word", nargs="?", default="", help="a part of the key")
    listed.set_defaults(action=_values_keys)
    return parser


def _render(parsed: argparse.Namespace) -> int:
    root = places.root(parsed.root)
    cluster = clusters.load(root, parsed.cluster)
    rendered = rendering.render(Sources(root), cluster, _variables(parsed.set))
    if rendered.complaints:
        raise BundleError("\n".join(map(str, sorted(set(rendered.complaints)))))
    if parsed.step is not None and parsed.step not in rendered.objects:
        raise BundleError(f"no step {parsed.step!r} in {cluster.name}; there are {', '.join(rendered.objects)}")
    for step, objects in rendered.objects.items():
        if parsed.step in (None, step):
            print(f"# step: {step}\n{rendering.dump(objects)}", end="")
    return OK


def _variables(given: Sequence[str]) -> Mapping[str, str]:
    pairs = [each.partition("=") for each in given]
    if wrong := [name for name, equals, _ in pairs if not (name and equals)]:
        raise BundleError(f"--set {wrong[0]}: has to be NAME=VALUE")
    return {name: value for name, _, value in pairs}


def _validate(parsed: argparse.Namespace) -> int:
    complaints = validating.validate(places.root(parsed.root), parsed.cluster)
    for each in complaints:
        print(each)
    print(f"{len(complaints)} complaints; not checked here: {validating.NOT_CHECKED}")
    return FAILED if complaints else OK


def _diff(parsed: argparse.Namespace) -> int:
    for line in differences.differences(places.root(parsed.root), parsed.base, parsed.cluster):
        print(line)
    return OK


def _values_keys(parsed: argparse.Namespace) -> int:
    known = keys.known()
    found = [(".".join(way), kind) for way, kind in known.types.items()]
    lines = [f"{way}\t{kind}" for way, kind in found if parsed.word.lower() in way.lower()]
    print("\n".join(lines) if lines else f"no key of {keys.CHART} {known.version} has {parsed.word} in it")
    return OK if lines else FAILED


BUNDLE = Command("Render, check and compare the tree that Flux reconciles", _bundle)
