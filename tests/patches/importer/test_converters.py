"""The converters together, and what they leave unsupported."""

import pytest
import torch
from patch_support import build, export
from torch.nn import functional as F

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
    assert names == [
        "bincount.default (patches/importer/bincount.py)",
        "i0.default (patches/importer/i0.py)",
        "nonzero.default (patches/importer/nonzero.py)",
    ]
    with pytest.raises(AssertionError, match="Unsupported function types"):
        build(program, converters())


def test_converters_count_as_support():
    given = converters() | {"nonzero.default": None, "bincount.default": None}
    names = unsupported_operators(_unsupported_program(), given)
    assert names == ["i0.default (patches/importer/i0.py)"]
    program = export(lambda x: x.prod(0), torch.rand(3, 2))
    assert unsupported_operators(program, {}) == ["prod.dim_int (patches/importer/prod.py)"]
    assert unsupported_operators(program, converters()) == []


def test_program_is_decomposed_as_the_importer_does_it():
    program = export(F.mse_loss, torch.rand(3), torch.rand(3))
    nodes = list(program.graph.nodes)
    assert unsupported_operators(program, {}) == []
    assert list(program.graph.nodes) == nodes
    undecomposed = unsupported_operators(program, {}, decompose=False)
    assert "mse_loss.default (patches/importer/mse_loss.py)" in undecomposed
    assert unsupported_operators(program.run_decompositions(), {}, decompose=False) == []


def test_missing_converters_have_a_place():
    assert patch_file("i0.default") == "patches/importer/i0.py"
    for patch in PATCHES:
        for operator in patch.apply:
            if patch.name != "equality":  # serves eq and ne
                assert patch_file(operator) == f"patches/importer/{patch.name}.py"
