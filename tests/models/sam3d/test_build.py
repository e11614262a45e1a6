"""The networks are the reference's classes at the preset's sizes."""

import pytest
import torch

from sam_tvm.models.presets import FULL, get_preset
from sam_tvm.models.sam3d.build import BUILDERS, build_component
from sam_tvm.runtime.errors import UnknownNameError

TINY = get_preset("tiny").sam3d
# Parameters of the published networks, in millions.
MILLIONS = {
    "ss_condition_embedder": 634,
    "slat_condition_embedder": 626,
    "ss_generator": 960,
    "ss_decoder": 74,
    "slat_generator": 600,
    "gs_decoder": 85,
    "gs_decoder_4": 85,
    "mesh_decoder": 91,
}


@pytest.mark.parametrize("name", BUILDERS)
def test_network_is_ready_for_evaluation(networks, name):
    network = networks[name]
    assert type(network).__module__.startswith("sam3d_objects.")
    for parameter in network.parameters():
        assert parameter.dtype == torch.float32
        assert not parameter.requires_grad
    for part in network.modules():
        # spconv is right on a CPU only in training mode.
        assert part.training == type(part).__module__.startswith("spconv.")


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="ss_decoder"):
        build_component("decoder", TINY)


@pytest.mark.parametrize("name", [name for name in BUILDERS if name != "mesh_decoder"])
def test_full_networks_have_the_published_number_of_parameters(name):
    with torch.device("meta"):  # nothing is allocated
        network = build_component(name, FULL.sam3d)
    count = sum(parameter.numel() for parameter in network.parameters())
    assert round(count / 1e6) == MILLIONS[name]


def test_sizes_that_follow_from_others():
    full = FULL.sam3d
    assert (full.ss_condition_tokens, full.slat_condition_tokens) == (7528, 5496)
    assert (full.resolution, TINY.resolution) == (64, 32)
