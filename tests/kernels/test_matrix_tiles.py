"""Products in matrix tiles, where the CPU has them: which take them, their errors, operands."""

import numpy as np
import pytest
from relax_programs import Compiled, compiled, function, mapped, nodes, normal, tile_target
from test_panels import linear, operands, rounded
from tvm import relax, tirx
from tvm.ir import Call

from sam_tvm.kernels import streaming
from sam_tvm.kernels.amx.library import import_tiles
from sam_tvm.kernels.amx.parts import pair_pieces, products_of
from sam_tvm.kernels.amx.waiting import WaitingSums
from sam_tvm.kernels.graph import panels
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Lanes, index
from sam_tvm.pipeline.instructions import requirements

pytestmark = pytest.mark.skipif(tile_target() is None, reason="no AMX here, and none in software")


def calls(run: Compiled) -> set[str]:
    """Names of the functions in LLVM IR that the scheduled functions call."""
    found = nodes(run, Call)
    return {c.args[0].value for c in found if getattr(c.op, "name", "") == "tirx.call_extern"}


def uses_tiles(run: Compiled) -> bool:
    return any("tiles_multiply" in name for name in calls(run))


def uses_digits(run: Compiled) -> bool:
    return any("tiles_multiply_combining" in name for name in calls(run))


def rms(error: np.ndarray) -> float:
    return float(np.sqrt(np.mean(error**2)))


@pytest.mark.parametrize(("rows", "terms"), [(260, 97), (201, 1024), (200, 4736)])
def test_float32_in_parts_errs_less_than_float32_itself(rows, terms):
    """Against a BLAS in float32, whose sums are as long."""
    run = linear(tile_target(), "float32", (rows, terms), 70)
    assert uses_tiles(run) and not uses_digits(run)
    x, weight = normal(rows, terms), normal(terms, 70, seed=1)
    exact = x.astype("float64") @ weight.astype("float64")
    error, plain = run(x, weight) - exact, x @ weight - exact
    assert rms(error) <= rms(plain)
    assert abs(error).max() <= 1.5 * abs(plain).max()


@pytest.mark.parametrize(("terms", "tolerance"), [(64, 1e-6), (300, 5e-5)])
@pytest.mark.parametrize("magnitude", [1e-25, 1e25])
def test_tiles_hold_numbers_of_any_size(magnitude, terms, tolerance):
    run = linear(tile_target(), "float32", (256, terms), 48)
    assert uses_digits(run) == (terms == 300)
    x, weight = normal(256, terms) * np.float32(magnitude), normal(terms, 48, seed=1)
    exact = x.astype("float64") @ weight.astype("float64")
    np.testing.assert_allclose(run(x, weight), exact, rtol=1e-4, atol=tolerance * magnitude)


@pytest.mark.parametrize("terms", [64, 300])
def test_what_is_not_finite_shows_in_its_row_alone(terms):
    run = linear(tile_target(), "float32", (256, terms), 48)
    x, weight = normal(256, terms), normal(terms, 48, seed=1)
    x[3, 5], x[40, 6] = np.inf, np.nan
    assert set(np.flatnonzero(~np.isfinite(run(x, weight)).all(1))) == {3, 40}


def test_very_few_rows_stay_in_registers():
    assert not uses_tiles(linear(tile_target(), "float32", (15, 64), 64))
    assert uses_tiles(linear(tile_target(), "bfloat16", (8, 64), 64))


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 33, 700])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_one_library_takes_any_number_of_rows(precision, rows):
    run = linear(tile_target(), precision, ("rows", 2176), 130)
    assert uses_tiles(run)
    x, weight = normal(rows, 2176), normal(2176, 130, seed=1)
    a, b = operands(precision, x, weight)
    np.testing.assert_allclose(run(x, weight), a @ b, rtol=1e-4, atol=1e-3)


def allocated(run: Compiled) -> set[str]:
    """Names of the scratch memory that the scheduled functions allocate."""
    return {node.buffer.name for node in nodes(run, tirx.AllocBuffer)}


def test_few_rows_cut_a_weight_where_they_meet_it():
    few = linear(tile_target(), "float32", (201, 128), 96)
    many = linear(tile_target(), "float32", (300, 128), 96)
    assert "panels" not in allocated(few)
    assert "panels" in allocated(many)


