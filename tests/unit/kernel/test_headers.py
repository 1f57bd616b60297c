import os
from pathlib import Path

import pytest
from tests.support.synthetic_btf import SyntheticBtf

from agent.kernel import headers
from agent.kernel.failure import Failure
from agent.kernel.headers import Names, Tree

TEXT = """
#include "net.h"  // struct comment
struct flow_key { u64 id; enum role role; };
enum role { CLIENT, SERVER = 2 };
typedef u32 port_t;
/* struct remark */
int on_event(struct sock *sk) { return sk->sk_cgrp_data.cgroup->kn->id + IPPROTO_TCP; }
char *text = "struct string";
"""


def kernel() -> SyntheticBtf:
    made = SyntheticBtf()
    number = made.integer("unsigned int", 4)
    made.typedef("u32", number)
    node = made.struct("kernfs_node", 4, [("id", number, 0)])
    made.struct("sock", 8, [("kn", made.pointer(node), 0)])
    made.struct("unrelated", 4, [("x", number, 0)])
    made.struct("stack", 4, [("x", number, 0)])
    made.enumeration("", {"IPPROTO_TCP": 6})
    made.enumeration("bpf_func_id", {"BPF_FUNC_unspec": 0, "BPF_FUNC_map_lookup_elem": 1})
    return made


def test_what_a_text_names_is_told_from_what_it_defines_and_what_it_only_mentions() -> None:
    names = Names.of([TEXT])
    assert names.tags == {"flow_key", "role", "sock"}
    assert names.taken == {"flow_key", "role", "CLIENT", "SERVER", "port_t"}
    assert {"sk_cgrp_data", "cgroup", "kn", "id"} <= names.followed
    assert "IPPROTO_TCP" in names.words
    assert not names.words & {"comment", "remark", "string"}


def test_a_tree_holds_the_types_that_are_named_and_nothing_else(tmp_path: Path) -> None:
    prelude = "struct trace { struct stack frames[3]; }; BPF_FUNC_map_lookup_elem;"
    tree = headers.write(tmp_path, kernel().btf(), [TEXT], prelude, release="6.18.4-x", machine="x86_64")
    vmlinux = (tmp_path / "include/vmlinux.h").read_text()
    assert tree == Tree(tmp_path, 6)
    for wanted in ("struct sock {", "struct kernfs_node {", "struct stack {", "IPPROTO_TCP = 6", "__VMLINUX_H__"):
        assert wanted in vmlinux
    assert "unrelated" not in vmlinux
    assert [line for line in vmlinux.splitlines() if line.startswith("#define HAS_")] == ["#define HAS_sock"]
    kconfig = (tmp_path / "include/linux/kconfig.h").read_text()
    assert f"#define LINUX_VERSION_CODE {(6 << 16) + (18 << 8) + 4}" in kconfig
    assert "#define CONFIG_X86_64 1" in kconfig
    assert "#define BPF_FUNC_cgrp_storage_delete 211" in kconfig
    assert "#define BPF_FUNC_map_lookup_elem" not in kconfig
    assert (tmp_path / "arch/x86/include").is_dir()
    assert (tmp_path / "include/uapi/linux/bpf.h").read_text() == "#pragma once\n"


def test_a_type_that_a_compile_asks_for_is_defined(tmp_path: Path) -> None:
    headers.write(tmp_path, kernel().btf(), [TEXT], "", extra={"unrelated"}, release="5.10.0", machine="aarch64")
    assert "struct unrelated {" in (tmp_path / "include/vmlinux.h").read_text()
    assert (tmp_path / "arch/arm64/include").is_dir()


def test_bccs_own_header_is_found_in_its_library(tmp_path: Path) -> None:
    library = tmp_path / "libbcc.so.0"
    library.write_bytes(b"\x7fELF\0junk\0#include <x>\n#define BCC_SEC(NAME) y\nstruct a;\0more\0")
    assert headers.bcc_header(library) == "#include <x>\n#define BCC_SEC(NAME) y\nstruct a;"
    library.write_bytes(b"\x7fELF\0unknown")
    assert "unknown" in headers.bcc_header(library)


