"""The training: stages one after the other, resumable from any step.

Scenes, prompts and so the whole course depend on the recipe's seed and the number of the step
alone; a state is written every `SAVE_SECONDS`, and when the process is asked to end.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sam_tvm.runtime.errors import CheckpointError, UserError
from sam_tvm.training import checkpoints
from sam_tvm.training.averages import Average
from sam_tvm.training.batches import Batch, make_batch, run_dense, run_detection
from sam_tvm.training.dense import DenseHeads
from sam_tvm.training.detection import detection_losses, make_targets, weighted
from sam_tvm.training.ending import asked_to_end
from sam_tvm.training.model import trainable_model
from sam_tvm.training.optimiser import make_optimisers
from sam_tvm.training.pool import ScenePool
from sam_tvm.training.progress import Clock, Progress, Recent
from sam_tvm.training.recipe import Recipe, Stage
from sam_tvm.training.validation import validate

SAVE_SECONDS = 90
LOG_STEPS = 20
VALIDATE_STEPS = 125
DENSE_WEIGHT = 2.0  # of the dense objectives beside the detector's
PROMPTS_STREAM = 7  # keeps the prompts' generators apart from the scenes'


class Trainer:
    """One training in one folder, under `reference_environment()`.

    Raises:
        CheckpointError: the folder's state is damaged or of another recipe, or, with
            `resume_only`, not there.
    """

    def __init__(self, recipe: Recipe, folder: Path, resume_only: bool = False) -> None:
        self.recipe, self.folder = recipe, folder
        self.model = trainable_model(recipe.config, recipe.seed)
        self.heads = DenseHeads(recipe.config.d_model)
        self.parameters = {n: p for n, p in self._named() if p.requires_grad}
        self.average = Average(self.parameters, recipe.averaging)
        self.progress = Progress()
        self._begin_stage()
        self._resume(resume_only)

    def _named(self) -> Iterator[tuple[str, nn.Parameter]]:
        yield from self.model.named_parameters()
        yield from self.heads.named_parameters(prefix="dense_heads")

    @property
    def stage(self) -> Stage:
        """The stage that the training is in."""
        return self.recipe.stages[self.progress.stage]

    def _begin_stage(self) -> None:
        recipe = self.recipe
        self.optimisers = make_optimisers(
            self.parameters.items(), self.stage.learning_rate, recipe.weight_decay
        )
        self.pool = ScenePool(recipe.seed, recipe.config.image_size, self.stage.most_objects)

    def _resume(self, required: bool) -> None:
        state = checkpoints.load_state(self.folder)
        if state is None:
            if required:
                raise CheckpointError(f"{self.folder} holds no training; train first")
            return
        if state["recipe"] != described(self.recipe):
            raise CheckpointError(
                f"{self.folder} holds a training of another recipe; give another folder"
            )
        self.progress = Progress(**state["progress"])
        self._begin_stage()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["parameters"][name])
        self.average.load(state["average"])
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

    def save(self) -> None:
        """Write the state to the folder."""
        state = {
            "recipe": described(self.recipe),
            "progress": asdict(self.progress),
            "parameters": {n: p.detach() for n, p in self.parameters.items()},
            "average": self.average.state(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        checkpoints.save_state(self.folder, state)

    def run(self, minutes: float | None = None, decay_steps: int | None = None) -> None:
        """Train until the last stage has ended, the time is over or the process is to end.

        Args:
            minutes: by the clock; None: no limit.
            decay_steps: let the learning rate of the last stage fall to 0 over so many steps from
                here on, and end with it; None: when the last stage's gate is reached.
        """
        if decay_steps is not None:
            self._plan_decay(decay_steps)
        checkpoints.truncate_history(self.folder, self.progress.total_steps)
        ends = None if minutes is None else time.monotonic() + 60 * minutes
        with asked_to_end() as asked:
            self._run(lambda: asked() or (ends is not None and time.monotonic() > ends))
        self.save()

    def _plan_decay(self, steps: int) -> None:
        if self.progress.stage != len(self.recipe.stages) - 1:
            raise UserError(f"the stage {self.stage.name} has not ended; decay comes with the last")
        self.progress.decay_from, self.progress.decay_steps = self.progress.step, steps

    def _run(self, over: Callable[[], bool]) -> None:
        clock, saved, recent = Clock(), time.monotonic(), Recent()
        while not over() and not self._decayed():
            recent.add(self._step())
            self.progress.step += 1
            self.progress.total_steps += 1
            wall, cpu = clock.read()
            self.progress.seconds += wall
            self.progress.cpu_seconds += cpu
            if self.progress.step % LOG_STEPS == 0:
                self._log("training", recent.means())
            if self.progress.step % VALIDATE_STEPS == 0:
                self._validate()
                saved = 0.0
            if time.monotonic() - saved > SAVE_SECONDS:
                self.save()
                saved = time.monotonic()

    def _decayed(self) -> bool:
        begun = self.progress.decay_from
        return begun is not None and self.progress.step >= begun + self.progress.decay_steps

    def learning_rate(self) -> float:
        """Of the next step: a warm-up, a plateau of unknown length, and a fall when asked for."""
        progress = self.progress
        rate = self.stage.learning_rate * min(1.0, (progress.step + 1) / self.stage.warm_up)
        if progress.decay_from is not None:
            rate *= 1 - (progress.step - progress.decay_from) / progress.decay_steps
        return rate

    def _step(self) -> dict[str, float]:
        stage, recipe = self.stage, self.recipe
        key = (PROMPTS_STREAM, recipe.seed, self.progress.stage, self.progress.step)
        rng = np.random.default_rng(key)
        scenes = self.pool.batch(self.progress.step, stage.batch, rng)
        loss, figures = self._loss(make_batch(scenes, stage.name, stage.prompts, rng))
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.learning_rate()
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), recipe.clip)
        if torch.isfinite(norm):
            for optimiser in self.optimisers:
                optimiser.step()
            self.average.update()
        return {"loss": float(loss.detach()), "gradient": float(norm), **figures}

    def _loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        if self.stage.name == "dense":
            outputs = run_dense(self.model, self.heads, batch)
            return outputs.loss(), outputs.figures()
        return self._detection_loss(batch)

    def _detection_loss(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        outputs = run_detection(self.model, self.heads, batch)
        mask_side = outputs.predictions.masks.shape[-1]
        targets = make_targets(batch.scenes, batch.prompts, mask_side)
        losses = detection_losses(outputs.predictions, targets, outputs.masked)
        figures = {name: float(loss.detach()) for name, loss in losses.items()}
        total = weighted(losses) + DENSE_WEIGHT * outputs.dense.loss()
        return total, figures | outputs.dense.figures()

    def _validate(self) -> None:
        """Measure the averaged weights, and go on to the next stage if they are good enough."""
        # Not in inference mode: `sam3` caches positions, which training would then refuse.
        with self.average.in_place(), torch.no_grad():
            figures = validate(self.model, self.heads, self.recipe, self.stage)
        self._log("validation", figures)
        if all(figures[name] >= least for name, least in self.stage.gate.items()):
            self._end_stage()

    def _end_stage(self) -> None:
        """Go on to the next stage from the averaged weights, or from the last to its decay."""
        if self.progress.stage < len(self.recipe.stages) - 1:
            self.progress.stage += 1
            self.progress.step = 0
            self.average.adopt()
            self._begin_stage()
        elif self.progress.decay_from is None:
            self._plan_decay(self.recipe.decay_steps)

    def _log(self, kind: str, figures: dict[str, float]) -> None:
        progress = self.progress
        entry: dict[str, Any] = {
            "kind": kind,
            "stage": self.stage.name,
            "step": progress.step,
            "total_steps": progress.total_steps,
            "seconds": round(progress.seconds, 1),
            "cpu_seconds": round(progress.cpu_seconds, 1),
            **{name: round(value, 4) for name, value in figures.items()},
        }
        checkpoints.append_history(self.folder, entry)
        print(json.dumps(entry), file=sys.stderr, flush=True)


def described(recipe: Recipe) -> str:
    """The recipe as a line of JSON: what a state must agree with to go on from it."""
    return json.dumps(asdict(recipe), sort_keys=True)
