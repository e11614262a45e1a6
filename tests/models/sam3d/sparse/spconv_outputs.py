"""Outputs of the reference's sparse modules on spconv, for `test_against_spconv`.

Runs as ``python spconv_outputs.py FILE.npz`` in a process with OMP_NUM_THREADS=1, without which
spconv's CPU kernels are wrong.
"""

import sys

import numpy as np
import torch

from sam_tvm import components
from sam_tvm.components.base import Case
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.presets import get_preset
from sam_tvm.models.referee import float64_evaluation
from sam_tvm.models.source import WeightsSource
from sam_tvm.models.weights import loader
from sam_tvm.patches.environment import reference_environment

NAMES = ("slat_generator", "gs_decoder", "gs_decoder_4", "mesh_decoder")
CASE = Case("irregular", {"N": 1500})
PRESET = get_preset("tiny")


def component_of(name):
    (component,) = components.select([name])
    return component


def inputs_of(name):
    arrays = make_inputs(component_of(name), PRESET.sam3d, CASE)
    return {key: torch.from_numpy(array) for key, array in arrays.items()}


def model_of(name):
    return loader("sam3d", PRESET, WeightsSource(seed=0))(name)[0]


def main():
    arrays = {}
    with reference_environment("sam3d"), torch.no_grad():
        for name in NAMES:
            model, inputs = model_of(name), inputs_of(name).values()
            for number, output in enumerate(component_of(name).call(model, *inputs)):
                arrays[f"{name}/float32/{number}"] = output.numpy()
            inputs = [x.double() if x.is_floating_point() else x for x in inputs]
            with float64_evaluation(model):
                for number, output in enumerate(component_of(name).call(model, *inputs)):
                    arrays[f"{name}/float64/{number}"] = output.numpy()
    np.savez(sys.argv[1], **arrays)


if __name__ == "__main__":
    main()
