"""What a guest runs: a root disk with Debian's Python and BCC, a first-stage initrd for one kernel, and the tree."""

import gzip
import hashlib
import lzma
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from matrix.archive import Archive, Unavailable, run
from matrix.kernels import Kernel

REPOSITORY = Path(__file__).parents[1]
SUITE = "trixie"
PACKAGES = ("iproute2", "libpython3-stdlib", "procps", "python3", "python3-bpfcc", "util-linux")
REQUIREMENTS = REPOSITORY / "requirements" / "agent.txt"
TREE = ("bpf", "matrix", "src", "tests/support")
DISK_MIB = 1536
"""Of the root disk; what is not used takes no room."""

MODULES = ("virtio_pci", "virtio_blk", "virtio_rng", "ext4", "veth", "tun", "tcp_diag", "udp_diag")
"""To reach the root disk, and what the load uses. A kernel may have some of them built in."""

APPLETS = ("sh", "mount", "umount", "insmod", "switch_root", "mkdir", "tar", "sleep", "poweroff")


def root_disk(folder: Path, archive: Archive) -> Path:
    """Made once for these packages and requirements. Raises Unavailable."""
    asked = "\n".join([SUITE, *PACKAGES, str(DISK_MIB), REQUIREMENTS.read_text()])
    disk = folder / f"root-{hashlib.blake2b(asked.encode(), digest_size=8).hexdigest()}.img"
    if disk.exists():
        return disk
    for old in folder.glob("root-*"):
        old.unlink()
    archive.update()
    with tempfile.TemporaryDirectory(prefix="bpfleet-matrix-") as scratch:
        system, partial = Path(scratch, "root"), disk.with_suffix(".partial")
        os.chmod(scratch, 0o755)  # Debian's own users read it while they are set up
        include = f"--include={','.join(PACKAGES)}"
        run("mmdebstrap", "--quiet", "--variant=minbase", include, SUITE, str(system), str(archive.sources))
        (packages,) = system.glob("usr/lib/python3.*/")
        version = packages.name.removeprefix("python")
        target = system / "usr/local/lib" / packages.name / "dist-packages"
        uv = REPOSITORY / ".venv/bin/uv"
        run(
            *(str(uv), "pip", "install", "--quiet", "--no-config", "--target", str(target)),
            *("--python-version", version, "--only-binary", ":all:", "--require-hashes", "-r", str(REQUIREMENTS)),
        )
        with partial.open("wb") as stream:
            stream.truncate(DISK_MIB * 2**20)
        run("mkfs.ext4", "-q", "-O", "^has_journal", "-d", str(system), str(partial))
        partial.rename(disk)
    return disk


def initrd(kernel: Kernel, place: Path) -> Path:
    """busybox, the modules in the order in which they go in, and a first stage that mounts the root disk."""
    busybox = shutil.which("busybox")
    if not busybox:
        raise Unavailable("not installed: busybox-static")
    with tempfile.TemporaryDirectory(prefix="bpfleet-matrix-") as scratch:
        root = Path(scratch)
        for name in ("bin", "dev", "modules", "newroot", "proc", "sys"):
            (root / name).mkdir()
        shutil.copy(busybox, root / "bin/busybox")
        for applet in APPLETS:
            (root / "bin" / applet).symlink_to("busybox")
        files = module_files(kernel)
        for file in files:
            (root / "modules" / stem(file)).write_bytes(expanded(file))
        (root / "modules/order").write_text("".join(f"{stem(file)}\n" for file in files))
        shutil.copy(Path(__file__).with_name("initrd.sh"), root / "init")
        os.chmod(root / "init", 0o755)
        names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
        packed = subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"],
            cwd=root,
            input=names.encode(),
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
    place.write_bytes(gzip.compress(packed, 1))
    return place


def module_files(kernel: Kernel) -> list[Path]:
    """Of MODULES and what they need, each after what it needs itself."""
    base = str(kernel.modules).removesuffix(f"/lib/modules/{kernel.release}")
    if not (kernel.modules / "modules.dep.bin").exists():
        run("depmod", "-b", base, kernel.release)
    files: dict[Path, None] = {}
    for name in MODULES:
        try:
            said = run("modprobe", "-d", base, "-S", kernel.release, "--show-depends", name)
        except Unavailable:  # this kernel does not have it: what needs it will say so
            continue
        for line in said.splitlines():
            kind, _, rest = line.strip().partition(" ")
            if kind == "insmod":
                files.setdefault(Path(rest.split()[0]))
    return list(files)


def stem(file: Path) -> str:
    return file.name.partition(".ko")[0] + ".ko"


def expanded(file: Path) -> bytes:
    data = file.read_bytes()
    if file.suffix == ".xz":
        return lzma.decompress(data)
    if file.suffix == ".zst":
        return subprocess.run(["zstd", "-dcq"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


def tree(place: Path) -> Path:
    """The working tree as it is, as a disk that holds a tar archive."""
    with tarfile.open(place, "w") as archive:
        for name in TREE:
            archive.add(REPOSITORY / name, name, filter=lambda entry: None if "__pycache__" in entry.name else entry)
    return place
