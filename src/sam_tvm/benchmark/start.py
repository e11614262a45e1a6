"""From the start of a process to its first mask, of a bundle and of PyTorch: tasks for `process`.

The clock starts before the process does and is read when the mask is there: the interpreter,
imports, the model, its weights, the picture and the prompt all count.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sam_tvm.benchmark.memory import peak_rss_bytes
from sam_tvm.benchmark.process import Phase

if TYPE_CHECKING:  # nothing more is imported than what is timed
    from sam_tvm.benchmark.workload import Segmenting
    from sam_tvm.models.source import WeightsSource


@dataclass(frozen=True)
class Start:
    """How a process came to its first mask.

    Attributes:
        seconds: of each part, in order: the interpreter and imports, the model with its weights,
            the picture, the prompt.
        cpu_s: seconds of all processors, which other work on the machine hardly changes.
        peak_rss_bytes: of the process.
        masks: how many were found.

    """

    seconds: dict[str, float]
    cpu_s: float
    peak_rss_bytes: int
    masks: int

    @property
    def total_s(self) -> float:
        """Seconds to the first mask."""
        return sum(self.seconds.values())


class _Clock:
    """Splits the time since the process was started."""

    def __init__(self, started: float) -> None:
        self.last, self.seconds = started, dict[str, float]()

    def lap(self, name: str) -> None:
        now = time.time()
        self.seconds[name], self.last = now - self.last, now

    def first_mask(self, model: Segmenting, picture: Path, text: str) -> Start:
        """Run the loaded model on the picture and the prompt, which ends the start."""
        from PIL import Image

        state = model.set_image(Image.open(picture).convert("RGB"))
        self.lap("picture")
        model.set_text_prompt(text, state)
        self.lap("prompt")
        masks = len(state["scores"])
        return Start(self.seconds, time.process_time(), peak_rss_bytes(), masks)


@dataclass(frozen=True)
class BundleStart:
    """Start with a bundle.

    Attributes:
        started: `time.time` before the process.
        bundle: folder or archive.
        picture: a file.
        text: the prompt.
        threshold: of the score.
        verify: as `Segmenter.load` takes it.

    """

    started: float
    bundle: Path
    picture: Path
    text: str
    threshold: float
    verify: bool | None = None

    def run(self, phase: Phase) -> Start:
        """Do what `sam-tvm segment` does, up to the masks."""
        clock = _Clock(self.started)
        # TVM imports torch where it is installed; where bundles run, it is not.
        sys.modules["torch"] = None  # type: ignore[assignment]
        phase("importing")
        from PIL import Image  # noqa: F401  (an import that the clock counts as one)

        from sam_tvm.runtime.segmenter import Segmenter

        clock.lap("imports")
        phase("loading")
        segmenter = Segmenter.load(
            self.bundle, confidence_threshold=self.threshold, verify=self.verify
        )
        clock.lap("model")
        phase("running")
        return clock.first_mask(segmenter, self.picture, self.text)


@dataclass(frozen=True)
class TorchStart:
    """Start with `Sam3Processor`; attributes as of `BundleStart`, and the weights' file."""

    started: float
    preset: str
    checkpoint: Path
    picture: Path
    text: str
    threshold: float
    threads: int

    def run(self, phase: Phase) -> Start:
        """Do what a script that uses `sam3` does, up to the masks."""
        clock = _Clock(self.started)
        phase("importing")
        import torch
        from PIL import Image  # noqa: F401

        from sam_tvm.models.presets import get_preset
        from sam_tvm.models.sam3.build import compose_model
        from sam_tvm.patches.environment import reference_environment

        torch.set_num_threads(self.threads)
        with ExitStack() as stack:
            stack.enter_context(reference_environment())
            stack.enter_context(torch.inference_mode())
            from sam3.model.sam3_image_processor import Sam3Processor
            from sam3.model_builder import _load_checkpoint

            clock.lap("imports")
            phase("loading")
            config = get_preset(self.preset).sam3
            model = compose_model(config)
            _load_checkpoint(model, str(self.checkpoint))
            processor = Sam3Processor(
                model.eval(),
                resolution=config.image_size,
                device="cpu",
                confidence_threshold=self.threshold,
            )
            clock.lap("model")
            phase("running")
            return clock.first_mask(processor, self.picture, self.text)


@dataclass(frozen=True)
class SavedCheckpoint:
    """Write weights in Meta's format, in a process whose memory is gone afterwards."""

    preset: str
    source: WeightsSource
    path: Path

    def run(self, phase: Phase) -> None:
        """Build the model and save it in the format of Meta's file."""
        from sam_tvm.models.presets import get_preset
        from sam_tvm.models.sam3.checkpoint import save_reference_checkpoint
        from sam_tvm.models.sam3.weights import load_model
        from sam_tvm.patches.environment import reference_environment

        phase("building")
        with reference_environment():
            source = self.source
            model, _ = load_model(get_preset(self.preset), source.checkpoint, source.seed)
        save_reference_checkpoint(model, self.path)
