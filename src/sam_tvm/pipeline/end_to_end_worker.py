"""The end-to-end reference, in a process of its own: `Sam3Processor` on every case.

Runs as ``python -m sam_tvm.pipeline.end_to_end_worker REQUEST.json`` with the unpatched model, in
float32 or under torch's bfloat16 autocast; the latter takes the float32 run's thresholds.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sam_tvm.components.sam3.end_to_end import CASES, EndToEndCase, Prompt
from sam_tvm.models.presets import get_preset
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import files
from sam_tvm.pipeline.detections import Counted, counted, widest_gap_threshold
from sam_tvm.pipeline.pictures import load_picture
from sam_tvm.pipeline.quiet import silence_harmless_warnings
from sam_tvm.pipeline.reference_worker import (
    as_array,
    assert_unpatched,
    end_in_order,
    evaluation,
    load_sam3,
    save_arrays,
)


def add_point(processor: Any, point: tuple[float, ...], label: bool, state: dict) -> dict:
    """A point prompt, which the processor lacks: as its `add_geometric_prompt` does a box."""
    if "language_features" not in state["backbone_out"]:
        text = processor.model.backbone.forward_text(["visual"], device=processor.device)
        state["backbone_out"].update(text)
    if "geometric_prompt" not in state:
        state["geometric_prompt"] = processor.model._get_dummy_prompt()
    points = torch.tensor(point, dtype=torch.float32).view(1, 1, 2)
    labels = torch.tensor([label], dtype=torch.bool).view(1, 1)
    state["geometric_prompt"].append_points(points, labels)
    return processor._forward_grounding(state)


def apply_prompt(processor: Any, prompt: Prompt, state: dict) -> dict:
    """Give the processor one prompt."""
    if prompt.kind == "text":
        return processor.set_text_prompt(prompt.value, state)
    if prompt.kind == "box":
        return processor.add_geometric_prompt(list(prompt.value), prompt.label, state)
    return add_point(processor, prompt.value, prompt.label, state)


def run_round(
    processor: Any,
    prompts: tuple[Prompt, ...],
    state: dict,
    wanted: Counted,
    threshold: float | None,
) -> dict[str, np.ndarray]:
    """Detections after the prompts, at a threshold that the scores give where it is None."""
    processor.set_confidence_threshold(-1.0)
    for prompt in prompts:
        apply_prompt(processor, prompt, state)
    if threshold is None:
        threshold = widest_gap_threshold(as_array(state["scores"]), wanted)
    processor.set_confidence_threshold(threshold, state)
    return {
        "threshold": np.float64(threshold),
        "masks": as_array(state["masks"][:, 0]),
        "boxes": as_array(state["boxes"]),
        "scores": as_array(state["scores"]),
    }


@torch.inference_mode()
def run_case(
    processor: Any, case: EndToEndCase, folder: Path, wanted: Counted, thresholds: Path | None
) -> None:
    """Run one case and write each round's detections to ``<case>_<round>.npz``."""
    state = processor.set_image(load_picture(case.picture).convert("RGB"))
    for index, prompts in enumerate(case.rounds):
        processor.reset_all_prompts(state)
        name = f"{case.name}_{index}.npz"
        threshold = None
        if thresholds is not None:
            with np.load(thresholds / name) as arrays:
                threshold = float(arrays["threshold"])
        save_arrays(folder / name, run_round(processor, prompts, state, wanted, threshold))


def main() -> int:
    """Answer the request named on the command line."""
    end_in_order()
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    assert_unpatched()
    silence_harmless_warnings()
    preset, folder = get_preset(request["preset"]), Path(request["output"])
    with reference_environment():
        from sam3.model.sam3_image_processor import Sam3Processor

        model, weights = load_sam3(request)
        processor = Sam3Processor(model, resolution=preset.sam3.image_size, device="cpu")
        thresholds = Path(request["thresholds"]) if request["thresholds"] else None
        with evaluation(model, request["precision"]):
            for case in tqdm(CASES, desc="Sam3Processor", unit="case"):
                wanted = counted(case.empty, random=request["checkpoint"] is None)
                run_case(processor, case, folder, wanted, thresholds)
    assert_unpatched()
    files.write_json(folder / "result.json", {"key": request["key"], "weights": weights.record()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
