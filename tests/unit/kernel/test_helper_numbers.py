from pathlib import Path

import pytest

from agent.kernel import btf, helper_numbers


def test_only_what_the_kernel_lacks_is_defined() -> None:
    known = [f"BPF_FUNC_{name}" for name in helper_numbers.HELPERS[:209]]
    assert helper_numbers.missing(known) == [
        "#define BPF_FUNC_cgrp_storage_get 210",
        "#define BPF_FUNC_cgrp_storage_delete 211",
    ]


def test_the_numbers_are_those_of_the_running_kernel() -> None:
    try:
        types = btf.Btf(Path(btf.VMLINUX).read_bytes())
    except OSError as error:
        pytest.skip(f"{btf.VMLINUX}: {error.strerror}")
    (number,) = types.find({"bpf_func_id"}, btf.ENUMS).values()
    theirs = {name.removeprefix("BPF_FUNC_"): value for name, value in types.values(number)}
    ours = {name: value for value, name in enumerate(helper_numbers.HELPERS, 1) if name in theirs}
    assert len(ours) > 100
    assert ours == {name: theirs[name] for name in ours}