@pytest.mark.parametrize(
    ("release", "code"), [("6.18.44-fc-v669", 0x06122C), ("5.10", 0x050A00), ("5.15.300-generic", 0x050FFF)]
)
def test_a_release_becomes_a_version_code(release: str, code: int) -> None:
    assert headers.version_code(release) == code


def test_a_release_without_a_version_is_refused() -> None:
    with pytest.raises(ValueError, match="generic"):
        headers.version_code("generic")


def test_another_kernel_text_or_bcc_is_another_tree() -> None:
    keys = {
        headers.key(b"types", ["text"], "prelude", "6.1"),
        headers.key(b"other", ["text"], "prelude", "6.1"),
        headers.key(b"types", ["other"], "prelude", "6.1"),
        headers.key(b"types", ["text"], "other", "6.1"),
        headers.key(b"types", ["text"], "prelude", "6.2"),
    }
    assert len(keys) == 5


def test_a_stored_tree_is_found_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    written = headers.write(tmp_path / "scratch", kernel().btf(), [TEXT], "", release="6.1")
    headers.store(written.path, cache, "name")
    assert headers.cached(cache, "name") == Tree(cache / "name", written.assertions)
    assert headers.cached(cache, "other") is None
    assert headers.cached(tmp_path / "absent", "name") is None


def test_a_cache_that_others_could_write_is_refused(tmp_path: Path) -> None:
    written = headers.write(tmp_path / "scratch", kernel().btf(), [TEXT], "", release="6.1")
    headers.store(written.path, tmp_path / "cache", "name")
    (tmp_path / "cache").chmod(0o777)
    with pytest.raises(Failure, match="writable for nobody else"):
        headers.cached(tmp_path / "cache", "name")


def test_a_second_store_of_the_same_tree_leaves_the_first(tmp_path: Path) -> None:
    written = headers.write(tmp_path / "scratch", kernel().btf(), [TEXT], "", release="6.1")
    headers.store(written.path, tmp_path / "cache", "name")
    headers.store(written.path, tmp_path / "cache", "name")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["name"]


def test_the_cache_keeps_the_newest_trees(tmp_path: Path) -> None:
    written = headers.write(tmp_path / "scratch", kernel().btf(), [TEXT], "", release="6.1")
    (tmp_path / "cache" / headers.PROGRAMS).mkdir(parents=True)
    os.utime(tmp_path / "cache" / headers.PROGRAMS, (0, 0))
    for age in range(headers.KEPT_TREES + 2):
        os.utime(written.path, (age, age))  # a copy keeps its times
        headers.store(written.path, tmp_path / "cache", f"tree{age}")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {
        *("tree2", "tree3", "tree4", "tree5"),
        headers.PROGRAMS,
    }


def test_a_tree_that_is_used_is_not_the_oldest(tmp_path: Path) -> None:
    written = headers.write(tmp_path / "scratch", kernel().btf(), [TEXT], "", release="6.1")
    for age in range(headers.KEPT_TREES):
        os.utime(written.path, (age, age))
        headers.store(written.path, tmp_path / "cache", f"tree{age}")
    assert headers.cached(tmp_path / "cache", "tree0")
    headers.store(written.path, tmp_path / "cache", "tree4")
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {"tree0", "tree2", "tree3", "tree4"}


def test_trees_of_loaders_that_were_killed_are_removed(tmp_path: Path) -> None:
    ended = tmp_path / f"{headers.SCRATCH}{2**22 + 1}-abc"  # above the largest pid that Linux gives out
    living = tmp_path / f"{headers.SCRATCH}{os.getpid()}-abc"
    for path in (ended, living):
        path.mkdir()
    headers.sweep(tmp_path)
    assert list(tmp_path.iterdir()) == [living]
