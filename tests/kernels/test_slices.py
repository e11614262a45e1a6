import numpy as np
from relax_programs import Compiled, function, normal
from tvm import relax

from sam_tvm.kernels.slices import slice_first

op = relax.op


def split_heads(x):
    """Queries, keys and values (batch, heads, length, depth) of (batch, length, 3 * width)."""
    x = op.permute_dims(op.reshape(x, (2, 5, 3, 4, 6)), [2, 0, 3, 1, 4])
    parts = [op.strided_slice(x, [0], [i], [i + 1]) for i in range(3)]
    q, k, v = (op.squeeze(part, [0]) for part in parts)
    return op.add(op.multiply(q, k), v)


def permutations(module) -> list[tuple[int, ...]]:
    return [
        tuple(int(extent) for extent in binding.var.ty.shape)
        for block in module["main"].body.blocks
        for binding in block.bindings
        if getattr(binding.value.op, "name", "") == "relax.permute_dims"
    ]


def test_parts_are_permuted_and_not_the_whole():
    module = slice_first()(function(split_heads, ((2, 5, 72), "float32")))
    assert permutations(module) == [(1, 2, 4, 5, 6)] * 3
    x = normal(2, 5, 72)
    q, k, v = x.reshape(2, 5, 3, 4, 6).transpose(2, 0, 3, 1, 4)
    np.testing.assert_allclose(Compiled(module)(x), q * k + v, atol=1e-6)


def test_axes_counted_from_the_end_and_steps_stay_right():
    def build(x):
        return op.strided_slice(op.permute_dims(x, [1, 2, 0]), [-1, 0], [1, 0], [9, 5], [2, 3])

    module = slice_first()(function(build, ((9, 7, 4), "float32")))
    x = normal(9, 7, 4)
    np.testing.assert_array_equal(Compiled(module)(x), x.transpose(1, 2, 0)[:5:3, :, 1:9:2])


def test_a_permutation_that_is_read_whole_stays():
    def build(x):
        permuted = op.permute_dims(x, [1, 0])
        return op.add(op.strided_slice(permuted, [0], [0], [1]), op.exp(permuted))

    module = slice_first()(function(build, ((6, 7), "float32")))
    assert permutations(module) == [(7, 6)]
