"""A page that is made from declarations: written by `make docs`, compared by `make check`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Page:
    """module: that makes it, for `python -m`. source: what it is made from, in words."""

    module: str
    path: Path
    source: str
    make: Callable[[], str]

    def is_current(self, path: Path | None = None) -> bool:
        path = path or self.path
        return path.is_file() and path.read_text(encoding="utf-8") == self.make()

    def main(self, arguments: Sequence[str] | None = None) -> int:
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}", description=f"Make {self.path}.")
        parser.add_argument("--check", action="store_true", help="change nothing, say whether the page is up to date")
        parser.add_argument("--page", type=Path, default=self.path, help="the page to write (default: %(default)s)")
        options = parser.parse_args(arguments)
        if self.is_current(options.page):
            return 0
        if options.check:
            print(f"{options.page} is not what {self.source}: run `make docs`", file=sys.stderr)
            return 1
        options.page.parent.mkdir(parents=True, exist_ok=True)
        options.page.write_text(self.make(), encoding="utf-8")
        return 0
