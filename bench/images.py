"""The agent's image: how large, how long from `docker run` to the first count, how much memory, what its check costs?

In a Docker daemon of its own, by the command that docs/container.md tells.
"""

import gzip
from collections.abc import Iterator
from pathlib import Path

from bench import rows
from bench.rows import Row
from tests.support.dockers import Container, Docker
from tests.support.images import IMAGE, House, load

MB, MIB = 1e6, float(1 << 20)
C7_SECONDS = 5.0
GZIP_LEVEL = 6
CHUNK_BYTES = 1 << 20

TIMED = """
import resource, subprocess
subprocess.run(["bpfleet", "ready"], check=True, stdout=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_utime + used.ru_stime)
"""


def measure(folder: Path, quick: bool) -> Iterator[Row]:
    starts = 3 if quick else 10
    with Docker() as docker:
        load(docker, folder)
        size = int(docker.docker("image", "inspect", "--format", "{{.Size}}", IMAGE).stdout)
        yield rows.of("", "image, unpacked", "MB", [size / MB])
        yield rows.of("", f"image, compressed (gzip {GZIP_LEVEL})", "MB", [compressed(docker, folder) / MB])
        house, seconds, peaks = House(docker), [], []
        for _ in range(starts):
            container = house.start(more="")
            seconds.append(container.seconds)
            peaks.append(container.peak_bytes() / MIB)
        yield rows.of("C7", "from docker run to /readyz", "s", seconds, C7_SECONDS, times=seconds)
        yield rows.of("", "memory charged to the container, at most", "MiB", peaks)
        yield rows.of("", "CPU of a health check", "s", [check(container) for _ in range(starts)])
        house.empty()


def compressed(docker: Docker, folder: Path) -> int:
    """Of `docker save`, which is what a registry stores but for a few hundred bytes."""
    archive, packed = folder / "saved.tar", folder / "saved.tar.gz"
    docker.docker("save", "--output", str(archive), IMAGE)
    with archive.open("rb") as source, gzip.open(packed, "wb", GZIP_LEVEL) as target:
        while part := source.read(CHUNK_BYTES):
            target.write(part)
    return packed.stat().st_size


def check(container: Container) -> float:
    """Of `bpfleet ready` alone, as its parent is told when it ends; what Docker does to start it comes on top."""
    return float(container.run("/opt/bpfleet/bin/python", "-c", TIMED).stdout)
