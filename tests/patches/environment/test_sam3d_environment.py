"""The environment of `sam3d_objects`: it imports, builds and runs, and nothing stays behind."""

import json
import os
import subprocess
import sys

import pytest
import torch

from sam_tvm.patches.environment import ENVIRONMENTS, reference_environment
from sam_tvm.patches.environment.sam3d_package import VARIABLES, package_folder

REPRESENTATIONS = "sam3d_objects.model.backbone.tdfy_dit.representations"
# What fails without each patch, in a process where none was applied before.
FRESH = f"""
import importlib, io, json, sys
from contextlib import redirect_stdout
from sam_tvm.patches.environment import sam3d_package, torchvision_operators

def message(name):
    try:
        importlib.import_module(name)
    except ImportError as error:
        return str(error)

found = {{"import": message("sam3d_objects")}}
torchvision_operators.declare()
with redirect_stdout(io.StringIO()) as printed, sam3d_package.PATCH.apply():
    found["kaolin"] = message("{REPRESENTATIONS}")
json.dump({{**found, "printed": printed.getvalue()}}, sys.stdout)
"""


@pytest.fixture(scope="module")
def fresh() -> dict[str, str]:
    command = [sys.executable, "-W", "ignore", "-c", FRESH]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(run.stdout)


@pytest.fixture
def environment():
    with reference_environment("sam3d"):
        yield


def _symptom(name: str) -> str:
    return next(patch.symptom for patch in ENVIRONMENTS["sam3d"] if patch.name == name)


def test_package_is_not_found_without_the_patch(fresh):
    assert fresh["import"] == _symptom("sam3d_package")


def test_meshes_need_kaolin_without_the_patch(fresh):
    assert fresh["kaolin"] == _symptom("kaolin_stub")


def test_imports_print_nothing(fresh):
    assert fresh["printed"] == ""


def test_path_variables_and_stubs_are_gone_afterwards():
    path, before = list(sys.path), {name: os.environ.get(name) for name in VARIABLES}
    with reference_environment("sam3d"):
        assert str(package_folder()) in sys.path
        assert {name: os.environ[name] for name in VARIABLES} == VARIABLES
    assert sys.path == path
    assert {name: os.environ.get(name) for name in VARIABLES} == before
    assert "kaolin.utils.testing" not in sys.modules


def test_both_models_share_one_environment():
    with reference_environment("sam3", "sam3d"):
        from sam3.model.position_encoding import PositionEmbeddingSine
        from sam3d_objects.model.backbone.dit.embedder.dino import Dino
    assert PositionEmbeddingSine.__module__.startswith("sam3.")
    assert Dino.__module__.startswith("sam3d_objects.")


def test_a_missing_wheel_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install"):
        package_folder()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gaussians_are_built_on_the_cpu(environment):
    from sam3d_objects.model.backbone.tdfy_dit.representations.gaussian import Gaussian

    gaussian = Gaussian([-0.5, -0.5, -0.5, 1.0, 1.0, 1.0], scaling_activation="softplus")
    assert gaussian.aabb.device.type == "cpu"
    assert gaussian.rots_bias.tolist() == [1, 0, 0, 0]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_gaussians_fail_without_the_patch():
    with reference_environment("sam3d"):
        from sam3d_objects.model.backbone.tdfy_dit.representations.gaussian import Gaussian
    with pytest.raises(AssertionError, match=_symptom("cuda_gaussians")):
        Gaussian([0.0] * 6)
