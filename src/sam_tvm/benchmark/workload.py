"""What an engine is timed on: a component on given inputs, or the end-to-end run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sam_tvm.benchmark.engines import CPU
from sam_tvm.components.graph import ComposedFunction

END_TO_END = "end_to_end"
# Steps of the end-to-end run, which are rows of their own; their sum is `END_TO_END`.
SET_IMAGE, TEXT_PROMPT = "set_image", "text_prompt"
EVERYTHING = -1.0  # a threshold below every score: all queries are detections
MASK_STRIDE = 8  # pixels between those of a mask that are compared


class Model(Protocol):
    """A component, loaded by an engine."""

    def bind(self, inputs: Sequence[np.ndarray]) -> Callable[[], Any]:
        """A call on these inputs, already in the engine's own form; returns its own outputs."""

    def arrays(self, outputs: Any) -> list[np.ndarray]:
        """Those outputs as arrays (views, where the engine can)."""


class Segmenting(Protocol):
    """What `Sam3Processor` and `Segmenter` have in common."""

    def set_image(self, image: Any) -> dict[str, Any]:
        """Encode a picture."""

    def set_text_prompt(self, prompt: str, state: dict[str, Any]) -> dict[str, Any]:
        """Find what the prompt says."""

    def reset_all_prompts(self, state: dict[str, Any]) -> None:
        """Forget the prompts."""

    def set_confidence_threshold(self, threshold: float, state: dict[str, Any] | None) -> Any:
        """Set what a score must exceed."""


@dataclass(frozen=True)
class Workload:
    """An engine with its model loaded and its inputs bound.

    Attributes:
        steps: name -> what is timed; they run in turn.
        outputs: outputs of the last run by name, or of a run of its own; called after the timing.
        profile: seconds of each kernel in one run, where the engine tells.
    """

    steps: Mapping[str, Callable[[], None]]
    outputs: Callable[[], dict[str, np.ndarray]]
    profile: Callable[[], dict[str, float]] | None = None


@dataclass(frozen=True)
class TvmFiles:
    """What a component's library is loaded from.

    Attributes:
        library: the shared object.
        params: safetensors with the parameters.
        order: their names in calling order.
    """

    library: Path
    params: Path
    order: tuple[str, ...]


@dataclass(frozen=True)
class OnnxFiles:
    """An ONNX model and the sizes that its inputs have in the benchmark.

    Attributes:
        model: the file; large weights lie beside it.
        axes: the inputs' axes as exported: sizes, or names of dynamic axes.
        shapes: the inputs' shapes in the benchmark.
    """

    model: Path
    axes: tuple[tuple[int | str, ...], ...]
    shapes: tuple[tuple[int, ...], ...]

    def sizes(self) -> dict[str, int]:
        """Size of each dynamic axis."""
        return {
            axis: size
            for axes, shape in zip(self.axes, self.shapes, strict=True)
            for axis, size in zip(axes, shape, strict=True)
            if isinstance(axis, str)
        }


@dataclass(frozen=True)
class EndToEnd:
    """What the end-to-end run needs besides the models.

    Attributes:
        functions: the composed functions, for engines that run component by component.
        tokenizer: the tokenizer's file.
        context_length: tokens of a text.
        image_size: side of the picture as the model sees it.
        image_mean, image_std: its normalisation.
        prompt: the text.
        threshold: what a score must exceed in the timed runs.
    """

    functions: tuple[ComposedFunction, ...]
    tokenizer: Path
    context_length: int
    image_size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    prompt: str
    threshold: float = EVERYTHING


@dataclass(frozen=True)
class Request:
    """Which engine is to be timed on what.

    Attributes:
        engine: its name.
        precision: ``float32``, ``bfloat16`` or ``float16``.
        name: a component's, or `END_TO_END`.
        preset: its name.
        checkpoint: the weights, or None for random ones.
        seed: of those.
        inputs: ``.npz`` of the inputs in the signature's order; end to end, of the picture.
        outputs: names of the outputs.
        threads: as many for every engine.
        kind: of target: ``llvm`` for this CPU, else the GPU's that every engine is timed on.
        models: component -> what it is loaded from, as the engine needs it.
        bundle: TVM's end-to-end library and weights.
        end_to_end: for the end-to-end run.
    """

    engine: str
    precision: str
    name: str
    preset: str
    checkpoint: Path | None
    seed: int
    inputs: Path
    outputs: tuple[str, ...]
    threads: int
    kind: str = CPU
    models: Mapping[str, Any] = field(default_factory=dict)
    bundle: Path | None = None
    end_to_end: EndToEnd | None = None

    def arrays(self) -> list[np.ndarray]:
        """The inputs."""
        with np.load(self.inputs) as stored:
            return [stored[name] for name in stored.files]


def component_workload(model: Model, request: Request) -> Workload:
    """A component on the request's inputs."""
    call = model.bind(request.arrays())
    last: list[Any] = [None]

    def step() -> None:
        last[0] = call()

    def outputs() -> dict[str, np.ndarray]:
        return dict(zip(request.outputs, model.arrays(last[0]), strict=True))

    return Workload({request.name: step}, outputs)


def end_to_end_workload(
    segmenter: Segmenting, request: Request, as_array: Callable[[Any], np.ndarray] = np.asarray
) -> Workload:
    """A picture and a text prompt, as a user of `Sam3Processor` or `Segmenter` gives them.

    The outputs are those of every query: scores, boxes as fractions of the picture, and some
    pixels of each mask.
    """
    from PIL import Image

    run, (pixels,) = request.end_to_end, request.arrays()
    picture, state = Image.fromarray(pixels), {}

    def set_image() -> None:
        state.clear()
        state.update(segmenter.set_image(picture))

    def set_text_prompt() -> None:
        segmenter.set_text_prompt(run.prompt, state)

    def outputs() -> dict[str, np.ndarray]:
        segmenter.set_confidence_threshold(EVERYTHING, state)
        height, width = pixels.shape[:2]
        masks = as_array(state["masks_logits"])[..., ::MASK_STRIDE, ::MASK_STRIDE]
        return {
            "scores": as_array(state["scores"]),
            "boxes": as_array(state["boxes"]) / np.array([width, height] * 2, np.float32),
            "masks": masks,
        }

    segmenter.set_confidence_threshold(run.threshold, None)
    return Workload({SET_IMAGE: set_image, TEXT_PROMPT: set_text_prompt}, outputs)
