"""Random weights: nowhere trivial, of useful sizes, and an occupancy like a surface's."""

import copy

import pytest
import torch

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3d.build import BUILDERS, build_component
from sam_tvm.models.sam3d.random_weights import fill_random, rule_for
from sam_tvm.models.sam3d.weights import load_component

COMPUTED = {
    "ss_generator": {"latent_mapping.shape.pos_emb"},
    "gs_decoder": {"offset_perturbation"},
    "gs_decoder_4": {"offset_perturbation"},
}


def holder_of(name, module):
    holder = torch.nn.Module()
    holder.add_module(name, module)
    return holder


@pytest.mark.parametrize("name", BUILDERS)
def test_every_parameter_is_drawn_and_none_is_constant(name):
    module = build_component(name, get_preset("tiny").sam3d)
    tables = {key: module.state_dict()[key].clone() for key in COMPUTED.get(name, ())}
    for parameter in module.parameters():
        parameter.fill_(torch.nan)
    fill_random(holder_of(name, module), seed=0)
    for key, tensor in module.state_dict().items():
        assert torch.isfinite(tensor).all(), key
        if tensor.numel() > 1:
            assert len(tensor.unique()) > tensor.numel() // 2 or key in tables, key
    for key, table in tables.items():
        assert torch.equal(module.state_dict()[key], table), key
    buffers = module.state_dict().keys() - {key for key, _ in module.named_parameters()}
    assert buffers == tables.keys()


def test_seeds_and_the_two_gaussian_decoders_differ(networks):
    first, second = (
        networks[name].blocks[0].attn.to_qkv.weight for name in ("gs_decoder", "gs_decoder_4")
    )
    assert not torch.equal(first, second)
    other = copy.deepcopy(networks["gs_decoder"])
    fill_random(holder_of("gs_decoder", other), seed=1)
    assert not torch.equal(first, other.blocks[0].attn.to_qkv.weight)
    again, _ = load_component("gs_decoder", get_preset("tiny"), seed=0)
    assert torch.equal(first, again.gs_decoder.blocks[0].attn.to_qkv.weight)


@pytest.mark.parametrize(
    "key",
    [
        "ss_generator.blocks.0.norm2.6drotation_normalized.weight",
        "slat_generator.blocks.0.self_attn.q_rms_norm.gamma",
        "mesh_decoder.upsample.0.act_layers.0.weight",
        "mesh_decoder.upsample.0.out_layers.1.weight",
        "ss_decoder.out_layer.0.weight",
        "ss_condition_embedder.projection_nets.0.0.weight",
    ],
)
def test_scales_of_norms_are_around_one(networks, key):
    name, _, path = key.partition(".")
    values = networks[name].state_dict()[path]
    assert values.mean().item() == pytest.approx(1, abs=0.1)
    assert 0.05 < values.std().item() < 0.15


def test_key_without_rule_is_an_error():
    with pytest.raises(KeyError, match="no rule for the random values of ss_decoder"):
        rule_for("ss_decoder.running_mean")


def test_decoded_structure_is_sparse_but_not_empty(networks):
    size = get_preset("tiny").sam3d.ss_resolution
    latent = torch.randn(1, 8, size, size, size, generator=torch.Generator().manual_seed(0))
    occupied = (networks["ss_decoder"](latent) > 0).float().mean().item()
    assert 0.005 < occupied < 0.1


def test_residual_stream_of_the_transformer_stays_of_order_one_to_thirty(networks):
    config, generator = get_preset("tiny").sam3d, torch.Generator().manual_seed(0)
    network, seen = networks["ss_generator"], []
    handles = [
        block.register_forward_hook(lambda part, inputs, output: seen.append(output["shape"]))
        for block in network.blocks
    ]
    latents = {
        name: torch.randn(1, len(part.pos_emb), part.input_layer.in_features, generator=generator)
        for name, part in network.latent_mapping.items()
    }
    condition = torch.randn(1, config.ss_condition_tokens, config.dino_width, generator=generator)
    velocity = network(latents, torch.tensor([500.0]), condition, d=torch.tensor([0.0]))
    for handle in handles:
        handle.remove()
    assert len(seen) == config.ss_depth
    assert all(0.5 < stream.std() < 5 and stream.abs().max() < 30 for stream in seen)
    assert all(0.1 < value.abs().max() < 30 for value in velocity.values())
