import pytest

from sam_tvm.pipeline import targets
from sam_tvm.runtime.errors import UnknownNameError


def test_llvm_alone_is_this_cpu():
    from tvm.target import codegen

    assert targets.resolve("llvm").attrs["mcpu"] == codegen.llvm_get_system_cpu()


def test_named_cpu_is_kept():
    assert targets.resolve("llvm -mcpu=haswell").attrs["mcpu"] == "haswell"


def test_other_triple_gets_no_cpu_of_this_machine():
    target = targets.resolve("llvm -mtriple=aarch64-linux-gnu")
    assert "mcpu" not in target.attrs


@pytest.mark.parametrize(
    "name", ["vulcan", "", "llvm -mcpu=nonsuch", "llvm -mfast=1", "llvm -mcpu"]
)
def test_unknown_target_is_refused(name):
    with pytest.raises(UnknownNameError):
        targets.resolve(name)
