"""The converters together, and what they leave unsupported."""

import pytest
import torch
from patch_support import build, export
from torch import nn

from sam_tvm.patches.importer import PATCHES, converters, patch_file, unsupported_operators


def _unsupported_program():
    return export(
        lambda x, y: (torch.bincount(y, minlength=4), x.nonzero(), torch.special.i0(x), x + 1),
        torch.rand(3),
        torch.arange(3),
    )


def test_every_operator_is_served_by_one_patch():
    served = [operator for patch in PATCHES for operator in patch.apply]
    assert len(served) == len(set(served))
    assert set(converters()) == set(served)


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.name)
def test_patches_say_what_they_mend(patch):
    assert patch.symptom
    assert patch.versions


def test_all_unsupported_operators_are_named_at_once():
    program = _unsupported_program()
    names = unsupported_operators(program, converters())
    assert names == ["bincount.default", "i0.default", "nonzero.default"]
    with pytest.raises(AssertionError, match="Unsupported function types"):
        build(program, converters())


def test_converters_count_as_support():
    program = _unsupported_program()
    given = {"nonzero.default": None, "bincount.default": None}
    assert unsupported_operators(program, converters() | given) == ["i0.default"]
    prod = export(lambda x: x.prod(0), torch.rand(3, 2))
    assert unsupported_operators(prod, {}) == ["prod.dim_int"]
    assert unsupported_operators(prod, converters()) == []


def test_program_is_decomposed_as_the_importer_does_it():
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    program = export(attention, *[torch.rand(1, 3, 8)] * 3)
    before = len(program.graph.nodes)
    assert unsupported_operators(program, converters()) == []
    assert len(program.graph.nodes) == before


def test_missing_converters_have_a_place():
    assert patch_file("i0.default") == "patches/importer/i0.py"
    for patch in PATCHES:
        for operator in patch.apply:
            if patch.name != "equality":  # serves eq and ne
                assert patch_file(operator) == f"patches/importer/{patch.name}.py"
