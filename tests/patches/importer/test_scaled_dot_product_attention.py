"""Attention stays whole, with every mask and scale that PyTorch takes."""

import numpy as np
import pytest
import torch
import tvm
from patch_support import export
from torch.nn import functional as F
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.kernels import attention
from sam_tvm.patches.importer.scaled_dot_product_attention import PATCH

_OPERATOR = torch.ops.aten.scaled_dot_product_attention.default


def _imported(program, converters):
    """Import a program whose attention is not decomposed."""
    table = torch.export.default_decompositions()
    table.pop(_OPERATOR)
    return from_exported_program(
        program.run_decompositions(table),
        keep_params_as_input=True,
        custom_convert_map=dict(converters),
        run_ep_decomposition=False,
    )


def _build(program, converters=PATCH.apply):
    module = attention.decompose()(_imported(program, converters))
    library = relax.build(module, target="llvm", relax_pipeline="default_build")
    machine = relax.VirtualMachine(library, tvm.cpu())
    return lambda *inputs: machine["main"](*[tvm.runtime.tensor(x.numpy()) for x in inputs])[
        0
    ].numpy()


def _attend(**options):
    def attend(q, k, v, *mask):
        mask = mask[0] if mask else None
        return (F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **options),)

    return attend


def _operands(*outer, queries=5, keys=7):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(*outer, queries, 8, generator=generator)
    k = torch.randn(*outer, keys, 8, generator=generator)
    return q, k, torch.randn(*outer, keys, 6, generator=generator)


def _assert_equals_torch(function, *inputs):
    result = _build(export(function, *inputs))(*inputs)
    np.testing.assert_allclose(result, function(*inputs)[0], atol=1e-6)


def test_operator_stays_whole():
    text = _imported(export(_attend(), *_operands(2, 3)), PATCH.apply).script(show_meta=False)
    assert text.count("R.nn.attention(") == 1
    assert "softmax" not in text


@pytest.mark.parametrize("options", [{}, {"scale": 0.9}, {"is_causal": True}], ids=str)
def test_options_equal_torch(options):
    _assert_equals_torch(_attend(**options), *_operands(2, 3))


@pytest.mark.parametrize("outer", [(), (3,)], ids=str)
def test_fewer_axes_equal_torch(outer):
    _assert_equals_torch(_attend(), *_operands(*outer))
    _assert_equals_torch(_attend(), *_operands(*outer), torch.randn(5, 7))


@pytest.mark.parametrize("boolean", [True, False])
@pytest.mark.parametrize(
    "shape",
    [(2, 3, 5, 7), (1, 1, 5, 7), (2, 1, 1, 7), (2, 3, 1, 7), (2, 3, 5, 1), (3, 5, 7), (5, 7)],
    ids=str,
)
def test_masks_of_any_shape_equal_torch(shape, boolean):
    mask = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    if boolean:
        mask = mask > -1
    _assert_equals_torch(_attend(), *_operands(2, 3), mask)


def test_query_without_keys_gives_zero():
    mask = torch.ones(2, 1, 5, 7, dtype=torch.bool)
    mask[1, :, 2] = False
    inputs = *_operands(2, 3), mask
    result = _build(export(_attend(), *inputs))(*inputs)
    assert (result[1, :, 2] == 0).all()
    np.testing.assert_allclose(result, _attend()(*inputs)[0], atol=1e-6)


def test_batch_and_lengths_may_be_symbolic():
    mask = torch.ones(2, 1, 1, 7, dtype=torch.bool)
    of_keys = {0: "B", 2: "T"}
    sizes = ({0: "B", 2: "S"}, of_keys, of_keys, {0: "B", 3: "T"})
    run = _build(export(_attend(), *_operands(2, 3), mask, sizes=sizes))
    for batch, queries, keys in [(1, 1, 1), (3, 9, 4), (2, 5, 11)]:
        mask = torch.rand(batch, 1, 1, keys) > 0.3
        mask[..., 0] = True
        inputs = *_operands(batch, 3, queries=queries, keys=keys), mask
        np.testing.assert_allclose(run(*inputs), _attend()(*inputs)[0], atol=1e-6)


def test_what_is_not_supported_is_said():
    with pytest.raises(NotImplementedError, match="dropout"):
        _imported(export(_attend(dropout_p=0.5), *_operands(2, 3)), PATCH.apply)
    q, k, v = torch.randn(1, 4, 5, 8), torch.randn(1, 2, 5, 8), torch.randn(1, 2, 5, 8)
    with pytest.raises(NotImplementedError, match="enable_gqa"):
        _imported(export(_attend(enable_gqa=True), q, k, v), PATCH.apply)


def test_tvm_refuses_a_boolean_mask_without_the_patch():
    inputs = *_operands(2, 3), torch.ones(5, 7, dtype=torch.bool)
    with pytest.raises(AssertionError, match=PATCH.symptom):
        _imported(export(_attend(), *inputs), {})


def test_tvm_drops_the_scale_without_the_patch():
    inputs = _operands(2, 3)
    program = export(_attend(scale=0.9), *inputs)
    np.testing.assert_allclose(_build(program, {})(*inputs), _attend()(*inputs)[0], atol=1e-6)
