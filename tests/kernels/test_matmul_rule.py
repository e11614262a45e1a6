import math

import numpy as np
import pytest
from relax_programs import compiled, nodes, normal, runnable_targets
from tvm import relax, te, tirx

from sam_tvm.kernels.loops import UNROLLED

SIZES = [(1, 1, 1), (1, 37, 5), (3, 4, 8), (12, 32, 16), (33, 100, 77), (97, 65, 300)]
# Equal buffer sizes inside the kernel, which a storage pass once merged; kept as a case.
SIZES += [(32, 576, 32), (7, 1, 64), (200, 24, 64), (65, 513, 1025)]


def close_to(result: np.ndarray, exact: np.ndarray, terms: int) -> bool:
    """Errors of a float32 sum of unit products grow with the root of its length."""
    return np.abs(result - exact).max() <= 4e-7 * math.sqrt(terms) * max(1, np.abs(exact).max())


HOST, *OTHERS = runnable_targets()
CASES = [(HOST, *size) for size in SIZES] + [(t, *size) for t in OTHERS for size in SIZES[1:9:2]]


@pytest.mark.parametrize(
    ("target", "rows", "columns", "terms"),
    CASES,
    ids=lambda value: value.get("mcpu", "generic") if isinstance(value, dict) else str(value),
)
def test_static_product_equals_float64(target, rows, columns, terms):
    run = compiled(
        relax.op.matmul, ((rows, terms), "float32"), ((terms, columns), "float32"), target=target
    )
    a, b = normal(rows, terms), normal(terms, columns, seed=1)
    assert close_to(run(a, b), a.astype("float64") @ b, terms)


def test_symbolic_rows_with_transposed_weight_equal_float64():
    def linear(x, weight, bias):
        return relax.op.add(relax.op.matmul(x, relax.op.permute_dims(weight)), bias)

    run = compiled(linear, (("b", "n", 40), "float32"), ((70, 40), "float32"), ((70,), "float32"))
    assert "matmul" in run.rules.values()
    weight, bias = normal(70, 40, seed=1), normal(70, seed=2)
    for batch, rows in [(1, 1), (1, 7), (2, 31), (3, 97)]:
        x = normal(batch, rows, 40)
        exact = x.astype("float64") @ weight.T.astype("float64") + bias
        assert close_to(run(x, weight, bias), exact, 40)


def test_attention_products_with_all_sizes_symbolic_equal_float64():
    def attention(q, k, v):
        scores = relax.op.matmul(q, relax.op.permute_dims(k, [0, 2, 1]))
        return relax.op.matmul(scores, v)

    run = compiled(
        attention,
        (("h", "n", 8), "float32"),
        (("h", "m", 8), "float32"),
        (("h", "m", 8), "float32"),
    )
    assert list(run.rules.values()).count("matmul") == 2
    for heads, queries, keys in [(1, 1, 1), (2, 5, 3), (3, 17, 31), (4, 97, 130)]:
        q, k, v = normal(heads, queries, 8), normal(heads, keys, 8, seed=1), normal(heads, keys, 8)
        scores = q.astype("float64") @ k.transpose(0, 2, 1).astype("float64")
        assert close_to(run(q, k, v), scores @ v, 8 * keys)


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
def test_bias_gelu_and_residual_are_fused_and_equal_float64(target):
    def block(x, weight, bias, residual):
        hidden = relax.op.add(relax.op.matmul(x, weight), bias)
        return relax.op.add(relax.op.nn.gelu(hidden), residual)

    run = compiled(
        block,
        ((50, 24), "float32"),
        ((24, 41), "float32"),
        ((41,), "float32"),
        ((50, 41), "float32"),
        target=target,
    )
    assert list(run.rules.values()) == ["matmul"]
    x, weight, bias, residual = normal(50, 24), normal(24, 41), normal(41), normal(50, 41)
    hidden = x.astype("float64") @ weight + bias
    erf = np.vectorize(math.erf)
    exact = hidden * (0.5 + 0.5 * erf(hidden / math.sqrt(2))) + residual
    assert close_to(run(x, weight, bias, residual), exact, 24)


def test_long_sums_err_no_more_than_torch():
    torch = pytest.importorskip("torch")
    a, b = normal(64, 4736), normal(4736, 96, seed=1)
    run = compiled(relax.op.matmul, ((64, 4736), "float32"), ((4736, 96), "float32"))
    exact = a.astype("float64") @ b
    own = np.abs(run(a, b) - exact).max()
    reference = np.abs((torch.from_numpy(a) @ torch.from_numpy(b)).numpy() - exact).max()
    assert own <= 2 * reference


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
def test_sums_across_both_operands_memory_equal_float64(target):
    def transposed(a, b):
        k = te.reduce_axis((0, a.shape[0]), "k")
        return te.compute(
            (a.shape[1], b.shape[1]), lambda i, j: te.sum(a[k, i] * b[k, j], axis=k), "product"
        )

    def build(a, b):
        return relax.BlockBuilder.current().call_te(transposed, a, b)

    for rows, terms, columns in [(37, 50, 29), (101, 300, 70), (1, 40, 9)]:
        run = compiled(
            build, ((terms, rows), "float32"), ((terms, columns), "float32"), target=target
        )
        assert "matmul" in run.rules.values()
        a, b = normal(terms, rows), normal(terms, columns, seed=1)
        assert close_to(run(a, b), a.T.astype("float64") @ b, terms)


def test_batch_of_one_with_either_operand_transposed_equals_float64():
    def product(a, b):
        return relax.op.matmul(relax.op.permute_dims(a, [0, 2, 1]), b)

    run = compiled(product, ((1, 40, 33), "float32"), ((1, 40, 24), "float32"))
    assert "matmul" in run.rules.values()
    a, b = normal(1, 40, 33), normal(1, 40, 24, seed=1)
    assert close_to(run(a, b), a.transpose(0, 2, 1).astype("float64") @ b, 40)


def test_rows_a_page_apart_equal_float64():
    run = compiled(relax.op.matmul, ((50, 1024), "float32"), ((1024, 24), "float32"))
    a, b = normal(50, 1024), normal(1024, 24, seed=1)
    assert close_to(run(a, b), a.astype("float64") @ b, 1024)


@pytest.mark.parametrize(("terms", "written_out"), [(64, True), (580, True), (127, False)])
def test_steps_of_a_sum_are_written_out_where_they_divide_its_passes(terms, written_out):
    run = compiled(relax.op.matmul, ((13, terms), "float32"), ((terms, 24), "float32"))
    steps = [f for f in nodes(run, tirx.For) if f.loop_var.name == "step"]
    assert bool(steps) == written_out
    assert all(int(f.extent) == UNROLLED for f in steps)
    a, b = normal(13, terms), normal(terms, 24, seed=1)
    assert close_to(run(a, b), a.astype("float64") @ b, terms)
