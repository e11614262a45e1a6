"""Concatenation of padded sequences: any lengths, also through TVM."""

import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.importer import converters
from sam_tvm.patches.model.concat_padded_sequences import PATCH, concat_padded_sequences

SIZES = ({0: "n", 1: "B"}, {0: "B", 1: "n"}, {0: "m", 1: "B"}, {0: "B", 1: "m"})
LENGTHS = [(3, 2, 2), (1, 1, 1), (4, 7, 3), (6, 1, 2)]


def _sequences(length1, length2, batch, seed=0):
    """Two sequences of D=4 whose rows hold 0 to `length` tokens."""
    generator = torch.Generator().manual_seed(seed)
    inputs = []
    for length in (length1, length2):
        valid = torch.randint(0, length + 1, (batch, 1), generator=generator)
        inputs.append(torch.randn(length, batch, 4, generator=generator))
        inputs.append(torch.arange(length)[None, :] >= valid)
    return inputs


def _original(*inputs, **options):
    from sam3.model import geometry_encoders

    return geometry_encoders.concat_padded_sequences(*inputs, **options)


@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("seed", range(4))
def test_result_equals_the_unpatched_one(lengths, seed):
    inputs = _sequences(*lengths, seed=seed)
    expected = _original(*inputs, return_index=True)
    actual = concat_padded_sequences(*inputs, return_index=True)
    for ours, theirs in zip(actual, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    assert len(concat_padded_sequences(*inputs)) == 2


@pytest.mark.parametrize("valid", [(0, 0), (3, 0), (0, 2), (3, 2)])
def test_empty_and_full_sequences(valid):
    inputs = []
    for length, count in zip((3, 2), valid, strict=True):
        inputs += [torch.randn(length, 1, 4), torch.arange(length)[None] >= count]
    for ours, theirs in zip(concat_padded_sequences(*inputs), _original(*inputs), strict=True):
        assert torch.equal(ours, theirs)


def test_one_library_serves_all_lengths():
    example = _sequences(3, 2, 2)
    with PATCH.apply(torch.nn.Module()):
        run = build(export(_original, *example, sizes=SIZES), converters())
    for lengths in LENGTHS:
        inputs = _sequences(*lengths)
        sequence, mask = run(*inputs)
        expected_sequence, expected_mask = _original(*inputs)
        assert torch.equal(torch.from_numpy(sequence), expected_sequence)
        assert torch.equal(torch.from_numpy(mask), expected_mask)


def test_tvm_refuses_symbolic_lengths_without_the_patch():
    program = export(_original, *_sequences(3, 2, 2), sizes=SIZES)
    with pytest.raises(ValueError, match=PATCH.symptom):
        build(program, converters())
