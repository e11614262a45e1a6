"""Running an aarch64 library on another machine: QEMU, and a root folder with TVM's runtime.

The folder, named by `SAM_TVM_AARCH64_ROOT`, holds `usr/bin/python3.11` of an aarch64 Debian and, in
`opt/site`, the aarch64 wheels of TVM, NumPy and safetensors; DEPLOYMENT.md says how it is made.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import sam_tvm
from sam_tvm.components.base import Component
from sam_tvm.pipeline import build, weights
from sam_tvm.pipeline.deployment.tools import MissingToolError, find, output
from sam_tvm.pipeline.job import Job

ARCHITECTURE, EMULATOR, ROOT = "aarch64", "qemu-aarch64", "SAM_TVM_AARCH64_ROOT"
_RUNNER = Path(__file__).with_name("emulated_run.py")
_PYTHON = "usr/bin/python3.11"


class EmulatedLibrary:
    """A component's function in an emulated process; arrays in, arrays out.

    Raises:
        MissingToolError: there is no emulator, or no root folder for it.
    """

    def __init__(self, job: Job, component: Component) -> None:
        self._emulator = find(EMULATOR, "apt install qemu-user")
        root = os.environ.get(ROOT)
        if root is None or not (Path(root) / _PYTHON).is_file():
            raise MissingToolError(f"needs {ROOT}, a folder with TVM for aarch64 (DEPLOYMENT.md)")
        self._root = Path(root)
        stage = build.stage_name(job)
        store = job.store(component)
        record = store.record(stage) or {}
        self._library = store.file(stage, record["library"], build.MADE_BY)
        self._order, self._name = record["params"], component.name
        self._params = weights.params_file(job, component)

    def __call__(self, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Outputs for inputs given in the signature's order."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            np.savez(folder / "inputs.npz", **inputs)
            (folder / "params.txt").write_text("\n".join(self._order), encoding="utf-8")
            paths = (self._library.resolve(), self._params.resolve(), folder)
            command = [self._emulator, "-L", self._root, self._root / _PYTHON, _RUNNER]
            output([*command, self._name, *paths], self._environment())
            with np.load(folder / "outputs.npz") as arrays:
                return [arrays[key] for key in sorted(arrays.files)]

    def _environment(self) -> dict[str, str]:
        source = Path(sam_tvm.__file__).parents[1]
        path = f"{self._root / 'opt/site'}{os.pathsep}{source}"
        return {"PYTHONPATH": path, "TVM_USE_RUNTIME_LIB": "1", "TVM_NUM_THREADS": "1"}