@pytest.mark.parametrize("rows", [32, 200])
def test_a_matrix_that_was_not_packed_is_cut_where_few_rows_meet_it(rows):
    shapes = [(("b", rows, 96), "float32"), (("b", 96, 160), "float32")]
    run = compiled(
        lambda a, b: relax.op.nn.relu(relax.op.matmul(a, b)), *shapes, target=tile_target()
    )
    assert uses_tiles(run)
    a, b = normal(3, rows, 96), normal(3, 96, 160, seed=1)
    exact = np.maximum(a.astype("float64") @ b, 0)
    np.testing.assert_allclose(run(a, b), exact, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("shape", [(31, 96, 160), (64, 96, 150), (64, 90, 160), (600, 96, 160)])
def test_matrices_of_other_sizes_are_read_where_they_lie(shape):
    rows, terms, columns = shape
    shapes = [((2, rows, terms), "float32"), ((2, terms, columns), "float32")]
    assert not uses_tiles(compiled(relax.op.matmul, *shapes, target=tile_target()))


def test_a_sum_of_unknown_length_is_a_product_in_registers():
    shapes = [((2, 64, "terms"), "float32"), ((2, "terms", 96), "float32")]
    run = compiled(relax.op.matmul, *shapes, target=tile_target())
    assert not uses_tiles(run)
    assert set(run.rules.values()) == {"matmul"}
    a, b = normal(2, 64, 37), normal(2, 37, 96, seed=1)
    np.testing.assert_allclose(run(a, b), a @ b, rtol=1e-5, atol=1e-5)


def test_a_kernel_imports_the_functions_that_it_calls_and_no_others():
    run = linear(tile_target(), "bfloat16", (300, 1024), 96)
    (imported,) = {
        node.value.value
        for node in nodes(run, tirx.AttrStmt)
        if node.attr_key == "pragma_import_llvm" and "tiles" in node.value.value
    }
    defined = {line for line in imported.splitlines() if line.startswith("define")}
    assert any("multiply" in line for line in defined)
    assert not any("digits" in line or "tiles_load" in line for line in defined)


def test_a_pass_adds_no_more_sums_than_a_block_has():
    WaitingSums(8, [[(0, 0)]])
    with pytest.raises(ValueError, match="9 steps"):
        WaitingSums(9, [[(0, 0)]])


def through(source: np.ndarray, call, dtype: str) -> np.ndarray:
    """Apply a function in LLVM IR to vectors of 16."""
    lanes = Lanes(16)

    def make(x, y):
        def step(i):
            return lanes.store(y, call(lanes.load(x, i * 16)), i * 16)

        return import_tiles(loop(index(source.size // 16), step, "i"))

    return mapped(make, source, tile_target(), dtype)


def test_pieces_add_up_to_the_number():
    x = np.abs(normal(320))
    pieces = [through(x, lambda v, p=p: pair_pieces(3, v, v)[p], "uint32") for p in range(3)]
    halves = [(piece & 0xFFFF0000).view("float32").astype("float64") for piece in pieces]
    np.testing.assert_array_equal(sum(halves), x.astype("float64"))
    np.testing.assert_array_equal(pieces[0] << 16, pieces[0] & 0xFFFF0000)


@pytest.mark.parametrize("columns", [96, 112, 100])
def test_a_streamed_result_is_the_stored_one(columns, monkeypatch):
    """Whole cache lines go past the caches; 100 columns make none."""

    def build():
        return linear(tile_target(), "bfloat16", (75, 320), columns, lambda y: relax.op.nn.relu(y))

    x, weight = normal(75, 320), normal(320, columns, seed=1)
    stored = build()
    monkeypatch.setattr(streaming, "LARGE", 1)
    streamed = build()
    assert "sam_tvm_stream" not in calls(stored)
    assert ("sam_tvm_stream" in calls(streamed)) == (columns != 100)
    np.testing.assert_array_equal(streamed(x, weight), stored(x, weight))


def test_a_streamed_result_is_rounded_like_any_other(monkeypatch):
    form = panels_for(tile_target(), "bfloat16")

    def product(x, weight):
        builder = relax.BlockBuilder.current()
        y = panels.matmul(builder, x, panels.pack(builder, weight, form), 96, form)
        return panels.round_operand(builder, y)

    monkeypatch.setattr(streaming, "LARGE", 1)
    run = Compiled(function(product, ((75, 320), "float32"), ((320, 96), "float32")), tile_target())
    assert "sam_tvm_stream_rounded" in calls(run)
    x, weight = normal(75, 320), normal(320, 96, seed=1)
    bits = run(x, weight).astype("uint32") << 16
    exact = rounded(x) @ rounded(weight)
    # Half a unit in the last of eight places, and the sum's own error.
    np.testing.assert_allclose(bits.view("float32"), exact, rtol=2**-8, atol=1e-3)


def test_large_results_of_other_loops_are_streamed_too(monkeypatch):
    monkeypatch.setattr(streaming, "LARGE", 1)
    shape = ((1, 6, 7, 64), "float32")
    norm = Compiled(
        function(
            lambda x, g, b: relax.op.nn.layer_norm(x, g, b, [-1]),
            shape,
            ((64,), "float32"),
            ((64,), "float32"),
        ),
        tile_target(),
    )
    assert {"sam_tvm_stream", "sam_tvm_stream_end"} <= calls(norm)
    x, scale, shift = normal(1, 6, 7, 64), normal(64, seed=1), normal(64, seed=2)
    wide = x.astype("float64")
    centred = wide - wide.mean(-1, keepdims=True)
    exact = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift
    np.testing.assert_allclose(norm(x, scale, shift), exact, rtol=1e-5, atol=1e-5)


def test_small_products_come_before_the_large_one():
    small, large = products_of(3, 3)
    assert large == ((0, 0),)
    assert sorted(small) == [(0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]
    assert products_of(1, 1) == (((0, 0),),)


def test_a_library_asks_for_the_instructions():
    assert {"amx-tile", "amx-bf16"} <= set(requirements(tile_target())["instructions"])
