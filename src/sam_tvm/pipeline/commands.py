"""What the scripts, the command line and the Makefile call: one function a stage.

Each returns an exit status: 0, or 1 where a component or a case failed. Bad input raises
`UserError`, which the callers turn into one line and exit status 2.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.quiet import silence_harmless_warnings
from sam_tvm.pipeline.stage import summarise

silence_harmless_warnings()


def export(job: Job) -> int:
    """Stage 1: ``exported.pt2`` for each component."""
    from sam_tvm.pipeline.export import export_components

    return summarise("export", export_components(job))


def import_(job: Job) -> int:
    """Stage 2: ``module.json``, ``module.py`` and ``params.safetensors`` for each component."""
    from sam_tvm.pipeline.importing import import_components

    return summarise("import", import_components(job))


def build(job: Job) -> int:
    """Stage 3: a library for each component, and one end to end for each whole model."""
    from sam_tvm.pipeline.build import build_components

    return summarise("build", build_components(job))


def bundle(job: Job) -> int:
    """Stage 4: a bundle for each model; with rounded weights, for which it is built first."""
    from sam_tvm.pipeline.bundle import bundle_models

    built = build(job) if job.weights != "float" else 0
    return max(built, summarise("bundle", bundle_models(job)))


def ask_references(job: Job) -> int:
    """Let the references of `verify` and `end_to_end` run, several at once."""
    from sam_tvm.pipeline import end_to_end as detections
    from sam_tvm.pipeline import reference
    from sam_tvm.pipeline.reconstruction import end_to_end as reconstructions
    from sam_tvm.pipeline.recorded import with_recorded_weights
    from sam_tvm.pipeline.workers import run_workers

    job = with_recorded_weights(job)
    comparisons = {"sam3": detections, "sam3d": reconstructions}
    questions = [
        reference.Question(job, job.components, precision)
        for precision in reference.precisions(job)
    ]
    # The whole models first, which take longest.
    calls = [call for model in job.models[::-1] for call in comparisons[model].reference_calls(job)]
    run_workers([*calls, *(call for asked in questions for call in asked.calls)], job.processes)
    for asked in questions:
        asked.answer()
    return 0


def tune(job: Job, minutes: float, trials: int, everything: bool, output: Path | None) -> int:
    """Look for better loops for `minutes`, and record those that win."""
    from sam_tvm.pipeline.tune import Options, tune

    return tune(job, Options(minutes, trials, everything, job.seed or 0, output))


def verify(job: Job) -> int:
    """Compare each component with PyTorch; writes the report."""
    from sam_tvm.pipeline.recorded import with_recorded_weights
    from sam_tvm.pipeline.report import report_path, update_report
    from sam_tvm.pipeline.verify import verify_components

    job = with_recorded_weights(job)
    entries, weights = verify_components(job)
    update_report(job, components=entries, weights=weights)
    for entry in entries:
        state = "passed" if entry["passed"] else f"FAILED {entry['error'] or 'see the report'}"
        print(f"verify {entry['name']}: {state}")
    print(f"report: {report_path(job)}")
    return int(not all(entry["passed"] for entry in entries))


def end_to_end(job: Job) -> int:
    """Compare each model's bundle with its reference; writes pictures and the report."""
    from sam_tvm.pipeline.end_to_end import compare_end_to_end
    from sam_tvm.pipeline.reconstruction.end_to_end import compare_reconstructions
    from sam_tvm.pipeline.recorded import with_recorded_weights
    from sam_tvm.pipeline.report import report_path, update_report

    job = with_recorded_weights(job)
    comparisons = {"sam3": compare_end_to_end, "sam3d": compare_reconstructions}
    rows: list[dict[str, Any]] = []
    weights: dict[str, Any] = {}
    for model in job.models:
        found, used = comparisons[model](job)
        rows, weights = rows + found, {**weights, **used}
    update_report(job, end_to_end=rows, weights=weights)
    for row in rows:
        state = "passed" if row["passed"] else f"FAILED {row.get('reason', row.get('error'))}"
        print(f"end to end {row['case']}: {state}")
    print(f"report: {report_path(job)}; pictures: {job.folder / 'end_to_end'}")
    return int(not all(row["passed"] for row in rows))


def compile_for_targets(job: Job, names: list[str] | None = None) -> int:
    """Compile the components for the targets of these names (all by default); writes the report."""
    from sam_tvm.pipeline.deployment import run, table
    from sam_tvm.pipeline.recorded import with_recorded_weights

    rows = table.select(names)
    return run.compile_for_targets(with_recorded_weights(job), rows)


STAGES: tuple[Callable[[Job], int], ...] = (
    export,
    import_,
    build,
    bundle,
    ask_references,
    verify,
    end_to_end,
)


def port(job: Job) -> int:
    """All stages in order; a stage that failed does not keep the report from being written."""
    return max(stage(job) for stage in STAGES)
