"""The weights that a job's artifacts were exported from, so that later stages ask for no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from sam_tvm.models.source import WeightsSource
from sam_tvm.models.weights import checkpoint_sha256
from sam_tvm.pipeline.export import MADE_BY, STAGE
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.store import ArtifactError


def with_recorded_weights(job: Job) -> Job:
    """`job` with the checkpoints or seeds that its components were exported from.

    Raises:
        ArtifactError: if nothing was exported, components of a model stem from different weights,
            or a checkpoint is gone or has changed.
    """
    recorded = {model: source for model in job.models if (source := _recorded(job, model))}
    if not recorded:
        raise ArtifactError(f"nothing is exported in {job.folder}: run {MADE_BY} first")
    return replace(job, recorded=recorded)


def _recorded(job: Job, model: str) -> WeightsSource | None:
    """Where the weights of one model came from; None where nothing of it was exported."""
    stores = (job.store(component) for component in job.components_of(model))
    records = [record for store in stores if (record := store.record(STAGE))]
    if not records:
        return None
    if len({record["weights"]["sha256"] for record in records}) > 1:
        raise ArtifactError(f"components stem from different weights: run {MADE_BY} for all")
    checkpoint = Path(records[0]["checkpoint"]) if records[0]["checkpoint"] else None
    if checkpoint is not None:
        _check(job, model, checkpoint, records[0]["weights"])
    return WeightsSource(checkpoint, records[0]["seed"])


def _check(job: Job, model: str, checkpoint: Path, weights: dict[str, Any]) -> None:
    """Raise `ArtifactError` if a checkpoint is no longer what it was at the export."""
    if not checkpoint.exists():
        raise ArtifactError(f"the checkpoint {checkpoint} is gone: run {MADE_BY} again")
    if checkpoint_sha256(model, job.preset, checkpoint) != weights["sha256"]:
        raise ArtifactError(
            f"the checkpoint {checkpoint} has changed since the export: run {MADE_BY} again"
        )
