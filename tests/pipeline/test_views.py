"""A change of shape alone copies nothing, though the number of rows is known only at run time."""

import numpy as np
import tvm
from tvm import relax, tirx

from sam_tvm.kernels.default import rules_used
from sam_tvm.pipeline import targets
from sam_tvm.pipeline.passes import pipeline

TARGET = targets.resolve("llvm")


def test_reshape_of_symbolic_rows_is_a_view():
    rows = tirx.Var("N", "int64")
    x = relax.Var("x", relax.TensorType((rows, 6), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("f", [x]):
        with builder.dataflow():
            doubled = builder.emit(relax.op.add(x, x))
            flat = builder.emit(relax.op.reshape(doubled, (rows * 3, 2)))
            parts = builder.emit(relax.op.reshape(flat, (rows, 2, 3)))
            result = builder.emit_output(relax.op.sum(parts, axis=1))
        builder.emit_func_output(result)
    with TARGET:
        module = pipeline(TARGET)(builder.get())
        library = relax.build(module, TARGET, relax_pipeline=None)
    assert "reshape" not in rules_used(module).values()
    array = np.arange(30, dtype=np.float32).reshape(5, 6)
    found = relax.VirtualMachine(library, tvm.cpu())["f"](tvm.runtime.tensor(array)).numpy()
    np.testing.assert_array_equal(found, 2 * array.reshape(5, 2, 3).sum(1))
