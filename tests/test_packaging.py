"""The wheel holds the whole package, patches included, and the editable install maps it."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import sam_tvm


def sources(folder: Path, package: str) -> set[str]:
    """Names in a wheel of a package's files."""
    return {
        f"{package}/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


def test_wheel_holds_every_file_of_the_package_and_nothing_else(wheel, repository):
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    package = sources(repository / "src" / "sam_tvm", "sam_tvm")
    patches = sources(repository / "patches", "sam_tvm/patches")
    assert "sam_tvm/patches/importer/select.py" in patches
    assert held == package | patches


def test_wheel_needs_the_runtimes_dependencies_alone(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = archive.read(name).decode()
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    base = {
        line.split()[1].split("=")[0].split(">")[0] for line in needed if "extra ==" not in line
    }
    assert "apache-tvm" in base
    assert not base & {"torch", "torchvision", "sam3"}
    assert "Requires-Python: >=3.10" in metadata


ISOLATED = """
import sys
sys.path[:0] = sys.argv[1:]
import sam_tvm.patches.model, sam_tvm.patches.importer, sam_tvm.runtime, sam_tvm.cli
for module in (sam_tvm, sam_tvm.patches.model, sam_tvm.runtime):
    print(module.__file__)
print(sam_tvm.patches.model.PATCHES[0].name, sam_tvm.runtime.Segmenter.__name__)
raise SystemExit(sam_tvm.cli.main(["info", "nowhere"]))
"""


def test_installed_wheel_imports_where_the_repository_is_not_on_the_path(wheel, tmp_path):
    """-S keeps the editable install's import hook out; the dependencies are this environment's."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", tmp_path, wheel], check=True)
    process = subprocess.run(
        [sys.executable, "-I", "-S", "-c", ISOLATED, tmp_path, sysconfig.get_path("purelib")],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert process.stderr == "error: no bundle folder at nowhere\n"
    assert process.returncode == 2
    *files, last = process.stdout.splitlines()
    assert [Path(file).relative_to(tmp_path).as_posix() for file in files] == [
        "sam_tvm/__init__.py",
        "sam_tvm/patches/model/__init__.py",
        "sam_tvm/runtime/__init__.py",
    ]
    assert last.endswith(" Segmenter")


def test_editable_install_maps_the_package_and_its_patches(repository):
    """In a process of its own, away from the repository, whose path pytest may have added."""
    script = "import sam_tvm, sam_tvm.patches as p; print(sam_tvm.__file__); print(p.__file__)"
    process = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True, cwd="/"
    )
    assert [Path(line).resolve() for line in process.stdout.splitlines()] == [
        repository / "src" / "sam_tvm" / "__init__.py",
        repository / "patches" / "__init__.py",
    ]


def test_command_is_installed(wheel):
    command = Path(sysconfig.get_path("scripts")) / "sam-tvm"
    process = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert process.stdout == f"sam-tvm {sam_tvm.__version__}\n"
    assert wheel.name.split("-")[:2] == ["sam_tvm", sam_tvm.__version__]
