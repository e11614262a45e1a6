import numpy as np
import pytest
import tvm
import tvm_ffi
from relax_programs import FUSION, function, host_target, normal, schedule
from tvm import relax, tirx

from sam_tvm.kernels.graph.concatenations import concatenate_before_reshape


def rewritten(build, *inputs):
    module = function(build, *inputs)
    var = module.get_global_var("main")
    module[var] = module[var].with_attr("num_input", len(inputs))
    return concatenate_before_reshape()(module)


def run(module, *arrays):
    library = relax.build(schedule(module), target=host_target())
    result = relax.VirtualMachine(library, tvm.cpu())["main"](*map(tvm.runtime.tensor, arrays))
    return result.numpy()


def fused_names(module) -> list[str]:
    """The names of the module's functions of loops, which say what was fused."""
    fused = tvm.transform.Sequential([make() for make in FUSION])(module)
    return [v.name_hint for v, f in fused.functions_items() if isinstance(f, tirx.PrimFunc)]


def padded_bias(x, y):
    """Sums (B, 3, 5, 1, 7) and (B, 3, 5, 6, 1) to (B * 3, 6, 42), a row of zeros before them."""
    batch = x.ty.shape[0]
    rows = relax.op.reshape(relax.op.add(x, y), (batch * 3, 5, 42))
    one = relax.op.strided_slice(rows, [1], [0], [1])
    zeros = relax.op.full_like(one, relax.const(0.0, "float32"))
    return relax.op.concat([zeros, rows], 1)


@pytest.mark.parametrize("batch", [2, "b"])
def test_what_is_concatenated_is_computed_into_its_place(batch):
    shapes = [((batch, 3, 5, 1, 7), "float32"), ((batch, 3, 5, 6, 1), "float32")]
    module = rewritten(padded_bias, *shapes)
    assert any("add" in name and "concatenate" in name for name in fused_names(module))
    x, y = normal(2, 3, 5, 1, 7), normal(2, 3, 5, 6, 1, seed=1)
    expected = np.concatenate([np.zeros((6, 1, 42)), (x + y).reshape(6, 5, 42)], 1)
    np.testing.assert_array_equal(run(module, x, y), expected)


def test_other_parts_take_the_shape_of_the_computed_one():
    def build(x, y, first, last):
        rows = relax.op.reshape(relax.op.multiply(x, y), (6, 20))
        return relax.op.concat([first, rows, last], 0)

    x, y = normal(6, 4, 5), normal(6, 1, 5, seed=1)
    first, last = normal(1, 20, seed=2), normal(3, 20, seed=3)
    module = rewritten(build, *((a.shape, "float32") for a in (x, y, first, last)))
    expected = np.concatenate([first, (x * y).reshape(6, 20), last])
    np.testing.assert_array_equal(run(module, x, y, first, last), expected)


def test_an_axis_that_the_reshape_makes_stays():
    def build(x, y):
        return relax.op.concat([relax.op.reshape(relax.op.add(x, x), (2, 12)), y], 1)

    inputs = [((2, 3, 4), "float32"), ((2, 5), "float32")]
    before, after = function(build, *inputs)["main"], rewritten(build, *inputs)["main"]
    assert tvm_ffi.structural_equal(before.body, after.body, map_free_vars=True)
