"""The training as commands: the environment that it needs, and what is asked of it."""

from __future__ import annotations

from pathlib import Path

import torch

from sam_tvm.patches.environment import reference_environment
from sam_tvm.training.checkpoints import read_history
from sam_tvm.training.curves import write_curves
from sam_tvm.training.recipe import RECIPE, Recipe
from sam_tvm.training.trainer import Trainer
from sam_tvm.training.weights_file import save_weights

WEIGHTS = "weights.safetensors"
CURVES = "curves.png"


def train(
    folder: Path,
    minutes: float | None = None,
    decay_steps: int | None = None,
    threads: int | None = None,
    recipe: Recipe = RECIPE,
) -> None:
    """Train, or go on training, in a folder; see `Trainer.run`."""
    if threads:
        torch.set_num_threads(threads)
    with reference_environment():
        Trainer(recipe, folder).run(minutes, decay_steps)


def export_weights(folder: Path, recipe: Recipe = RECIPE) -> tuple[Path, Path]:
    """Write the averaged weights and the curves of the training in a folder; returns their paths.

    Raises:
        UserError: there is no training.
    """
    history = read_history(folder)
    curves, weights = folder / CURVES, folder / WEIGHTS
    write_curves(curves, history)
    with reference_environment():
        trainer = Trainer(recipe, folder, resume_only=True)
        with trainer.average.in_place():
            save_weights(trainer.model, weights)
    return weights, curves
