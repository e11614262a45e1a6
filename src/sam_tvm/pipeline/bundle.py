"""Stage 4: a model's library, weights and what else it needs: a relocatable folder or archive."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm import components
from sam_tvm.components.base import Signature, TensorSpec
from sam_tvm.components.graph import ComposedFunction
from sam_tvm.pipeline import build, bundle_contents, files, weights
from sam_tvm.pipeline.archive import write_archive
from sam_tvm.pipeline.export import MADE_BY as EXPORTED_BY
from sam_tvm.pipeline.export import STAGE as EXPORT_STAGE
from sam_tvm.pipeline.job import REFERENCES, Job, version
from sam_tvm.pipeline.stage import Outcome, attempt
from sam_tvm.pipeline.store import ArtifactError, MissingArtifactError
from sam_tvm.pipeline.weights_file import write_safetensors
from sam_tvm.runtime.errors import BundleError, UserError
from sam_tvm.runtime.manifest import FORMAT_VERSION, MANIFEST, read_manifest, seal, verify_files
from sam_tvm.runtime.weights import map_weights


def gather_weights(job: Job, model: str, wanted: set[str]) -> dict[str, np.ndarray]:
    """The parameters named `wanted`, mapped from their files, each once though it is shared.

    Raises:
        UserError: if two components hold different values under one name.
    """
    tensors: dict[str, np.ndarray] = {}
    for component in components.components(model):
        for name, mapped in map_weights(weights.params_file(job, component)).items():
            if name not in wanted:
                continue
            tensor = np.from_dlpack(mapped)
            if name in tensors and not np.array_equal(tensors[name], tensor):
                raise UserError(f"{name} differs between components: export them all again")
            tensors.setdefault(name, tensor)
    return tensors


def _functions(job: Job, model: str, params: dict[str, list[str]]) -> dict[str, Any]:
    """Signature and parameters of each function of the bundle, for the manifest.

    They are the composed functions or, of a model that has none, the components.
    """
    signatures = {
        component.name: component.signature(job.config(component))
        for component in components.components(model)
    }
    composed = components.functions(model, job.preset)
    if composed:
        return _composed(composed, signatures, params)
    return {
        name: {
            "inputs": [_tensor(spec) for spec in signature.inputs],
            "outputs": [_tensor(spec) for spec in signature.outputs],
            "params": params[name],
        }
        for name, signature in signatures.items()
    }


def _composed(
    functions: Sequence[ComposedFunction],
    signatures: Mapping[str, Signature],
    params: dict[str, list[str]],
) -> dict[str, Any]:
    described = {}
    for function in functions:
        known = {spec.name: spec for spec in function.inputs}
        for signature in signatures.values():
            known.update({spec.name: spec for spec in signature.outputs if spec.name not in known})
        presence = known.get("presence_logits")
        if presence is not None:
            known["presence_logit"] = TensorSpec("presence_logit", presence.shape[1:])
        described[function.name] = {
            "inputs": [_tensor(spec) for spec in function.inputs],
            "outputs": [_tensor(known[name]) for name in function.outputs],
            "params": params[function.name],
        }
    return described


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}


def _weights_record(job: Job, model: str) -> dict[str, Any]:
    """What the weights were, which must be the same for all components."""
    stores = [job.store(component) for component in components.components(model)]
    recorded = [(store.record(EXPORT_STAGE) or {}).get("weights", {}) for store in stores]
    if len({entry.get("sha256") for entry in recorded}) > 1:
        raise ArtifactError(f"components stem from different weights: run {EXPORTED_BY} for all")
    return recorded[0]


def _write(
    job: Job, model: str, folder: Path, record: dict[str, Any], library: Path, key: str
) -> None:
    source = _weights_record(job, model)
    functions = _functions(job, model, record["params"])
    shutil.copyfile(library, folder / library.name)
    wanted = {name for function in functions.values() for name in function["params"]}
    write_safetensors(folder / "weights.safetensors", gather_weights(job, model, wanted))
    own = bundle_contents.write_files(model, folder)
    paths = {"library": library.name, "weights": "weights.safetensors", **own}
    manifest = {
        "key": key,
        "format_version": FORMAT_VERSION,
        "model": model,
        "preset": job.preset.name,
        "target": record["target"],
        "precision": job.precision,
        "stored_weights": job.weights,
        "cpu": record["cpu"],
        **bundle_contents.describe(model, job.preset, source),
        "files": {
            kind: {"path": name, **files.describe(folder / name)} for kind, name in paths.items()
        },
        "functions": functions,
        "weights": source,
        "versions": {
            name: version(name)
            for name in ("sam-tvm", "apache-tvm", "apache-tvm-ffi", *REFERENCES[model])
        },
    }
    files.write_json(folder / MANIFEST, seal(manifest))


def _is_current(path: Path, key: str) -> bool:
    """Whether the bundle was made from `key` and is whole: a damaged one is made again."""
    try:
        manifest = read_manifest(path)
        if manifest.raw.get("key") != key:
            return False
        verify_files(manifest)
    except BundleError:
        return False
    return True


def write_bundle(job: Job, model: str) -> bool:
    """Write the bundle of `model`, a folder or an archive; False if it is up to date.

    It appears whole: it is written beside its place and renamed.
    """
    store, stage = job.model_store(model), build.stage_name(job)
    record = store.record(stage)
    if record is None:
        raise MissingArtifactError(f"{model} has no end-to-end library: run {build.MADE_BY} first")
    library = store.file(stage, record["library"], build.MADE_BY)
    if library.suffix != ".so":
        raise ArtifactError(
            f"{library} holds objects, for which no compiler is installed here that links them: "
            f"install it, delete the file and run {build.MADE_BY} again"
        )
    destination = job.bundle_path(model)
    # The library does not depend on the weights.
    hashes = [weights.params_hash(job, part) for part in components.components(model)]
    described = bundle_contents.describe(model, job.preset, _weights_record(job, model))
    key = files.sha256_of_json([record["key"], hashes, FORMAT_VERSION, described])
    if _is_current(destination, key):
        return False
    with files.staging_directory(destination.parent, destination.name) as staging:
        whole = staging / "whole"
        folder = job.bundle_folder(model)
        if not (job.archive and _is_current(folder, key)):
            folder = staging / "folder"
            folder.mkdir()
            _write(job, model, folder, record, library, key)
        if job.archive:
            write_archive(folder, whole)
        else:
            folder.replace(whole)
        if destination.is_dir():
            destination.replace(staging / "former")  # a folder cannot be replaced by another
        whole.replace(destination)
    return True


def bundle_models(job: Job) -> list[Outcome]:
    """Write a bundle for each model of the job; a model that was not built has none."""
    outcomes = []
    for model in job.models:
        outcomes.append(attempt(f"{model}-{job.build_name}", partial(write_bundle, job, model)))
    return outcomes
