"""What the model says of a batch is turned into answers that can be judged."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from sam_tvm.scenes.drawing import VALIDATION, draw_scene, generator
from sam_tvm.scenes.prompts import TrainingPrompt
from sam_tvm.training.batches import Batch
from sam_tvm.training.validation import LEAST_SCORE, _answers

QUERIES = 5


@pytest.fixture
def batch():
    """A scene, and a prompt that asks for its first object."""
    scene = draw_scene(generator(VALIDATION, 0, 1), 128)
    return Batch([scene], [[TrainingPrompt("a thing", (0,), (0,))]])


@pytest.fixture
def masks(batch):
    """Logits (1, queries, 64, 64): the second query's mask is right, the others are empty."""
    true = torch.from_numpy(batch.scenes[0].mask(0)).float()
    logits = torch.full((1, QUERIES, 64, 64), -1.0)
    logits[0, 1] = F.avg_pool2d(true[None], 2)[0] - 0.5
    return logits


def test_detections_are_measured_at_the_size_of_the_picture(batch, masks):
    scores = torch.zeros(1, QUERIES)
    scores[0, 1] = 0.9
    (answer,) = _answers(batch, scores, masks)
    assert answer.scores == pytest.approx([0.9])
    assert answer.overlaps.shape == (1, 1)
    assert answer.overlaps[0, 0] > 0.9


def test_an_answer_may_have_no_detection(batch, masks):
    (answer,) = _answers(batch, torch.full((1, QUERIES), LEAST_SCORE / 2), masks)
    assert answer.scores.shape == (0,)
    assert answer.overlaps.shape == (0, 1)
    assert answer.overlaps.dtype == np.float32
