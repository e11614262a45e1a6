import numpy as np
import pytest
import tvm
import tvm_ffi
from relax_programs import function, host_target, normal, schedule
from tvm import relax

from sam_tvm.kernels.graph.broadcasts import permute_before_broadcast


def rewritten(build, *inputs):
    module = function(build, *inputs)
    var = module.get_global_var("main")
    module[var] = module[var].with_attr("num_input", len(inputs))
    return permute_before_broadcast()(module)


def largest_permutation(module) -> int:
    """Elements of the largest tensor of known size that is permuted."""
    sizes = [0]

    def look(value):
        if isinstance(value, relax.Call) and value.op == tvm.ir.Op.get("relax.permute_dims"):
            sizes.append(int(np.prod([int(extent) for extent in value.ty.shape])))

    relax.analysis.post_order_visit(module["main"], look)
    return max(sizes)


def run(module, *arrays):
    library = relax.build(schedule(module), target=host_target())
    result = relax.VirtualMachine(library, tvm.cpu())["main"](*map(tvm.runtime.tensor, arrays))
    return result.numpy()


def outer_sum(x, y):
    """A bias of positions: (1, 5, 6, heads) and (1, 5, 7, heads) to (1, heads, 5, 42)."""
    total = relax.op.add(relax.op.expand_dims(y, 3), relax.op.expand_dims(x, 2))
    return relax.op.permute_dims(relax.op.reshape(total, (1, 5, 42, 8)), [0, 3, 1, 2])


def test_the_operands_of_a_broadcast_sum_are_permuted_and_not_the_sum():
    x, y = normal(1, 5, 7, 8), normal(1, 5, 6, 8, seed=1)
    module = rewritten(outer_sum, (x.shape, "float32"), (y.shape, "float32"))
    assert largest_permutation(module) == x.size
    expected = (y[:, :, :, None] + x[:, :, None]).reshape(1, 5, 42, 8).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(run(module, x, y), expected)


def test_an_operand_of_lower_rank_is_permuted_too():
    def build(x, y):
        total = relax.op.multiply(relax.op.expand_dims(x, 1), y)
        return relax.op.permute_dims(total, [2, 0, 1])

    x, y = normal(5, 6), normal(9, 1, seed=1)
    module = rewritten(build, (x.shape, "float32"), (y.shape, "float32"))
    assert largest_permutation(module) == x.size
    np.testing.assert_array_equal(run(module, x, y), (x[:, None] * y).transpose(2, 0, 1))


def split(x, y):
    """A reshape that splits an axis of the sum."""
    total = relax.op.add(relax.op.expand_dims(x, 0), relax.op.expand_dims(y, 1))
    return relax.op.permute_dims(relax.op.reshape(total, (4, 4, 2, 3)), [2, 0, 1, 3])


def same_sizes(x, y):
    return relax.op.permute_dims(relax.op.add(x, y), [1, 0])


@pytest.mark.parametrize(
    ("build", "shapes"),
    [(split, ((4, 6), (4, 6))), (same_sizes, ((4, 6), (4, 6))), (same_sizes, ((4, 6), (6,)))],
    ids=["split axis", "nothing broadcast", "one operand broadcast"],
)
def test_other_permutations_stay(build, shapes):
    inputs = [(shape, "float32") for shape in shapes]
    before, after = function(build, *inputs)["main"], rewritten(build, *inputs)["main"]
    assert tvm_ffi.structural_equal(before.body, after.body, map_free_vars=True)
