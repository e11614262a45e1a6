"""quality_report.json: the figures of a preset's weights in PyTorch and in every bundle.

The verification report shows them too.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sam_tvm.models.sam3.weights import load_model
from sam_tvm.patches.environment import reference_environment
from sam_tvm.pipeline import files
from sam_tvm.pipeline.job import PRECISIONS, STORED_WEIGHTS, Job
from sam_tvm.pipeline.report import update_report
from sam_tvm.runtime.errors import UserError
from sam_tvm.scenes.evaluation import (
    Answers,
    answer_cases,
    choose_threshold,
    figures,
    report,
)
from sam_tvm.scenes.held_out import (
    COUNT,
    SEED,
    VALIDATION_COUNT,
    Case,
    held_out_cases,
    validation_cases,
)

FILE = "quality_report.json"
REFERENCE = "torch-float32"
MODEL = "sam3"


def torch_answers(job: Job, cases: dict[str, list[Case]]) -> dict[str, Answers]:
    """What `Sam3Processor` answers, by the name of the set of cases."""
    with reference_environment():
        from sam3.model.sam3_image_processor import Sam3Processor

        source = job.source(MODEL)
        model, _ = load_model(job.preset, source.checkpoint, source.seed)
        side = job.preset.sam3.image_size
        processor = Sam3Processor(model, resolution=side, device="cpu")
        return {
            name: answer_cases(processor, own, f"{REFERENCE}, {name}")
            for name, own in cases.items()
        }


def bundle_answers(folder: Path, cases: list[Case], label: str) -> Answers:
    """What a bundle answers."""
    from sam_tvm.runtime.segmenter import Segmenter

    return answer_cases(Segmenter.load(folder), cases, label)


def bundles(job: Job) -> dict[str, Path]:
    """The preset's SAM3 bundles for this machine, by precision and how the weights are stored."""
    builds = [replace(job, precision=precision) for precision in PRECISIONS]
    builds += [replace(job, weights=stored) for stored in STORED_WEIGHTS]
    named = {each.build_name.removeprefix("llvm-"): each.bundle_folder(MODEL) for each in builds}
    return {name: folder for name, folder in named.items() if folder.is_dir()}


def measure(job: Job, scenes: int = COUNT, validation: int = VALIDATION_COUNT) -> dict[str, Any]:
    """Measure PyTorch and every bundle at one threshold, and write the report.

    The threshold is what is best for PyTorch on the validation scenes.

    Args:
        job: preset, weights and folders.
        scenes: held-out ones.
        validation: others, to choose the threshold on.

    Raises:
        UserError: there is no bundle.
    """
    ours = bundles(job)
    if not ours:
        raise UserError(f"there is no bundle in {job.folder / 'bundles'}; run make port first")
    held_out = held_out_cases(scenes)
    cases = {"validation": validation_cases(validation), "held-out": held_out}
    by_torch = torch_answers(job, cases)
    threshold = choose_threshold(by_torch["validation"])
    engines = {REFERENCE: figures(by_torch["held-out"], threshold)}
    for precision, folder in ours.items():
        name = f"tvm-{precision}"
        engines[name] = figures(bundle_answers(folder, held_out, name), threshold)
    content = report(scenes, SEED, threshold, engines)
    files.write_json(job.folder / FILE, content)
    update_report(job, quality=content)
    return content
