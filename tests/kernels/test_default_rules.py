import functools
import math

import numpy as np
import pytest
import tvm_ffi
from relax_programs import Compiled, compiled, host_target, normal
from tvm import relax, s_tir, tirx

from sam_tvm.kernels import default
from sam_tvm.kernels.target_features import AVX2, AVX512, GENERIC, NEON, vector_unit

torch = pytest.importorskip("torch")
nn = torch.nn
RULES = {"matmul", "convolution", "reduction", "elementwise", "reshape"}
LARGE = 1 << 14  # steps; beyond it a loop must be parallel and hold vectors


class Block(nn.Module):
    """A transformer block as in a ViT."""

    def __init__(self, width: int = 64, heads: int = 4):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 296), nn.Linear(296, width)

    def forward(self, x):
        batch, length, width = x.shape
        heads = (batch, length, 3, self.heads, width // self.heads)
        q, k, v = self.qkv(self.norm1(x)).reshape(heads).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.fc2(nn.functional.gelu(self.fc1(self.norm2(x))))


@functools.cache
def built_block(dynamic: bool):
    block, module = imported_block(dynamic)
    return block, Compiled(module)


def imported_block(dynamic: bool):
    from tvm.relax.frontend.torch import from_exported_program

    torch.manual_seed(0)
    block = Block().eval()
    dim = torch.export.Dim
    shapes = {"x": {0: dim("b"), 1: dim("n")}} if dynamic else None
    program = torch.export.export(block, (torch.randn(2, 36, 64),), dynamic_shapes=shapes)
    return block, from_exported_program(program, keep_params_as_input=True)


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "symbolic"])
def test_transformer_block_equals_float64(dynamic):
    block, run = built_block(dynamic)
    assert set(run.rules.values()) <= RULES
    parameters = [p.detach().numpy() for p in block.parameters()]
    for batch, length in [(2, 36), (1, 1), (1, 7), (3, 65)] if dynamic else [(2, 36)]:
        x = normal(batch, length, 64)
        with torch.no_grad():
            exact = block.double()(torch.from_numpy(x).double()).numpy()
            block.float()
        assert abs(run(x, *parameters)[0] - exact).max() <= 2e-6


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "symbolic"])
def test_every_function_is_scheduled_and_says_by_which_rule(dynamic):
    scheduled = built_block(dynamic)[1].scheduled
    functions = [f for _, f in scheduled.functions_items() if isinstance(f, tirx.PrimFunc)]
    assert len(functions) > 10
    for function in functions:
        assert function.attrs["tirx.is_scheduled"]
        assert function.attrs[default.RULE] in RULES


@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "symbolic"])
def test_no_large_loop_stays_serial_and_scalar(dynamic):
    scheduled = built_block(dynamic)[1].scheduled
    for name, function in scheduled.functions_items():
        if not isinstance(function, tirx.PrimFunc) or largest_output(function) <= LARGE:
            continue
        if function.attrs[default.RULE] == "reshape":
            continue  # becomes a change of shape without a copy
        kinds: set[int] = set()
        ramps: list[object] = []
        tvm_ffi.structural_walk(function.body, (tirx.For, lambda f, k=kinds: k.add(int(f.kind))))
        tvm_ffi.structural_walk(function.body, (tirx.Ramp, ramps.append))
        assert int(tirx.ForKind.PARALLEL) in kinds, name
        assert int(tirx.ForKind.VECTORIZED) in kinds or ramps, name


def largest_output(function: tirx.PrimFunc) -> float:
    sizes = [1.0]
    for param in function.params:
        if tirx.is_buffer_var(param):
            extents = [int(e) if isinstance(e, tirx.IntImm) else math.inf for e in param.shape]
            sizes.append(math.prod(extents))
    return max(sizes)


def test_reshape_copies_nothing():
    run = compiled(
        lambda x: relax.op.add(relax.op.reshape(relax.op.exp(x), (6, 20)), relax.const(1.0)),
        ((3, 40), "float32"),
    )
    np.testing.assert_allclose(run(normal(3, 40)), np.exp(normal(3, 40)).reshape(6, 20) + 1, 1e-6)


def test_unknown_form_falls_back_and_stays_right():
    # A block with a predicate is what no rule reads.
    x = tirx.decl_buffer((40, 8), "float32", "x")
    y = tirx.decl_buffer((40, 8), "float32", "y")
    function = guarded_copy(x, y)
    scheduled = default.schedule_function(function, vector_unit(host_target()))
    assert scheduled.attrs[default.RULE] == "fallback"
    loop = scheduled.body.block.body
    assert loop.kind == tirx.ForKind.PARALLEL


def guarded_copy(x, y) -> tirx.PrimFunc:
    from tvm.ir import Range, Var

    i, j = Var("i", "int64"), Var("j", "int64")
    axes = [
        tirx.IterVar(Range(0, tirx.IntImm("int64", e)), Var(n, "int64"), tirx.IterVar.DataPar)
        for e, n in ((40, "vi"), (8, "vj"))
    ]
    at = [axis.var for axis in axes]
    block = s_tir.stmt.SBlock(axes, [], [], "copy", tirx.BufferStore(y, x[at[0], at[1]], at))
    body = s_tir.stmt.SBlockRealize([i, j], j < 5, block)
    zero, serial = tirx.IntImm("int64", 0), tirx.ForKind.SERIAL
    body = tirx.For(j, zero, tirx.IntImm("int64", 8), serial, body)
    body = tirx.For(i, zero, tirx.IntImm("int64", 40), serial, body)
    root = s_tir.stmt.SBlockRealize([], True, s_tir.stmt.SBlock([], [], [], "root", body))
    return tirx.PrimFunc([x, y], root).with_attr({"s_tir": True, "tirx.noalias": True})


def test_results_are_the_same_bits_every_time():
    block, run = built_block(False)
    parameters = [p.detach().numpy() for p in block.parameters()]
    x = normal(2, 36, 64)
    first = run(x, *parameters)[0]
    assert all((run(x, *parameters)[0] == first).all() for _ in range(5))


@pytest.mark.parametrize(
    ("target", "unit"),
    [
        ({"kind": "llvm", "mcpu": "skylake-avx512"}, AVX512),
        ({"kind": "llvm", "mcpu": "znver5"}, AVX512),
        ({"kind": "llvm", "mcpu": "haswell"}, AVX2),
        ({"kind": "llvm"}, GENERIC),
        ({"kind": "llvm", "mtriple": "aarch64-linux-gnu"}, NEON),
    ],
)
def test_vector_unit_follows_the_target(target, unit):
    from tvm.target import Target

    assert vector_unit(Target(target)) == unit
