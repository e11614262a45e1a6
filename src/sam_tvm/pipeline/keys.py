"""What each stage's outputs depend on, as one hash: the key of the artifact cache."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import sam_tvm
import sam_tvm.patches
from sam_tvm.components.base import Component
from sam_tvm.pipeline.files import hash_sources, sha256_of_json
from sam_tvm.pipeline.job import Job, reference_versions, version

BUILD_SOURCES = (
    "kernels",
    "tuning/apply.py",
    "pipeline/passes.py",
    "pipeline/shape_order.py",
    "pipeline/prepare.py",
    "pipeline/lifting.py",
    "pipeline/weights.py",
    "pipeline/build.py",
    "pipeline/compose.py",
    "pipeline/instructions.py",
    "pipeline/linking.py",
    "pipeline/kernel_sources.py",
    "pipeline/targets.py",
    "patches/compiler",
)
PACKAGE = Path(sam_tvm.__file__).parent
PATCHES = Path(sam_tvm.patches.__file__).parent


@cache
def sources(*names: str) -> str:
    """Hash of sources below the package; names that start with ``patches`` lie beside it."""
    roots = [
        PATCHES / name.removeprefix("patches/") if name.startswith("patches") else PACKAGE / name
        for name in names
    ]
    return hash_sources(*roots)


def model_sources(model: str) -> tuple[str, ...]:
    """Sources that decide what a model computes, and on which inputs, less those of the others."""
    shared = [
        f"{folder}/{path.name}"
        for folder in ("components", "models")
        for path in sorted((PACKAGE / folder).glob("*.py"))
    ]
    own = [f"components/{model}", f"models/{model}"]
    # The plans of the sparse components, which are among their inputs.
    plans = ["runtime/sparse"] if model == "sam3d" else []
    return (*shared, *own, *plans, "patches/environment")


def export_key(component: Component, config: object, weights: str) -> str:
    """Key of an exported program.

    Args:
        component: what is exported.
        config: the model's configuration (its repr is hashed).
        weights: identity of the weights.
    """
    return sha256_of_json(
        {
            "component": component.name,
            "config": repr(config),
            "weights": weights,
            "sources": sources(
                *model_sources(component.model), "pipeline/export.py", "patches/model"
            ),
            "versions": reference_versions(component.model),
        }
    )


def reference_key(what: str, model: str, config: object, weights: str, *workers: str) -> str:
    """Key of outputs of the unpatched reference.

    Args:
        what: a component's name, or ``end_to_end``.
        model: whose reference it is.
        config: the model's configuration (its repr is hashed).
        weights: identity of the weights.
        workers: the sources that ran it, beside the models and the environment patches.
    """
    return sha256_of_json(
        {
            "what": what,
            "config": repr(config),
            "weights": weights,
            "sources": sources(*model_sources(model), *workers),
            "versions": reference_versions(model),
        }
    )


def import_key(exported_sha256: str) -> str:
    """Key of an imported module, from the hash of the exported program."""
    return sha256_of_json(
        {
            "exported": exported_sha256,
            "sources": sources(
                "pipeline/importing.py", "pipeline/relax_functions.py", "patches/importer"
            ),
            "versions": {name: version(name) for name in ("torch", "apache-tvm", "apache-tvm-ffi")},
        }
    )


def build_key(
    modules: list[str], target: str, tuned: object, job: Job, functions: object = None
) -> str:
    """Key of a library.

    Args:
        modules: hashes of the Relax modules in it.
        target: the resolved target.
        tuned: the tuned functions that are used, as JSON; None: there are none.
        job: for the precision and the pipeline.
        functions: the composed functions (their repr is hashed), for an end-to-end library.
    """
    return sha256_of_json(
        {
            "modules": modules,
            "target": target,
            "precision": job.precision,
            "stock": job.stock,
            "stored_weights": job.weights,
            "tuned": tuned,
            "functions": repr(functions),
            "sources": sources(*BUILD_SOURCES),
            "versions": {name: version(name) for name in ("apache-tvm", "apache-tvm-ffi")},
        }
    )
