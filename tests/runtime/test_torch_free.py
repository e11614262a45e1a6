"""The runtime needs neither torch nor the rest of the package."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import sam_tvm.runtime

RUNTIME = Path(sam_tvm.runtime.__file__).parent
ALLOWED = {
    *(
        "PIL",
        "ftfy",
        "numpy",
        "regex",
        "safetensors",
        "tokenizers",
        "tqdm",
        "trimesh",
        "tvm",
        "tvm_ffi",
    )
}

# What a module imports when it is asked for it, and says how to install where it is missing.
ON_DEMAND = {"nvrtc.py": {"cuda"}}

# Importing torch fails; afterwards the command's exit status is that of the last statement.
PREAMBLE = "import sys; sys.modules['torch'] = None; sys.modules['torchvision'] = None; "


def run_python(code: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", PREAMBLE + code],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )


def imported_packages(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.add(node.module or "")
    return names


def test_runtime_modules_import_base_dependencies_only():
    allowed = ALLOWED | set(sys.stdlib_module_names)
    for path in sorted(RUNTIME.rglob("*.py")):
        for name in imported_packages(path):
            own = name == "sam_tvm.runtime" or name.startswith("sam_tvm.runtime.")
            known = allowed | ON_DEMAND.get(path.name, set())
            assert own or name.split(".")[0] in known, f"{path.name} imports {name}"


def test_every_runtime_module_imports_without_torch():
    names = [
        ".".join(path.relative_to(RUNTIME.parent.parent).with_suffix("").parts)
        for path in sorted(RUNTIME.rglob("*.py"))
    ]
    code = f"""
import importlib
for name in {names!r}:
    importlib.import_module(name.removesuffix(".__init__"))
own = {{name for name in sys.modules if name.startswith("sam_tvm.")}}
assert all(name.startswith("sam_tvm.runtime") for name in own), own
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


def test_importing_the_package_and_reading_manifests_loads_neither_torch_nor_tvm():
    code = """
import sam_tvm, sam_tvm.console, sam_tvm.cli, sam_tvm.runtime.info, sam_tvm.runtime.manifest
assert "tvm" not in sys.modules and "numpy" not in sys.modules
"""
    result = run_python(code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("library", ["whole", "runtime alone"])
def test_a_real_bundle_segments_where_torch_cannot_be_imported(bundle, tmp_path, library):
    pixels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    arguments = [
        *("segment", str(tmp_path / "photo.png"), "--bundle", str(bundle)),
        *("--text", "a cat", "--threshold", "0", "--out", str(tmp_path / "out")),
    ]
    code = f"from sam_tvm.cli import main; sys.exit(main({arguments!r}))"
    result = run_python(code, TVM_USE_RUNTIME_LIB=str(int(library == "runtime alone")))
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "result.json").is_file()
