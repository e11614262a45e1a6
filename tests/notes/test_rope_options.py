"""What NOTES/TVM_ROPE_RESEARCH.md claims about RoPE in TVM 0.27, as far as a test can show it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import rope_variants as variants
import torch
import tvm
from torch import Tensor
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.patches.environment import reference_environment

CHANNELS = 64  # of a head at the full preset
# Side of the table and of the grid that positions are scaled to: windowed and global blocks.
TABLES = {"windowed": (24, 24), "global": (72, 24)}


@pytest.fixture(scope="module", autouse=True)
def sam3_importable() -> Iterator[None]:
    with reference_environment():
        yield


def axial_table(side: int, pretrain_side: int) -> Tensor:
    """Return `freqs_cis` as `vitdet.Attention` computes it: complex64 (side * side, 32)."""
    from sam3.model.vitdet import compute_axial_cis

    return compute_axial_cis(CHANNELS, side, side, scale_pos=pretrain_side / side)


def queries_and_keys(side: int, heads: int = 2) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (1, heads, side * side, CHANNELS)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


def rotate_float64(x: Tensor, table: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * table.to(torch.complex128)).flatten(-2)


def max_error(actual: list[np.ndarray] | tuple[Tensor, ...], expected: list[Tensor]) -> float:
    pairs = zip(actual, expected, strict=True)
    return max(float(np.abs(np.asarray(a) - e.numpy()).max()) for a, e in pairs)


def assert_within_referee_bound(actual: list[np.ndarray], table: Tensor, q: Tensor, k: Tensor):
    """Assert that the error against float64 is at most twice the float32 reference's own."""
    expected = [rotate_float64(x, table) for x in (q, k)]
    reference = max_error(variants.ComplexRope(table)(q, k), expected)
    assert 0 < reference < 1e-6
    assert max_error(actual, expected) <= 2 * reference


# Complex numbers in TVM.


def test_tvm_has_no_complex_dtype():
    with pytest.raises(ValueError, match="unknown dtype `complex64`"):
        relax.TensorType((1,), "complex64")
    with pytest.raises(ValueError, match="unknown dtype `complex64`"):
        tvm.runtime.tensor(np.zeros(1, "complex64"))
    imported = tvm.runtime.from_dlpack(torch.zeros(1, dtype=torch.complex64))
    with pytest.raises(ValueError, match="DLDataType contains unknown type_code=5"):
        imported.numpy()


def test_importer_refuses_complex_buffers():
    q, k = queries_and_keys(2)
    with pytest.raises(
        NotImplementedError, match=r"input_type torch\.complex64 is not handled yet"
    ):
        variants.import_module(variants.ComplexRope(axial_table(2, 2)), q, k)


def test_importer_has_no_complex_operators():
    class Product(torch.nn.Module):
        def forward(self, x: Tensor, size: Tensor, angle: Tensor) -> Tensor:
            return torch.view_as_real(torch.view_as_complex(x) * torch.polar(size, angle))

    program = torch.export.export(Product(), (torch.ones(3, 2), torch.ones(3), torch.ones(3)))
    with pytest.raises(AssertionError) as error:
        from_exported_program(program)
    for name in ("view_as_complex.default", "view_as_real.default", "polar.default"):
        assert name in str(error.value)


def test_decomposition_leaves_complex_operators():
    program = torch.export.export(
        variants.ComplexRope(axial_table(2, 2)), queries_and_keys(2), strict=False
    ).run_decompositions()
    assert {"aten.view_as_complex.default", "aten.mul.Tensor", "aten.view_as_real.default"} <= {
        str(node.target) for node in program.graph.nodes
    }


# The options.


