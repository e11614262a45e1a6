"""What is trained, in which order, and what each stage has to reach before the next begins."""

from __future__ import annotations

from dataclasses import dataclass

from sam_tvm.models.presets import TINY_SAM3, Sam3Config


@dataclass(frozen=True)
class Stage:
    """One stage of the training.

    Attributes:
        name: "dense" or "detection", which says what is minimised.
        gate: figures on the validation scenes, each with the least value that ends the stage;
            that of the last stage begins the final decay.
        batch: pictures of a step.
        prompts: of each picture.
        most_objects: of a scene.
        learning_rate: after the warm-up; it stays there until the final decay.
        warm_up: steps.
    """

    name: str
    gate: dict[str, float]
    batch: int
    prompts: int
    most_objects: int
    learning_rate: float
    warm_up: int = 100


@dataclass(frozen=True)
class Recipe:
    """All that a training depends on: with the code, it determines the weights.

    Attributes:
        config: the model.
        seed: of the first values, and of every scene and prompt.
        stages: in order.
        weight_decay: of the matrices.
        averaging: of the exponential moving average of the weights, which is what is shipped.
        clip: the largest norm of a gradient.
        decay_steps: over which the learning rate of the last stage falls to 0 in the end.
    """

    config: Sam3Config
    seed: int
    stages: tuple[Stage, ...]
    weight_decay: float = 0.01
    averaging: float = 0.998
    clip: float = 5.0
    decay_steps: int = 1500


RECIPE = Recipe(
    config=TINY_SAM3,
    seed=1,
    stages=(
        Stage(
            name="dense",
            gate={"shape": 0.90, "colour": 0.95, "alignment": 0.70},
            batch=16,
            prompts=4,
            most_objects=7,
            learning_rate=2e-3,
        ),
        Stage(
            name="detection",
            gate={"f1": 0.85, "mean_iou": 0.73, "absent_accuracy": 0.95},
            batch=8,
            prompts=3,
            most_objects=6,
            learning_rate=1e-3,
        ),
    ),
)
