"""Where the kernels go in a Relax module: what they read and write, and what disappears."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from relax_programs import function, host_target, normal
from tvm import relax, tirx

pytest.importorskip("torch")
from attention_reference import (
    assert_as_accurate_as_torch,
    exact,
    operands,
    placed,
    program,
)

from sam_tvm.kernels import attention

op = relax.op


def place(module: tvm.IRModule) -> tvm.IRModule:
    return attention.place(host_target(), "float32")(module)


def kernels(module: tvm.IRModule) -> list[tirx.PrimFunc]:
    return [f for f in module.functions.values() if isinstance(f, tirx.PrimFunc)]


def calls(module: tvm.IRModule) -> list[str]:
    values = [b.value for block in module["main"].body.blocks for b in block.bindings]
    return [value.op.name for value in values if isinstance(value, relax.Call)]


def swap(x):
    return op.permute_dims(x, [0, 2, 1, 3])


def self_attention(batch, length, heads, depth):
    """The middle of a transformer block: from one product of q, k and v to the next product."""

    def build(x):
        x = op.permute_dims(op.reshape(x, (batch, length, 3, heads, depth)), [2, 0, 3, 1, 4])
        parts = [op.strided_slice(x, axes=[0], begin=[i], end=[i + 1]) for i in range(3)]
        q, k, v = (swap(op.squeeze(part, [0])) for part in parts)
        y = swap(op.nn.attention(q, k, v))
        return op.reshape(swap(y), (batch, length, heads * depth))

    return function(build, ((batch, length, 3 * heads * depth), "float32"))


def test_heads_are_neither_split_nor_merged():
    module = self_attention(2, 37, 3, 20)
    assert calls(place(module)) == ["relax.call_tir"]
    x = normal(2, 37, 180)
    q, k, v = np.ascontiguousarray(x.reshape(2, 37, 3, 3, 20).transpose(2, 0, 3, 1, 4))
    result = placed(module)(x).reshape(2, 37, 3, 20).transpose(0, 2, 1, 3)
    assert_as_accurate_as_torch(result, q, k, v)


def test_sequence_first_tensors_of_symbolic_sizes_are_read_and_written_in_place():
    heads, depth = 4, 8

    def build(q, kv, hidden):
        batch, keys = q.ty.shape[1], kv.ty.shape[0]

        def split(x, length):
            x = op.permute_dims(op.reshape(x, (length, batch * heads, depth)), [1, 0, 2])
            return swap(op.reshape(x, (batch, heads, length, depth)))

        k, v = (
            op.squeeze(op.strided_slice(kv, axes=[2], begin=[i], end=[i + 1]), [2])
            for i in range(2)
        )
        bias = op.broadcast_to(op.reshape(hidden, (batch, 1, 1, keys)), (batch, heads, 1, keys))
        y = op.nn.attention(split(q, 33), split(k, keys), split(v, keys), bias)
        y = op.permute_dims(swap(y), [2, 0, 1, 3])
        return op.reshape(y, (33 * batch, heads * depth))

    module = function(
        build,
        ((33, "b", 32), "float32"),
        (("t", "b", 2, 32), "float32"),
        (("b", "t"), "float32"),
    )
    assert calls(place(module)) == ["relax.call_tir"]
    run = placed(module)
    for batch, keys in [(1, 1), (2, 7), (3, 210)]:
        q, kv = normal(33, batch, 32), normal(keys, batch, 2, 32, seed=1)
        hidden = normal(batch, keys, seed=2)
        arrays = [
            np.ascontiguousarray(x.reshape(-1, batch, heads, depth).transpose(1, 2, 0, 3))
            for x in (q, kv[:, :, 0], kv[:, :, 1])
        ]
        result = run(q, kv, hidden).reshape(33, batch, heads, depth).transpose(1, 2, 0, 3)
        assert_as_accurate_as_torch(result, *arrays, hidden[:, None, None])


def test_equal_calls_share_a_kernel_whatever_their_sizes_are_called():
    def twice(a, b):
        first, second = (swap(op.nn.attention(swap(x), swap(x), swap(x))) for x in (a, b))
        return op.add(op.sum(first), op.sum(second))

    def module(heads, depth):
        shapes = ((1, 2, "n", 8), "float32"), ((1, heads, "m", depth), "float32")
        return place(function(twice, *shapes))

    assert calls(module(2, 8)).count("relax.call_tir") == 2
    assert len(kernels(module(2, 8))) == 1
    assert len(kernels(module(2, 16))) == 2
    assert len(kernels(module(3, 8))) == 2


def test_result_that_is_read_twice_stays_as_it_is():
    def build(x):
        y = op.nn.attention(swap(x), swap(x), swap(x))
        return op.add(swap(y), op.permute_dims(y, [0, 2, 1, 3]))

    module = function(build, ((1, 2, 30, 8), "float32"))
    assert calls(place(module)).count("relax.permute_dims") > 0
    x = normal(1, 2, 30, 8)
    np.testing.assert_allclose(placed(module)(x), 2 * exact(x, x, x), atol=2e-6)


def test_result_itself_can_be_the_output():
    def build(q, k, v):
        return op.nn.attention(q, k, v)

    shape = (2, 9, 3, 8), "float32"
    run = placed(function(build, shape, shape, shape))
    arrays = operands(2, 3, 9, 9, 8)
    result = run(*(np.ascontiguousarray(x.transpose(0, 2, 1, 3)) for x in arrays))
    assert_as_accurate_as_torch(result.transpose(0, 2, 1, 3), *arrays)


def test_channels_that_lie_apart_are_read_one_by_one():
    # The product of channels and positions is transposed: no view has its channels side by side.
    def build(q, k, v):
        q, k, v = (op.permute_dims(x, [0, 3, 1, 2]) for x in (q, k, v))
        return op.permute_dims(op.nn.attention(q, k, v), [0, 2, 1, 3])

    arrays = operands(1, 3, 20, 20, 12)
    shape = (1, 3, 12, 20), "float32"
    run = placed(function(build, shape, shape, shape))
    result = run(*(np.ascontiguousarray(x.transpose(0, 1, 3, 2)) for x in arrays))
    assert_as_accurate_as_torch(result, *arrays)


def test_kernel_is_marked_and_keeps_no_score_matrix():
    def scratch(length: int) -> int:
        shape = (1, 2, length, 16)
        (kernel,) = kernels(place(program(shape, shape, shape)))
        assert kernel.attrs["sam_tvm.rule"] == "attention"
        assert kernel.attrs["tirx.is_scheduled"]
        assert int(kernel.attrs["op_pattern"]) == 8
        sizes: list[int] = []

        def visit(allocation: tirx.AllocBuffer) -> None:
            sizes.append(int(np.prod([int(n) for n in allocation.buffer.shape])))

        tvm_ffi.structural_walk(kernel, (tirx.AllocBuffer, visit))
        return sum(sizes)

    assert scratch(48 * 400) <= 1.2 * scratch(48 * 200) < 2**18


def test_what_no_kernel_is_made_for_stays():
    def half(q):
        return op.nn.attention(q, q, q)

    module = function(half, ((1, 9, 2, 8), "float16"))
    assert calls(place(module)) == ["relax.nn.attention"]

    def windowed(q):
        return op.nn.attention(q, q, q, causal_mask="TopLeft", window_size=4)

    module = function(windowed, ((1, 9, 2, 8), "float32"))
    assert calls(place(module)) == ["relax.nn.attention"]


def test_module_without_attention_is_left_alone():
    module = function(lambda x: op.exp(op.permute_dims(x)), ((3, 4), "float32"))
    assert calls(place(module)) == ["relax.permute_dims", "relax.exp"]


def test_precisions_that_the_target_lacks_are_refused():
    with pytest.raises(ValueError, match="bfloat16 needs"):
        attention.place({"kind": "llvm", "mcpu": "haswell"}, "bfloat16")
    with pytest.raises(ValueError, match="unknown precision"):
        attention.place(host_target(), "float16")
