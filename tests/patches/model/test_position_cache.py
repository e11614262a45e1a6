"""Position encodings are exported as a computation."""

import torch
from patch_support import export

from sam_tvm.patches.model.position_cache import PATCH


def _encoding():
    from sam3.model.position_encoding import PositionEmbeddingSine

    encoding = PositionEmbeddingSine(16)
    encoding(torch.zeros(1, 16, 6, 6))  # as any earlier run of the model leaves it
    return encoding


def _constants(program):
    return {name: tuple(tensor.shape) for name, tensor in program.constants.items()}


def test_program_computes_what_the_module_remembers():
    encoding, x = _encoding(), torch.zeros(2, 16, 6, 6)
    with PATCH.apply(encoding):
        program = export(encoding, x)
    assert _constants(program) == {}
    assert torch.equal(program.module()(x), encoding(x))


def test_cache_is_the_same_afterwards():
    encoding = _encoding()
    cache, remembered = encoding.cache, dict(encoding.cache)
    with PATCH.apply(torch.nn.Sequential(encoding)):
        assert encoding.cache == {}
        encoding(torch.zeros(1, 16, 3, 3))
    assert encoding.cache is cache
    assert list(cache) == list(remembered)
    assert all(cache[size] is remembered[size] for size in cache)


def test_encoding_becomes_a_constant_without_the_patch():
    assert _constants(export(_encoding(), torch.zeros(2, 16, 6, 6))) == {
        "lifted_tensor_0": (16, 6, 6)
    }
