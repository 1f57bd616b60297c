"""Plugins in a directory: as a ConfigMap lays files out, and one that is broken in each way that there is."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

EXAMPLES = Path(__file__).parents[2] / "examples"
COLLECTOR = """\
from bpfleet.api import *
KEY_METRIC = Counter("{metric}", "Calls of getppid() that a plugin of a test has seen.")
class Broken(Collector):
    name = "{name}"
    program = "{name}.bpf.c"
    probes = (RawTracepoint("on_{name}", tracepoint="sys_enter"),)
    metrics = (KEY_METRIC,)
    event_names = ("bpfleet.made.event",)
    channels = (Channel("{name}", lost=("never",)),)
    def collect(self, maps):
{collect}
    def events(self, maps):
{events}
"""
PROGRAM = """\
#include "net.h"
struct {name}_books {{ u64 seen; u64 never; }};
BPF_PERCPU_ARRAY(books_{name}, struct {name}_books, 1);
int on_{name}(struct bpf_raw_tracepoint_args *ctx)
{{
	{statement}
	return 0;
}}
"""
SINK = """\
from bpfleet.api import *
class Broken(Sink):
    name = "{name}"
    def encode(self, record):
        {encode}
    def write(self, items):
        {write}
"""


class Broken(NamedTuple):
    """files: by name. off: the name of a collector or a sink by which it is reported. reason: begins so."""

    files: Mapping[str, str]
    off: str
    reason: str


def collector(
    name: str,
    metric: str = "",
    collect: str = "return iter(())",
    events: str = "return iter(())",
    statement: str = "",
) -> dict[str, str]:
    """Files of a collector; collect, events: a method's body, statement: of C."""
    text = COLLECTOR.format(
        name=name, metric=metric or f"made.{name}", collect=" " * 8 + collect, events=" " * 8 + events
    )
    return {f"{name}.py": text, f"{name}.bpf.c": PROGRAM.format(name=name, statement=statement)}


def sink(name: str, encode: str = "return b'x'", write: str = "return len(items)") -> dict[str, str]:
    return {f"{name}.py": SINK.format(name=name, encode=encode, write=write)}


COLLECT_LINE, EVENTS_LINE = 11, 13
"""Of COLLECTOR: where the methods' bodies stand."""

BROKEN = (
    Broken({"imports.py": "import os\nimport nowhere_at_all\n"}, "imports", "imports.py:2: ModuleNotFoundError: "),
    Broken({"syntax.py": "x = 1\n\ndef (:\n"}, "syntax", "syntax.py:3: SyntaxError: "),
    Broken({"leaves.py": "import sys\nsys.exit(3)\n"}, "leaves", "leaves.py:2: it calls sys.exit: 3"),
    Broken({"nothing.py": "x = 1\n"}, "nothing", "nothing.py:1: it defines no class of "),
    Broken(
        {"declared.py": "from bpfleet.api import *\nclass D(Collector):\n  name = 'declared'\n  program = '../x.c'\n"},
        "declared",
        "declared.py:4: program must be a file name that ends in .bpf.c, not '../x.c'; ",
    ),
    Broken({"alone.py": collector("alone")["alone.py"]}, "alone", "alone.py:5: alone.bpf.c: cannot be read: "),
    Broken(collector("garbled", statement="garbled garbled;"), "garbled", "garbled.bpf.c:6: use of undeclared"),
    Broken(
        collector("wild", statement="*(volatile u64 *)(ctx->args[0]) = 1;"),
        "wild",
        "raw_tracepoint/sys_enter: on_wild: Permission denied: R",
    ),
    Broken(
        collector("counts", collect="raise KeyError('a row')"), "counts", f"counts.py:{COLLECT_LINE}: KeyError: 'a row'"
    ),
    Broken(
        collector("tells", events="return iter([1 / 0])"),
        "tells",
        f"tells.py:{EVENTS_LINE}: ZeroDivisionError: division by zero",
    ),
    Broken(collector("quits", collect="raise SystemExit(3)"), "quits", "quits.py:11: RuntimeError: "),
    Broken(
        collector("endless", collect="while True: yield Sample(KEY_METRIC, 1, 1)"),
        "endless",
        "Endless: endless.collect() yielded more than ",
    ),
    Broken(
        {**collector("mine"), "mine.py": collector("mine")["mine.py"].replace('name = "mine"', 'name = "traffic"')},
        "traffic (mine.py)",
        "mine.py:4: the name traffic is taken",
    ),
    Broken(
        collector("clashing", metric="tcp.resets"),
        "clashing",
        "clashing.py:2: metric bpfleet_tcp_resets_total is taken by tcp (built in)",
    ),
    Broken(
        {
            **collector("named"),
            "named.py": collector("named")["named.py"].replace('seen.")', 'seen.", prefix="acme")'),
        },
        "named",
        "named.py:2: metric made.named: acme_made_named_total begins neither with bpfleet_ nor with ",
    ),
    Broken(sink("unmade") | {"unmade.py": sink("unmade")["unmade.py"].replace("def write", "def wrote")}, "unmade",
           "unmade.py:2: a sink needs a method write()"),
)  # fmt: skip

SPOILT = (
    sink("spoilt", encode="return 'text'"),
    sink("deaf", write="raise OSError(5, 'no')"),
    sink("liar", write="return -1"),
)
"""Sinks that are there and lose what they get."""


def as_config_map(directory: Path, files: Mapping[str, str]) -> None:
    """`name -> ..data/name`, `..data -> ..2026_1`: an update swaps one link."""
    held = directory / "..2026_1"
    held.mkdir(parents=True)
    for name, text in files.items():
        (held / name).write_text(text)
        (directory / name).symlink_to(Path("..data", name))
    os.symlink(held.name, directory / "..data")


def examples() -> dict[str, str]:
    """Every file of the examples that a plugins directory has."""
    found = [path for path in sorted(EXAMPLES.glob("*/*")) if path.suffix in (".py", ".c")]
    return {path.name: path.read_text() for path in found if not path.name.startswith("test_")}
