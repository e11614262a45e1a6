"""Where the wheel and what it declares are installed, and nothing else, bundles run."""

import json
import subprocess
import sys
import sysconfig
import venv
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from PIL import Image

from sam_tvm.scenes.showcase import showcase


def requirements(name: str) -> list[Requirement]:
    """What a distribution needs here, without extras."""
    needed = [Requirement(text) for text in metadata.requires(name) or []]
    return [r for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]


def closure(name: str) -> set[str]:
    """All distributions that one needs, directly or not."""
    found: set[str] = set()
    waiting = [requirement.name for requirement in requirements(name)]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [requirement.name for requirement in requirements(name)]
    return found


def link(distribution: str, folder: Path) -> None:
    """Make this environment's copy of a distribution known to another environment."""
    files = metadata.distribution(distribution).files or []
    for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
        if not (folder / top).exists():
            (folder / top).symlink_to(Path(sysconfig.get_path("purelib")) / top)


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """A new virtual environment: the wheel, and this environment's copies of what it needs."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, symlinks=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for name in closure("sam-tvm"):
        link(name, packages)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", wheel], check=True)
    return folder


@pytest.fixture(
    scope="module", params=["linked", pytest.param("installed", marks=pytest.mark.slow)]
)
def python(request, wheel, environment, tmp_path_factory) -> Path:
    """The interpreter of a clean environment; the slow one is filled from the package index."""
    if request.param == "linked":
        return environment / "bin" / "python"
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=True)
    subprocess.run(
        [folder / "bin" / "python", "-m", "pip", "install", "--quiet", wheel], check=True
    )
    return folder / "bin" / "python"


def sam_tvm(python: Path, *arguments: object) -> str:
    """Run the installed command away from the repository; its output."""
    done = subprocess.run(
        [python, "-I", python.with_name("sam-tvm"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_torch_and_what_ports_a_model_are_not_there(python):
    script = """
import importlib.util as u
print([n for n in ("torch", "torchvision", "sam3", "sam3d", "scipy") if u.find_spec(n)])
"""
    found = subprocess.run([python, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert found.stdout == "[]\n"


def test_a_picture_is_segmented(python, bundle, tmp_path):
    Image.fromarray(showcase().image).save(tmp_path / "photo.png")
    arguments = ("--bundle", bundle, "--text", "red circle")
    sam_tvm(python, "segment", tmp_path / "photo.png", *arguments, "--out", tmp_path / "out")
    (entry,) = json.loads((tmp_path / "out" / "result.json").read_text())["prompts"]
    assert len(entry["found"]) == 2
    output = sam_tvm(python, "segment", tmp_path, *arguments, "--out", tmp_path / "batch")
    assert "pictures segmented, 0 skipped" in output


def test_an_object_is_reconstructed(python, ported, tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(tmp_path / "photo.png")
    mask = np.zeros((48, 64), np.uint8)
    mask[12:36, 16:48] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    across, down = np.meshgrid(np.linspace(1, -1, 64), np.linspace(1, -1, 48))
    points = np.stack([across, down, np.full_like(down, 2)], -1)

    np.save(tmp_path / "points.npy", points.astype(np.float32))
    sam_tvm(
        python,
        *("reconstruct", tmp_path / "photo.png", "--mask", tmp_path / "mask.png"),
        *("--pointmap", tmp_path / "points.npy", "--bundle", ported.bundle_folder("sam3d")),
        *("--steps", 2, "--out", tmp_path / "object"),
    )
    assert (tmp_path / "object" / "gaussians.ply").stat().st_size > 0
