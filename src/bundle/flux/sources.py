"""The tree's files, so that what is wrong with a rendered object is told by the file and line that somebody wrote."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bpfleet.documents import Document, Keys, read
from bpfleet.errors import BundleError
from bundle.flux.complaints import Complaint
from bundle.flux.shapes import a_map, maps

DIRECTORIES = ("clusters", "infrastructure", "policies", "apps")

BOOTSTRAPPED = "flux-system"
"""Directory that `flux bootstrap` writes: Flux's own."""

LEFT_OUT = ("cases", "templates", "ci", "tests", "compose")
"""Directories whose YAML is no manifest: cases of policies, charts' templates and trial values, unit tests of rules,
what docker compose reads."""

HASH = re.compile(r"-[2456789bcdfghkmt]{10}$")
"""What kustomize appends to a generated name: digits and letters of its own, of which no word is made."""

SUFFIXES = (".yaml", ".yml")
"""Of what Flux takes for manifests."""


def manifests(directory: Path) -> list[Path]:
    return sorted(each for each in directory.rglob("*") if each.suffix in SUFFIXES and each.is_file())


@dataclass(frozen=True)
class Sources:
    root: Path
    complaints: list[Complaint] = field(default_factory=list)
    """Files that are no YAML. Filled by the first look at `documents`."""

    def files(self) -> Iterator[Path]:
        for directory in DIRECTORIES:
            for file in manifests(self.root / directory):
                parts = file.relative_to(self.root).parts
                if BOOTSTRAPPED not in parts[:-1] and not set(LEFT_OUT) & set(parts[:-1]):
                    yield file

    @cached_property
    def documents(self) -> list[Document]:
        found: list[Document] = []
        for file in self.files():
            try:
                found += read(file)
            except BundleError as error:
                self.complaints.append(from_error(error, self.root, file))
        return found

    @cached_property
    def _objects(self) -> Mapping[tuple[str, str], list[Document]]:
        found = defaultdict(list)
        for each in self.documents:
            if isinstance(each.value, dict):
                found[str(each.value.get("kind")), _name(each.value)].append(each)
        return found

    def complaint(self, object: Mapping[str, Any], keys: Keys, message: str) -> Complaint:
        """At the line of the value at `keys` in whichever file says it."""
        kind, name = str(object.get("kind")), _name(object)
        candidates = self._objects.get((kind, name)) or self._objects.get((kind, HASH.sub("", name))) or []
        if not candidates:
            return self.somewhere(object, f"{kind} {name}: {message}")
        best = max(candidates, key=lambda document: depth(document.value, keys))
        return Complaint(best.file.relative_to(self.root), best.line(keys), message)

    def somewhere(self, object: Mapping[str, Any], message: str) -> Complaint:
        """No file holds the object by name: a generator or a chart made it. The file that names its name, then."""
        name = HASH.sub("", _name(object))
        for file in self.files():
            for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
                if re.search(rf"(name|releaseName): {re.escape(name)}$", line):
                    return Complaint(file.relative_to(self.root), number, message)
        return Complaint(Path("."), 1, message)

    def text(self, object: Mapping[str, Any], text: str, message: str) -> Complaint:
        """At the line in which `text` stands: in the object's own file, in those that it is generated from, else in
        any."""
        own = {each.file for each in self._objects.get((str(object.get("kind")), _name(object)), ())}
        everything = [file for directory in DIRECTORIES for file in sorted((self.root / directory).rglob("*.*"))]
        for file in [*own, *self.generated_from(_name(object)), *everything]:
            if file.is_file() and not file.is_symlink():
                for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
                    if text in line:
                        return Complaint(file.relative_to(self.root), number, message)
        return self.complaint(object, (), message)

    def generated_from(self, name: str) -> list[Path]:
        """`files` of the kustomization that makes a ConfigMap of this name."""
        stem = HASH.sub("", name)
        return [
            document.file.parent / str(file).rpartition("=")[2]
            for document in self.documents
            for generator in maps(a_map(document.value).get("configMapGenerator"))
            if generator.get("name") == stem and isinstance(generator.get("files"), list)
            for file in generator["files"]
        ]


def from_error(error: BundleError, root: Path, file: Path) -> Complaint:
    """Of an error that already says `file:line: problem`."""
    text = str(error)
    said = re.match(rf"{re.escape(str(file))}:(?:(\d+):)? ?(.*)", text, re.DOTALL)
    line, message = (int(said[1] or 1), said[2]) if said else (1, text)
    return Complaint(file.relative_to(root), line, message)


def _name(object: Mapping[str, Any]) -> str:
    metadata = object.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, dict) else ""


def depth(value: Any, keys: Keys) -> int:
    """How much of the way is there."""
    for depth, key in enumerate(keys):
        try:
            value = value[key]
        except (KeyError, IndexError, TypeError):
            return depth
    return len(keys)
