"""Quality of weights on drawn scenes, by PyTorch's and by our engine through the same interface."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
from PIL import Image
from tqdm import tqdm

from sam_tvm.scenes.drawing import Scene
from sam_tvm.scenes.held_out import TEXT_KINDS, Case, Question
from sam_tvm.scenes.quality import Answer, best_threshold, mask_overlaps, quality

LEAST_SCORE = 0.1  # of a detection that any threshold would keep
KINDS = ("phrase", "unseen", "absent", "box", "negative")
State = dict[str, Any]
Answers = dict[str, list[Answer]]


class Engine(Protocol):
    """What `Sam3Processor` and the runtime's `Segmenter` have in common."""

    def set_image(self, image: Image.Image) -> State:
        """Take a picture."""

    def set_text_prompt(self, prompt: str, state: State) -> State:
        """Say in words what to find."""

    def add_geometric_prompt(self, box: list[float], label: bool, state: State) -> State:
        """Show by a box what to find, or what not to."""

    def reset_all_prompts(self, state: State) -> None:
        """Forget the prompts."""

    def set_confidence_threshold(self, threshold: float) -> Any:
        """Say what a score must exceed."""


def answer_cases(engine: Engine, cases: Iterable[Case], label: str) -> Answers:
    """Ask every question of every case; answers by the question's kind, in order."""
    engine.set_confidence_threshold(LEAST_SCORE)
    answers: Answers = {kind: [] for kind in KINDS}
    for case in tqdm(cases, desc=label, unit="scene"):
        state = engine.set_image(Image.fromarray(case.scene.image))
        for question in case.questions:
            engine.reset_all_prompts(state)
            answers[question.kind].append(_answer(engine, state, case.scene, question))
    return answers


def _answer(engine: Engine, state: State, scene: Scene, question: Question) -> Answer:
    prompt = question.prompt
    if question.kind != "box":
        engine.set_text_prompt(prompt.text, state)
    if prompt.box is not None:
        engine.add_geometric_prompt(prompt.box.tolist(), prompt.positive, state)
    masks = np.asarray(state["masks"], dtype=bool)[:, 0]
    truth = np.array([scene.mask(index) for index in prompt.wanted], dtype=bool)
    return Answer(np.asarray(state["scores"], np.float32), mask_overlaps(masks, truth))


def of_kinds(answers: Answers, kinds: Sequence[str]) -> list[Answer]:
    """The answers of some kinds of questions."""
    return [answer for kind in kinds for answer in answers[kind]]


def choose_threshold(answers: Answers) -> float:
    """The best threshold for phrases."""
    return best_threshold(of_kinds(answers, TEXT_KINDS))


def figures(answers: Answers, threshold: float) -> dict[str, float]:
    """The figures of phrases, and F1 and mask IoU of each other kind of question."""
    result = asdict(quality(of_kinds(answers, TEXT_KINDS), threshold))
    for kind in ("unseen", "box", "negative"):
        own = quality(answers[kind], threshold)
        result |= {f"{kind}_f1": own.f1, f"{kind}_mean_iou": own.mean_iou}
    return {name: round(value, 4) for name, value in result.items()}


def report(
    scenes: int, seed: int, threshold: float, engines: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """The content of quality_report.json."""
    return {"scenes": scenes, "seed": seed, "threshold": threshold, "engines": dict(engines)}
