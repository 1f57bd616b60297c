"""Is the newest kernel of each series taken, with all that it consists of?"""

import re
from pathlib import Path

import pytest
from matrix.archive import Unavailable

from matrix import kernels


class Served:
    """Has these packages; what is unpacked of it is a kernel of the old or of the new layout."""

    def __init__(
        self, *names: str, layout: tuple[str, str] = ("boot/vmlinuz-{0}", "lib/modules/{0}/modules.dep")
    ) -> None:
        self.names = names
        self.layout = layout
        self.unpacked: list[list[str]] = []

    def update(self) -> None:
        pass

    def matching(self, pattern: str) -> list[str]:
        return [name for name in self.names if re.fullmatch(pattern, name)]

    def unpack(self, packages: list[str], into: Path) -> None:
        self.unpacked.append(packages)
        for name in self.layout:
            file = into / name.format(packages[0].split("-", 2)[2])
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()


OLD = ("linux-image-5.10.0-9-cloud-amd64", "linux-image-5.10.0-46-cloud-amd64", "linux-image-5.10.0-46-amd64")
BACKPORTED = ("linux-image-6.1.0-0.deb11.52-cloud-amd64", "linux-image-6.1.0-50-cloud-amd64")
META = ("linux-image-6.1-cloud-amd64", "linux-image-cloud-amd64")
IN_PARTS = tuple(
    f"linux-{part}-7.2.{patch}+deb13-cloud-amd64" for part in ("image", "binary", "modules") for patch in (9, 12)
)


@pytest.mark.parametrize(
    ("series", "wanted"),
    [
        ("5.10", ["linux-image-5.10.0-46-cloud-amd64"]),
        ("6.1", ["linux-image-6.1.0-50-cloud-amd64"]),
        ("7.2", [f"linux-{part}-7.2.12+deb13-cloud-amd64" for part in ("image", "binary", "modules")]),
    ],
)
def test_the_newest_of_a_series_is_taken(series: str, wanted: list[str]) -> None:
    assert kernels.packages(series, Served(*OLD, *BACKPORTED, *META, *IN_PARTS)) == wanted


def test_a_series_that_is_not_served_is_named() -> None:
    with pytest.raises(Unavailable, match=r"6\.18"):
        kernels.packages("6.18", Served(*OLD))


@pytest.mark.parametrize(
    "layout",
    [
        ("boot/vmlinuz-{0}", "lib/modules/{0}/modules.dep"),
        ("usr/lib/modules/{0}/vmlinuz", "usr/lib/modules/{0}/modules.dep"),
    ],
)
def test_a_kernel_is_found_where_its_packages_put_it_and_fetched_once(layout: tuple[str, str], tmp_path: Path) -> None:
    archive = Served(*OLD, layout=layout)
    for _ in range(2):
        found = kernels.kernel("5.10", tmp_path, archive)
        assert found.release == "5.10.0-46-cloud-amd64"
        assert found.image.exists()
    assert len(archive.unpacked) == 1
    kernels.kernel("5.10", tmp_path, archive, refresh=True)
    assert len(archive.unpacked) == 2
