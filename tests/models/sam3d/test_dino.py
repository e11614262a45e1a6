"""DINOv2's backbone has the weights of torch.hub's model, and computes what timm's does."""

import pytest
import torch
from torch import nn

from sam_tvm.models.presets import FULL, get_preset
from sam_tvm.models.sam3d.dino import DinoBackbone
from sam_tvm.models.sam3d.random_weights import fill_random

TINY = get_preset("tiny").sam3d


def _timm(config) -> nn.Module:
    """Timm's DINOv2 with registers, at the sizes of `config`."""
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=config.image_size,
        patch_size=config.dino_patch,
        embed_dim=config.dino_width,
        depth=config.dino_depth,
        num_heads=config.dino_heads,
        init_values=1.0,
        reg_tokens=config.dino_registers,
        no_embed_class=True,
        num_classes=0,
    )


@pytest.fixture
def backbone():
    backbone = DinoBackbone(TINY)
    fill_random(nn.ModuleDict({"backbone": backbone}), seed=0)
    return backbone.eval()


def test_full_weights_are_those_that_timm_converts_from_the_hubs_file():
    """Timm's own conversion accepts them, and leaves nothing over and nothing out."""
    from timm.models.vision_transformer import checkpoint_filter_fn

    with torch.device("meta"):
        weights = DinoBackbone(FULL.sam3d).state_dict()
        timm_model = _timm(FULL.sam3d)
    assert weights["pos_embed"].shape == (1, 1370, 1024)
    assert weights["register_tokens"].shape == (1, 4, 1024)
    assert len(weights) == 5 + 2 + 2 + 24 * 14 - 1
    converted = checkpoint_filter_fn(weights, timm_model)
    expected = {name: tensor.shape for name, tensor in timm_model.state_dict().items()}
    assert {name: tensor.shape for name, tensor in converted.items()} == expected


def test_features_equal_timms_with_the_converted_weights(backbone):
    from timm.models.vision_transformer import checkpoint_filter_fn

    timm_model = _timm(TINY)
    timm_model.load_state_dict(checkpoint_filter_fn(dict(backbone.state_dict()), timm_model))
    pictures = torch.randn(2, 3, TINY.image_size, TINY.image_size)
    expected = timm_model.eval().forward_features(pictures)  # normalised, all tokens
    features = backbone.forward_features(pictures)
    patches = features["x_norm_patchtokens"]
    assert patches.shape == (2, TINY.dino_patches, TINY.dino_width)
    assert torch.allclose(features["x_norm_clstoken"], expected[:, 0], atol=1e-5)
    assert torch.allclose(patches, expected[:, 1 + TINY.dino_registers :], atol=1e-5)
    assert torch.allclose(backbone.norm(features["x_prenorm"]), expected, atol=1e-5)


def test_the_original_class_has_it_as_its_backbone(networks):
    embedder = networks["ss_condition_embedder"]
    assert isinstance(embedder.embedder_list[0][0].backbone, DinoBackbone)
    names = {name for name, _ in embedder.named_parameters()}
    assert "module_list.1.backbone.blocks.1.ls2.gamma" in names
    assert "module_list.0.backbone.register_tokens" in names
