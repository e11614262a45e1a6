"""Names and sizes of the presets."""

import pytest

from sam_tvm.models.presets import PRESETS, get_preset
from sam_tvm.runtime.errors import UnknownNameError


def test_unknown_preset_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="no preset 'huge'; known presets: full, tiny"):
        get_preset("huge")


@pytest.mark.parametrize("name", PRESETS)
def test_preset_has_every_kind_of_block(name):
    config = get_preset(name).sam3
    assert get_preset(name).name == name
    assert 0 < len(config.global_blocks) < config.vision_depth
    assert config.global_blocks[-1] == config.vision_depth - 1  # the features are its output
    assert config.pretrain_image_size < config.image_size  # positions are tiled
    assert config.vision_width % config.vision_heads == config.d_model % config.heads == 0


def test_tiny_windows_need_padding():
    config = get_preset("tiny").sam3
    assert config.grid_size % config.window_size != 0


def test_full_has_the_published_token_and_mask_sizes():
    config = get_preset("full").sam3
    assert (config.grid_size, config.num_tokens, config.mask_size) == (72, 5184, 288)
