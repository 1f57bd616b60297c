"""Where in a plugin's file something is declared, so that a mistake is told with its line."""

import ast
import inspect
from pathlib import Path

from bpfleet.api import Plugin


class Source:
    """The file of a class. Lines are 1 where the source cannot be had."""

    def __init__(self, kind: type[Plugin]) -> None:
        self._name = kind.__name__
        try:
            self.path = Path(inspect.getfile(kind))
            self._tree: ast.Module | None = ast.parse(self.path.read_bytes())
        except (OSError, TypeError, SyntaxError, ValueError):
            self.path, self._tree = Path(f"{kind.__module__}.py"), None

    def place(self, attribute: str = "", named: str = "") -> str:
        """`file.py:7`: of the declaration that has this name as its first argument, else of the class's attribute or
        method, else of the class."""
        return f"{self.path.name}:{self.line(attribute, named)}"

    def line(self, attribute: str = "", named: str = "") -> int:
        if self._tree is None:
            return 1
        for node in ast.walk(self._tree) if named else ():
            if isinstance(node, ast.Call) and any(_is(each, named) for each in (*node.args, *_values(node))):
                return node.lineno
        body = next((n for n in ast.walk(self._tree) if isinstance(n, ast.ClassDef) and n.name == self._name), None)
        if body is None:
            return 1
        for node in body.body:
            if attribute and attribute in _bound(node):
                return node.lineno
        return body.lineno


def _is(node: ast.expr, text: str) -> bool:
    return isinstance(node, ast.Constant) and node.value == text


def _values(node: ast.Call) -> list[ast.expr]:
    return [keyword.value for keyword in node.keywords if keyword.arg == "name"]


def _bound(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return [node.target.id]
    return [node.name] if isinstance(node, ast.FunctionDef) else []
