"""The weights that a job's artifacts were exported from, so that later stages ask for no others."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sam_tvm.models.sam3.weights import file_sha256
from sam_tvm.pipeline.export import MADE_BY, STAGE
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.store import ArtifactError


def with_recorded_weights(job: Job) -> Job:
    """`job` with the checkpoint or seed that its components were exported from.

    Raises:
        ArtifactError: if nothing was exported, components stem from different weights, or the
            checkpoint is gone or has changed.
    """
    records = [
        record for component in job.components if (record := job.store(component).record(STAGE))
    ]
    if not records:
        raise ArtifactError(f"nothing is exported in {job.folder}: run {MADE_BY} first")
    if len({record["weights"]["sha256"] for record in records}) > 1:
        raise ArtifactError(f"components stem from different weights: run {MADE_BY} for all")
    recorded = records[0]
    checkpoint = Path(recorded["checkpoint"]) if recorded["checkpoint"] else None
    if checkpoint is not None:
        if not checkpoint.is_file():
            raise ArtifactError(f"the checkpoint {checkpoint} is gone: run {MADE_BY} again")
        if file_sha256(checkpoint) != recorded["weights"]["sha256"]:
            raise ArtifactError(
                f"the checkpoint {checkpoint} has changed since the export: run {MADE_BY} again"
            )
    return replace(job, checkpoint=checkpoint, seed=recorded["seed"])
