import pytest

from sam_tvm.pipeline import targets
from sam_tvm.runtime.errors import UnknownNameError
from sam_tvm.runtime.instructions import architecture


def test_llvm_alone_is_this_cpu():
    from tvm.target import codegen

    assert targets.resolve("llvm").attrs["mcpu"] == codegen.llvm_get_system_cpu()


def test_named_cpu_is_kept():
    target = targets.resolve("llvm -mtriple=x86_64-linux-gnu -mcpu=haswell")
    assert target.attrs["mcpu"] == "haswell"


def test_other_triple_gets_no_cpu_of_this_machine():
    target = targets.resolve("llvm -mtriple=aarch64-linux-gnu")
    assert "mcpu" not in target.attrs


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vulcan", "no target 'vulcan'"),
        ("", "known targets"),
        ("llvm -mcpu=nonsuch", "'nonsuch' is not one of LLVM's"),
        ("llvm -mcpu=native", "try llvm alone for this CPU"),
        ("llvm -mfast=1", "'-mfast=1' is not known"),
        ("llvm -mcpu", "'-mcpu' is not known"),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=haswell", "not one of LLVM's for aarch64"),
        ("llvm -mtriple=nonsuch-linux-gnu", "triple 'nonsuch-linux-gnu' is not known"),
        ("llvm -mtriple=-", "triple"),
    ],
)
def test_unknown_target_is_refused(name, message):
    with pytest.raises(UnknownNameError, match=message):
        targets.resolve(name)


@pytest.mark.parametrize(
    "name",
    [
        "llvm -mcpu=haswell",
        "llvm -mcpu=x86-64",
        "llvm -mcpu=x86-64-v3",
        "llvm -mcpu=znver4",
        "llvm -mcpu=skylake-avx512",
        "llvm -mtriple=x86_64-linux-gnu -mcpu=haswell",
        "llvm -mtriple=aarch64-linux-gnu -mcpu=neoverse-v2",
        "llvm -mtriple=arm64-apple-macos -mcpu=apple-m1",
        "llvm -mtriple=riscv64-linux-gnu",
    ],
)
def test_known_targets_keep_their_options(name):
    if "mtriple" not in name and architecture() != "x86_64":
        name = name.replace("llvm", "llvm -mtriple=x86_64-linux-gnu")
    attributes = targets.resolve(name).attrs
    for option in name.split()[1:]:
        key, _, value = option.removeprefix("-").partition("=")
        assert attributes[key] == value
