"""bfloat16 pairs: rounding and products, as arithmetic and as instructions."""

import numpy as np
import pytest
import tvm
from relax_programs import host_target, runnable_targets
from tvm import tirx

from sam_tvm.kernels import bfloat16, bfloat16_instructions
from sam_tvm.kernels.target_features import computes_bfloat16, has_bfloat16
from sam_tvm.kernels.vectors import Code, Lanes

torch = pytest.importorskip("torch")
HARDWARE = pytest.mark.skipif(not has_bfloat16(host_target()), reason="needs AVX512-BF16")
SOFTWARE = pytest.mark.skipif(not computes_bfloat16(host_target()), reason="needs AVX-512")
BOTH = pytest.mark.parametrize(
    "software", [pytest.param(False, marks=HARDWARE), pytest.param(True, marks=SOFTWARE)]
)
L16 = Lanes(16)


def numbers(seed: int = 0) -> np.ndarray:
    """Ties, signs, infinities and NaN, large numbers and small ones."""
    ties = 1 + np.arange(9) * 2.0**-9
    special = [np.inf, -np.inf, np.nan, 0.0, -0.0, 3.4e38, -1e-30]
    random = np.random.default_rng(seed).standard_normal(16)
    return np.concatenate([ties, special, random]).astype("float32")


def rounded(x: np.ndarray) -> np.ndarray:
    """The bits of the nearest bfloat16, as PyTorch rounds."""
    return torch.from_numpy(x).bfloat16().view(torch.int16).numpy().view("uint16")


def pairs(even: np.ndarray, odd: np.ndarray) -> np.ndarray:
    return rounded(even).astype("uint32") | (rounded(odd).astype("uint32") << 16)


def without_payload(words: np.ndarray) -> np.ndarray:
    """NaN is NaN, whichever bits say so."""
    halves = words.view("uint16").copy()
    halves[(halves & 0x7FFF) > 0x7F80] = 0x7FC0
    return halves


def run(make, target, inputs, output: np.ndarray, functions: int = 1, software: bool = False):
    """Build functions, all with the same body, into one library and call the last."""
    arrays = [*inputs, output]
    module = {}
    for number in range(functions):
        buffers = [tirx.decl_buffer(a.shape, str(a.dtype), f"x{i}") for i, a in enumerate(arrays)]
        function = tirx.PrimFunc(buffers, make(*buffers))
        name = f"main_{number}"
        module[name] = function.with_attr({"global_symbol": name, "tirx.noalias": True})
    made = tvm.IRModule(module)
    made = bfloat16_instructions.in_software()(made) if software else made
    library = tvm.compile(made, target=tvm.target.Target(target))
    tensors = [tvm.runtime.tensor(a) for a in arrays]
    library[name](*tensors)
    return tensors[-1].numpy()


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
def test_arithmetic_rounds_as_torch(target):
    even, odd = numbers(), numbers(1)

    def make(x, y, z):
        i = tirx.Var("i", "int64")
        load_x, load_y = tirx.BufferLoad(x, [i]), tirx.BufferLoad(y, [i])
        store = tirx.BufferStore(z, bfloat16.pack_pair(load_x, load_y), [i])
        return tirx.For(i, 0, even.size, tirx.ForKind.SERIAL, store)

    result = run(make, target, [even, odd], np.zeros(even.size, "uint32"))
    np.testing.assert_array_equal(without_payload(result), without_payload(pairs(even, odd)))


@BOTH
def test_instructions_round_as_torch(software):
    x = numbers()

    def make(source, target):
        code = Code(L16)
        first, second = L16.load(source, 0), L16.load(source, 16)
        code.add(L16.store(target, bfloat16.pair_lanes(first, second), 0))
        for i, values in enumerate((first, second)):
            ramp = tirx.Ramp(tirx.IntImm("int64", 16 + 8 * i), tirx.IntImm("int64", 1), 8)
            code.add(tirx.BufferStore(target, bfloat16.round_pairs(values), [ramp]))
        scalars = (tirx.BufferLoad(source, [i]) for i in (20, 21))
        code.add(tirx.BufferStore(target, bfloat16.round_pair(*scalars), [32]))
        return bfloat16_instructions.import_instructions(code.body())

    result = run(make, host_target(), [x], np.zeros(33, "uint32"), 3, software)
    expected = np.concatenate(
        [pairs(x[:16], x[16:]), pairs(x[::2], x[1::2]), pairs(*x[20:22, None])]
    )
    np.testing.assert_array_equal(without_payload(result), without_payload(expected))


@BOTH
def test_products_of_pairs_are_added_in_float32(software):
    random = np.random.default_rng(0)
    a, b, c, d = (random.standard_normal(16).astype("float32") for _ in range(4))
    start = random.standard_normal(16).astype("float32")

    def make(x, y, total):
        words = (L16.load(buffer, 0) for buffer in (x, y))
        value = bfloat16.add_dot_pairs(L16.load(total, 0), *words)
        return bfloat16_instructions.import_instructions(L16.store(total, value, 0))

    result = run(make, host_target(), [pairs(a, b), pairs(c, d)], start, software=software)
    exact = [torch.from_numpy(x).bfloat16().double().numpy() for x in (a, b, c, d)]
    expected = start + exact[0] * exact[2] + exact[1] * exact[3]
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6)
