"""Libraries for named CPUs: they run here with the same results, or say why they do not."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sam_tvm import components
from sam_tvm.components.inputs import make_inputs
from sam_tvm.pipeline import build, bundle, commands, instructions, targets
from sam_tvm.pipeline.library import Library
from sam_tvm.pipeline.store import ArtifactError
from sam_tvm.runtime.instructions import Requirements, architecture

NAME = "scoring_head"  # built fastest
X86 = "llvm -mtriple=x86_64-linux-gnu"
ARM = "llvm -mtriple=aarch64-linux-gnu -mcpu=neoverse-n1"


def reason(target: str) -> str | None:
    return Requirements.from_json(instructions.requirements(targets.resolve(target))).unmet()


@pytest.fixture
def built(copied):
    """Build a component for a target; returns the job."""
    job = replace(copied(NAME), components=components.select([NAME]))

    def call(target: str):
        other = replace(job, target=target)
        assert commands.build(other) == 0
        return other

    return call


@pytest.mark.parametrize("target", [f"{X86} -mcpu=x86-64", f"{X86} -mcpu=haswell"])
def test_a_library_for_an_older_cpu_runs_and_agrees(ported, built, target):
    if reason(target):
        pytest.skip("this CPU cannot run it")
    (component,) = components.select([NAME])
    ours, others = Library(ported, component), Library(built(target), component)
    for case in component.cases:
        inputs = make_inputs(component, ported.config(component), case)
        for one, other in zip(ours(inputs), others(inputs), strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-5)


def test_a_library_for_another_architecture_is_built_and_refused(built):
    if architecture() == "aarch64":
        pytest.skip("this is that architecture")
    job, (component,) = built(ARM), components.select([NAME])
    record = job.store(component).record(build.stage_name(job))
    assert record["cpu"]["architecture"] == "aarch64"
    assert "dotprod" in record["cpu"]["instructions"]
    with pytest.raises(ArtifactError, match="is built for aarch64, this CPU is "):
        Library(job, component)


def test_a_library_for_a_cpu_with_more_instructions_is_built_and_refused(built):
    names = ("diamondrapids", "sapphirerapids", "znver5")
    target = next((f"{X86} -mcpu={name}" for name in names if reason(f"{X86} -mcpu={name}")), None)
    if architecture() != "x86_64" or target is None:
        pytest.skip("no CPU has more than this one")
    with pytest.raises(ArtifactError, match="which this one lacks"):
        Library(built(target), *components.select([NAME]))


def test_objects_that_were_not_linked_make_no_bundle(copied, ported):
    model = "sam3_end_to_end"
    job = copied(model, *(component.name for component in ported.components))
    manifest = job.folder / model / "manifest.json"
    content, stage = json.loads(manifest.read_text()), build.stage_name(job)
    record = content["stages"][stage]
    library = record["library"]
    record["library"] = library.replace(".so", ".tar")
    record["files"][record["library"]] = record["files"].pop(library)
    (job.folder / model / library).rename(job.folder / model / record["library"])
    manifest.write_text(json.dumps(content))
    with pytest.raises(ArtifactError, match=r"\.tar holds objects"):
        bundle.write_bundle(job, "sam3")
    assert not job.bundle_folder("sam3").exists()
