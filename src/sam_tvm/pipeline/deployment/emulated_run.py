"""Run one function of a library: the part of `EmulatedLibrary` that is emulated.

    python emulated_run.py FUNCTION LIBRARY PARAMETERS FOLDER

reads `inputs.npz` and `params.txt` (the parameters' names, in order) in FOLDER and writes
`outputs.npz` there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from sam_tvm.runtime.weights import map_weights


def main(name: str, library: str, parameters: str, folder: str) -> None:
    """Run the function and write its outputs, named by their position."""
    params = map_weights(Path(parameters))
    order = (Path(folder) / "params.txt").read_text(encoding="utf-8").split("\n")
    with np.load(Path(folder) / "inputs.npz") as arrays:
        inputs = [tvm.runtime.tensor(arrays[key]) for key in arrays.files]
    machine = VirtualMachine(tvm.runtime.load_module(library), tvm.cpu())
    outputs = machine[name](*inputs, *(params[key] for key in order if key))
    arrays = {f"{i:04d}": output.numpy() for i, output in enumerate(outputs)}
    np.savez(Path(folder) / "outputs.npz", **arrays)


if __name__ == "__main__":
    main(*sys.argv[1:])
