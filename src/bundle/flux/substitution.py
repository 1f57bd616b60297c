"""`${name}` and `${name:=default}` in manifests, as kustomize-controller 1.9 puts variables in: strictly.

https://fluxcd.io/flux/components/kustomize/kustomizations/#post-build-variable-substitution. Its other forms
(`${name^^}`, `${name/a/b}`, `${name:0:3}`) are valid for Flux and refused here: nothing in the tree needs them, and a
dashboard's `${something}` that happens to be one would pass unseen. `$${name}` is the text `${name}`; `$name` is no
variable.
"""

import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DEFAULTS = (":=", ":-", "=")
"""What may stand between a name and its default."""


class SubstitutionError(ValueError):
    """text: how the place looks."""

    def __init__(self, problem: str, text: str) -> None:
        super().__init__(problem)
        self.text = text


def substitute(text: str, variables: Mapping[str, str]) -> str:
    """Raises SubstitutionError for a variable that has neither a value nor a default, and for what is no variable."""
    done, at = [], 0
    while (begin := text.find("${", at)) >= 0:
        if begin > at and text[begin - 1] == "$":  # an escape: one of the two dollars goes
            done.append(text[at : begin - 1] + "${")
            at = begin + 2
            continue
        value, end = _expression(text, begin, variables)
        done += [text[at:begin], value]
        at = end
    return "".join([*done, text[at:]])


def _expression(text: str, begin: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """The value of the expression that begins here, and where it ends."""
    name = NAME.match(text, begin + 2)
    if name is None:
        raise SubstitutionError("is no variable; a text that is to stay is written $${...}", _excerpt(text, begin))
    at = name.end()
    if text.startswith("}", at):
        if name[0] not in variables:
            raise SubstitutionError(
                f"the variable {name[0]} is not set; give it a value in vars.yaml or write ${{{name[0]}:=default}}",
                _excerpt(text, begin),
            )
        return variables[name[0]], at + 1
    operator = next((each for each in DEFAULTS if text.startswith(each, at)), None)
    if operator is None:
        raise SubstitutionError("allowed are ${name} and ${name:=default}", _excerpt(text, begin))
    default, end = _default(text, begin, at + len(operator), variables)
    return variables.get(name[0]) or default, end


def _default(text: str, begin: int, at: int, variables: Mapping[str, str]) -> tuple[str, int]:
    """Up to the closing brace; variables in it count, too."""
    parts: list[str] = []
    while at < len(text):
        if text[at] == "}":
            return "".join(parts), at + 1
        if text.startswith("${", at):
            value, at = _expression(text, at, variables)
            parts.append(value)
        else:
            parts.append(text[at])
            at += 1
    raise SubstitutionError("the closing brace is missing", _excerpt(text, begin))


def _excerpt(text: str, begin: int) -> str:
    """The expression, or as much of it as stands on its line."""
    line = text[begin:].splitlines()[0]
    end = line.find("}")
    return line[: end + 1] if end >= 0 else line
