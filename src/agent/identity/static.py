"""Names given by hand: a YAML list of cgroup path patterns and their labels, for hosts and tests. The first match wins.

- cgroup: /tenants/*/web        # * matches any characters, / too
  workload: web
  namespace: shop               # _host unless given
"""

import fnmatch
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from agent import files
from agent.identity import model
from agent.identity.model import Owner
from bpfleet import names
from bpfleet.errors import SettingsError

LABELS = (*names.IDENTITY, "image")


@dataclass(frozen=True)
class Rule:
    """cgroup: pattern of a path from the v2 mount on. labels: of LABELS."""

    cgroup: str
    labels: Mapping[str, str]

    def owner(self, path: str, node: str) -> Owner:
        namespace, pod, container, workload, kind, image = (self.labels.get(label, "") for label in LABELS)
        return Owner(namespace, pod, container, workload, kind, image, node, key=path)


def match(rules: Sequence[Rule], path: str) -> Rule | None:
    return next((rule for rule in rules if fnmatch.fnmatchcase(path, rule.cgroup)), None)


def read(file: Path) -> tuple[Rule, ...]:
    """Raises SettingsError with file and line."""
    try:
        root = yaml.compose(files.read(file).decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file}: not UTF-8: {error}") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingsError(f"{file}:{line}: {error.problem}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{file}: not valid YAML: {error}") from error
    if root is None:
        return ()
    if not isinstance(root, yaml.SequenceNode):
        raise _error(file, root, "a list of rules is expected")
    return tuple(_rule(file, node) for node in root.value)


def _rule(file: Path, node: yaml.Node) -> Rule:
    if not isinstance(node, yaml.MappingNode):
        raise _error(file, node, "a rule is a mapping with `cgroup` and `workload`")
    values: dict[str, str] = {}
    for key, value in node.value:
        if key.value not in ("cgroup", *LABELS):
            raise _error(file, key, f"unknown key {key.value!r}; allowed: cgroup, {', '.join(LABELS)}")
        if not isinstance(value, yaml.ScalarNode):
            raise _error(file, value, f"{key.value} must be a string")
        values[key.value] = model.text(value.value)
    for needed in ("cgroup", "workload"):
        if not values.get(needed):
            raise _error(file, node, f"{needed} is missing")
    pattern = values.pop("cgroup")
    return Rule(pattern, {"namespace": names.HOST_NAMESPACE, "workload_kind": "Cgroup", **values})


def _error(file: Path, node: yaml.Node, message: str) -> SettingsError:
    return SettingsError(f"{file}:{node.start_mark.line + 1}: {message}")