@pytest.mark.parametrize(
    "build",
    [
        lambda table: variants.PairRope(table, strided=False),
        lambda table: variants.PairRope(table, strided=True),
        lambda table: variants.SwapRope(table, matmul=False),
        lambda table: variants.SwapRope(table, matmul=True),
    ],
    ids=["pairs by reshape", "pairs by stride", "swap by flip", "swap by matmul"],
)
def test_real_rope_equals_complex_reference(build):
    table, (q, k) = axial_table(6, 2), queries_and_keys(6)
    actual = variants.run_main(variants.import_module(build(table), q, k), q, k)
    assert_within_referee_bound(actual, table, q, k)


def test_pairs_by_reshape_become_one_kernel():
    module = variants.import_module(
        variants.PairRope(axial_table(4, 4), strided=False), *queries_and_keys(4)
    )
    module = tvm.transform.Sequential(
        [
            relax.transform.LegalizeOps(),
            relax.transform.AnnotateTIROpPattern(),
            relax.transform.FuseOps(),
            relax.transform.FuseTIR(),
        ]
    )(module)
    kernels = [f for f in module.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    assert len(kernels) == 1  # queries and keys share it


def test_half_rope_of_permuted_channels_keeps_attention_scores():
    table, (q, k) = axial_table(6, 2), queries_and_keys(6)
    order = torch.cat([torch.arange(0, CHANNELS, 2), torch.arange(1, CHANNELS, 2)])
    permuted = [x[..., order].contiguous() for x in (q, k)]
    module = variants.import_module(variants.HalfRope(table), *permuted)
    actual = variants.run_main(module, *permuted)

    expected = [rotate_float64(x, table) for x in (q, k)]
    assert max_error(actual, [x[..., order] for x in expected]) < 1e-6
    scores = torch.from_numpy(actual[0]).double() @ torch.from_numpy(actual[1]).double().mT
    torch.testing.assert_close(scores, expected[0] @ expected[1].mT, rtol=0, atol=1e-5)


def test_complex_pairs_in_converters_equal_complex_reference():
    table, (q, k) = axial_table(6, 2), queries_and_keys(6)
    module = variants.import_with_complex_pairs(variants.ComplexRope(table), q, k)
    assert_within_referee_bound(variants.run_main(module, q, k), table, q, k)


def test_custom_function_equals_complex_reference():
    table, (q, k) = axial_table(6, 2), queries_and_keys(6)
    actual = variants.run_main(variants.custom_function(table, q), q, k)
    assert_within_referee_bound(actual, table, q, k)


@pytest.mark.parametrize("mode", [{}, {"rope_type": "gptj"}], ids=["halves", "neighbours"])
def test_llm_rope_of_whole_heads_cannot_express_two_axes(mode):
    """One position per token turns channel pair j by p * theta**(-j/32): two axes need two."""
    side, pretrain_side = TABLES["windowed"]
    q, _ = queries_and_keys(side, heads=1)
    expected = rotate_float64(q, axial_table(side, pretrain_side)).reshape(-1, CHANNELS)
    rotate = variants.llm_rope(CHANNELS, pretrain_side / side, mode)
    token = torch.arange(side * side)
    for position in (token, token % side, token // side):
        actual = rotate(q.reshape(-1, CHANNELS), position)
        assert (actual - expected).abs().max() > 1


@pytest.mark.parametrize("name", TABLES)
def test_llm_rope_of_half_heads_expresses_two_axes(name):
    """Half heads as heads of 32 channels, x for the first and y for the second, do express it.

    It computes its own angles, so it is not within the referee's bound of the model's tables.
    """
    side, pretrain_side = TABLES[name]
    table, (q, _) = axial_table(side, pretrain_side), queries_and_keys(side, heads=1)
    token = torch.arange(side * side)
    positions = torch.stack([token % side, token // side], -1).flatten()
    rotate = variants.llm_rope(CHANNELS // 2, pretrain_side / side, {"rope_type": "gptj"})
    actual = rotate(q.reshape(-1, CHANNELS // 2), positions).reshape(q.shape)

    expected = rotate_float64(q, table)
    reference = max_error(variants.ComplexRope(table)(q, q)[:1], [expected])
    error = max_error([actual.numpy()], [expected])
    assert 2 * reference < error < 1e-5
