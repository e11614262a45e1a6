"""Functions take their symbolic sizes in the order of their names, whatever their addresses are."""

import numpy as np
import tvm
from tvm import relax, te, tirx
from tvm.relax import block_builder

from sam_tvm.patches.compiler import compiler_patches

NAMES = "fbdaec"


def weighted_sizes() -> tvm.IRModule:
    """A function of x (f, b, d, a, e, c) that returns 1 f + 2 b + 3 d + ... in every element."""
    sizes = [tirx.Var(name, "int64") for name in NAMES]
    x = relax.Var("x", relax.TensorType(sizes, "float32"))
    builder = relax.BlockBuilder()

    def compute(*sizes):
        total = sum((i + 1) * size for i, size in enumerate(sizes))
        return te.compute((2,), lambda _: total.astype("float32"), name="weighted")

    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(builder.call_te(compute, *sizes))
        builder.emit_func_output(result)
    return builder.get()


def order(module: tvm.IRModule) -> str:
    (function,) = (f for _, f in module.functions_items() if isinstance(f, tirx.PrimFunc))
    return "".join(param.name for param in function.params if param.name in NAMES)


def test_the_order_is_that_of_addresses_without_the_patch():
    assert len({order(weighted_sizes()) for _ in range(20)}) > 1


def test_the_order_is_that_of_names():
    with compiler_patches():
        assert {order(weighted_sizes()) for _ in range(20)} == {"abcdef"}


def test_each_size_reaches_its_parameter():
    with compiler_patches():
        library = relax.build(weighted_sizes(), "llvm")
    x = np.zeros((3, 5, 7, 2, 4, 6), "float32")
    result = relax.VirtualMachine(library, tvm.cpu())["main"](tvm.runtime.tensor(x)).numpy()
    assert result.tolist() == [1 * 3 + 2 * 5 + 3 * 7 + 4 * 2 + 5 * 4 + 6 * 6] * 2


def test_the_compiler_is_as_before_afterwards():
    before = block_builder.gen_call_tir_inputs
    with compiler_patches():
        assert block_builder.gen_call_tir_inputs is not before
    assert block_builder.gen_call_tir_inputs is before
