"""Collectors of no meaning, of every shape that the door has to deal with. Their C files lie in a directory of the
test's, as a plugin's lie beside its Python file."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from bpfleet.api import AnyOf, CgroupPacket, Collector, Fragment, Metric, Packet, Probe

BASE = Fragment("base.bpf.c", (CgroupPacket("on_ingress"), CgroupPacket("on_egress", direction="egress")))


def made_collector(
    directory: Path,
    name: str,
    *probes: Probe | AnyOf,
    base: Fragment | None = BASE,
    text: str | None = None,
    defines: Mapping[str, str] | None = None,
    metrics: tuple[Metric, ...] = (),
) -> Collector:
    """Its C file is called like it; a text is written there. It is part of BASE unless told otherwise."""
    module = ModuleType(f"made_collectors.{directory.name}.{name}")
    module.__file__ = str(directory / f"{name}.py")
    sys.modules[module.__name__] = module
    if text is not None:
        (directory / f"{name}.bpf.c").write_text(text)

    def constants(self: Collector, limits: Mapping[str, int]) -> dict[str, str]:
        return dict(defines or {})

    body = {
        "__module__": module.__name__,
        "name": name,
        "program": f"{name}.bpf.c",
        "base": base,
        "probes": probes or (Packet(f"on_packet_{name}"),),
        "metrics": metrics,
        "defines": constants,
    }
    made: Collector = type(name, (Collector,), body)()
    return made
