"""A prompt of one masked slot is the empty prompt that the reference takes."""

import numpy as np
import pytest
import torch

from sam_tvm import components
from sam_tvm.models.sam3.weights import load_model
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline.library import Library


@pytest.fixture(scope="module")
def model(ported):
    source = ported.source("sam3")
    with reference_environment():
        yield load_model(ported.preset, source.checkpoint, source.seed)[0]


@pytest.mark.parametrize("filler", [0.0, 0.7])
def test_masked_slots_equal_the_empty_prompt(ported, model, filler):
    from sam3.model.geometry_encoders import Prompt

    config = ported.preset.sam3
    side, width = config.grid_size, config.d_model
    rng = np.random.default_rng(3)
    feats, pos = rng.standard_normal((2, side * side, 1, width), dtype=np.float32)
    empty = Prompt(box_embeddings=torch.zeros(0, 1, 4), box_mask=torch.zeros(1, 0, dtype=bool))
    with torch.inference_mode():
        expected, expected_mask = model.geometry_encoder(
            geo_prompt=empty,
            img_feats=[torch.from_numpy(feats)],
            img_sizes=[(side, side)],
            img_pos_embeds=[torch.from_numpy(pos)],
        )
    library = Library(ported, components.select(["geometry_encoder"])[0])
    actual, mask = library(
        {
            "points": np.full((1, 1, 2), filler, np.float32),
            "points_mask": np.ones((1, 1), bool),
            "points_labels": np.zeros((1, 1), np.int64),
            "boxes": np.full((1, 1, 4), filler, np.float32),
            "boxes_mask": np.ones((1, 1), bool),
            "boxes_labels": np.zeros((1, 1), np.int64),
            "img_feats": feats,
            "img_pos": pos,
        }
    )
    assert expected_mask.tolist() == [[False]]
    assert mask.tolist() == [[False, True, True]]
    np.testing.assert_allclose(actual[:1], expected.numpy(), rtol=1e-5, atol=1e-5)
