"""All model patches together."""

import pytest
import torch

from sam_tvm.patches.model import PATCHES, export_patches


def test_patches_are_named_after_their_files():
    modules = {patch.apply.__wrapped__.__module__.rpartition(".")[2] for patch in PATCHES}
    assert modules == {patch.name for patch in PATCHES}


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_patches_say_what_they_mend(patch):
    assert patch.symptom
    assert patch.versions


def test_all_patches_hold_and_end_together():
    from sam3.model import geometry_encoders, position_encoding, vitdet

    attention = vitdet.Attention(dim=8, num_heads=2, use_rope=True, input_size=(2, 2))
    originals = vitdet.apply_rotary_enc, geometry_encoders.concat_padded_sequences
    with export_patches(torch.nn.Sequential(attention)):
        assert not attention.freqs_cis.is_complex()
        assert vitdet.apply_rotary_enc is not originals[0]
        assert geometry_encoders.concat_padded_sequences is not originals[1]
        assert "len" in vars(position_encoding)
    assert attention.freqs_cis.is_complex()
    assert vitdet.apply_rotary_enc is originals[0]
    assert geometry_encoders.concat_padded_sequences is originals[1]
    assert "len" not in vars(position_encoding)
