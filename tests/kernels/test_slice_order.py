"""Slices of a permuted result are taken first, each with a permutation of its own."""

import numpy as np
import tvm
from relax_programs import Compiled, function, normal
from test_convolution_forms import operators
from tvm import relax

from sam_tvm.kernels.graph.slice_order import slice_before_permutation


def rewritten(build, *inputs):
    module = function(build, *inputs)
    module["main"] = module["main"].with_attr("num_input", len(inputs))
    return slice_before_permutation()(module)


def test_parts_of_a_joint_projection_are_cut_before_they_are_turned_around():
    def build(x):
        """(5, 3, 4, 6), rows by parts by heads by channels, to the sum of two of its parts."""
        parts = relax.op.permute_dims(x, [1, 2, 0, 3])
        first = relax.op.strided_slice(parts, [0], [0], [1])
        last = relax.op.strided_slice(parts, [0], [2], [3])
        return relax.op.add(first, last)

    module = rewritten(build, ((5, 3, 4, 6), "float32"))
    assert operators(module)[:2] == ["strided_slice", "permute_dims"]
    x = normal(5, 3, 4, 6)
    turned = x.transpose(1, 2, 0, 3)
    np.testing.assert_array_equal(Compiled(module)(x), turned[:1] + turned[2:])


def test_axes_counted_from_the_end_and_steps_stay_right():
    def build(x):
        turned = relax.op.permute_dims(x, [1, 2, 0])
        return relax.op.strided_slice(turned, [-1, 0], [1, 0], [9, 5], [2, 3])

    module = rewritten(build, ((9, 7, 4), "float32"))
    assert operators(module)[:2] == ["strided_slice", "permute_dims"]
    x = normal(9, 7, 4)
    np.testing.assert_array_equal(Compiled(module)(x), x.transpose(1, 2, 0)[:5:3, :, 1:9:2])


def test_a_permutation_without_axes_reverses_them():
    def build(x):
        return relax.op.strided_slice(relax.op.permute_dims(x), [0], [1], [3])

    module = rewritten(build, ((5, 6, 4), "float32"))
    assert operators(module)[:2] == ["strided_slice", "permute_dims"]
    x = normal(5, 6, 4)
    np.testing.assert_array_equal(Compiled(module)(x), x.transpose()[1:3])


def test_a_slice_of_anything_else_stays():
    def build(x):
        return relax.op.strided_slice(relax.op.nn.relu(x), [1], [1], [3])

    module = function(build, ((2, 4), "float32"))
    module["main"] = module["main"].with_attr("num_input", 1)
    tvm.ir.assert_structural_equal(slice_before_permutation()(module), module)
