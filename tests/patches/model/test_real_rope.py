"""RoPE in real arithmetic against complex numbers in float64, and the blocker itself."""

import pytest
import torch
from patch_support import assert_as_accurate_as_torch, build, export

from sam_tvm.patches.model.real_rope import PATCH, apply_rotary_enc


def _attention():
    from sam3.model.vitdet import Attention

    torch.manual_seed(0)
    options = {"use_rope": True, "rope_interp": True, "rope_pt_size": (8, 8)}
    attention = Attention(dim=32, num_heads=2, input_size=(4, 6), **options)
    return attention.eval().requires_grad_(False)


def test_rope_equals_complex_reference():
    from sam3.model.vitdet import apply_rotary_enc as complex_rotary_enc

    freqs_cis = _attention().freqs_cis
    q, k = torch.randn(2, 3, 2, 24, 16).unbind(0)
    real = apply_rotary_enc(q, k, torch.view_as_real(freqs_cis))
    for ours, torchs, x in zip(real, complex_rotary_enc(q, k, freqs_cis), (q, k), strict=True):
        pairs = torch.view_as_complex(x.double().unflatten(-1, (-1, 2)))
        rotated = torch.view_as_real(pairs * freqs_cis.to(torch.complex128)).flatten(-2)
        assert_as_accurate_as_torch(ours, torchs, rotated)


def test_patched_attention_equals_the_unpatched_one():
    attention, x = _attention(), torch.randn(2, 4, 6, 32)
    expected = attention(x)
    with PATCH.apply(attention):
        actual = attention(x)
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-6)


def test_exported_program_has_no_complex_tensor_and_runs_in_tvm():
    attention, x = _attention(), torch.randn(2, 4, 6, 32)
    expected = attention(x)
    with PATCH.apply(attention):
        program = export(attention, x)
    values = [node.meta["val"] for node in program.graph.nodes if "val" in node.meta]
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    assert not any(tensor.is_complex() for tensor in tensors)
    assert not any(tensor.is_complex() for _, tensor in program.named_buffers())
    actual = build(program)(x)[0]
    torch.testing.assert_close(torch.from_numpy(actual), expected, rtol=0, atol=1e-6)


def test_buffers_are_complex_again_afterwards():
    attention = _attention()
    before = attention.freqs_cis
    with pytest.raises(KeyError), PATCH.apply(attention):
        assert attention.freqs_cis.shape == (*before.shape, 2)
        assert torch.equal(attention.freqs_cis[..., 1], before.imag)
        raise KeyError
    assert attention.freqs_cis is before
    assert attention.state_dict()["freqs_cis"].is_complex()


def test_tracker_only_option_is_refused():
    x, freqs = torch.randn(1, 1, 4, 2), torch.randn(4, 1, 2)
    with pytest.raises(NotImplementedError, match="repeat_freqs_k"):
        apply_rotary_enc(x, x, freqs, repeat_freqs_k=True)


def test_tvm_refuses_complex_numbers_without_the_patch():
    with pytest.raises(NotImplementedError, match=PATCH.symptom):
        build(export(_attention(), torch.randn(2, 4, 6, 32)))
