"""Libraries on disk: linked where a compiler is, and one clear line where something lacks."""

import errno
import os
import resource
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import relax as R

from sam_tvm.console import run
from sam_tvm.pipeline import linking, targets
from sam_tvm.pipeline.files import sha256_of_file

ARM = "llvm -mtriple=aarch64-linux-gnu -mcpu=neoverse-n1"


@R.function
def double(x: R.Tensor((4,), "float32")):
    with R.dataflow():
        out = R.add(x, x)
        R.output(out)
    return out


def compiled(name: str) -> tuple[tvm.runtime.Executable, tvm.target.Target]:
    target = targets.resolve(name)
    module = tvm.IRModule({"double": double.with_attr("global_symbol", "double")})
    return relax.build(module, target=target), target


@pytest.fixture(scope="module")
def here():
    return compiled("llvm")


def test_a_library_is_named_by_its_hash_and_runs(here, tmp_path):
    path = linking.write_library(*here, tmp_path / "new" / "folder")
    assert path.name == f"lib-{sha256_of_file(path)[:12]}.so"
    assert list(path.parent.iterdir()) == [path]
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(path)), tvm.cpu())
    x = np.float32([1, 2, 3, 4])
    np.testing.assert_array_equal(machine["double"](tvm.runtime.tensor(x)).numpy(), 2 * x)


def test_another_architecture_without_a_compiler_gives_objects(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    path = linking.write_library(*compiled(ARM), tmp_path)
    assert path.name == f"lib-{sha256_of_file(path)[:12]}.tar"
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "objects", filter="data")
    objects = sorted((tmp_path / "objects").iterdir())
    assert [object_.name for object_ in objects] == ["devc.o", "lib0.o"]
    for object_ in objects:
        header = object_.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == 183  # EM_AARCH64


@pytest.mark.parametrize(
    ("triple", "compiler"),
    [
        ("aarch64-linux-gnu", "aarch64-linux-gnu-g++"),
        ("aarch64-unknown-linux-gnu", "aarch64-linux-gnu-g++"),
        ("riscv64-linux-gnu", "riscv64-linux-gnu-g++"),
    ],
)
def test_another_architecture_is_linked_by_its_compiler(monkeypatch, triple, compiler):
    monkeypatch.setattr(shutil, "which", lambda name: name if name == compiler else None)
    assert linking.find_compiler(targets.resolve(f"llvm -mtriple={triple}")) == compiler


def test_a_compiler_of_another_architecture_links(tmp_path, monkeypatch):
    """A stand-in: it notes what it is asked for and writes a library."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    stand_in = tmp_path / "aarch64-linux-gnu-g++"
    stand_in.write_text('#!/bin/sh\necho "$@" > "$4.log"; echo library > "$4"\n')
    stand_in.chmod(0o755)
    path = linking.write_library(*compiled(ARM), tmp_path / "out")
    assert path.suffix == ".so"
    assert path.read_text() == "library\n"
    asked = (tmp_path / "out" / "lib.so.log").read_text()
    assert asked.startswith("-shared -fPIC -o ")
    assert "lib0.o" in asked


def test_this_machine_needs_a_compiler(here, tmp_path, monkeypatch):
    monkeypatch.setattr(linking.cc, "get_cc", lambda: None)
    with pytest.raises(linking.LinkError, match=r"no C\+\+ compiler .* install g\+\+"):
        linking.write_library(*here, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("compiler", "message"),
    [("nonsuch-compiler", "cannot be run"), ("false", "could not link .* exit status 1")],
)
def test_a_compiler_that_fails_is_one_line(here, tmp_path, monkeypatch, compiler, message):
    monkeypatch.setattr(linking.cc, "get_cc", lambda: compiler)
    with pytest.raises(linking.LinkError, match=message):
        linking.write_library(*here, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_linkers_last_line_is_told(here, tmp_path, monkeypatch):
    script = tmp_path / "compiler"
    script.write_text("#!/bin/sh\necho first >&2; echo 'No space left on device' >&2; exit 1\n")
    script.chmod(0o755)
    monkeypatch.setattr(linking.cc, "get_cc", lambda: str(script))
    with pytest.raises(linking.LinkError, match="No space left on device"):
        linking.write_library(*here, tmp_path / "out")


def test_a_full_disk_is_one_line_before_anything_is_written(here, tmp_path, monkeypatch, capsys):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    assert run(lambda: linking.write_library(*here, tmp_path) and 0) == 2
    assert capsys.readouterr() == ("", f"error: no space left on device: {tmp_path}\n")
    assert list(tmp_path.iterdir()) == []


LIMITED = """
import sys
sys.path[:0] = {path!r}
from pathlib import Path
from test_linking import compiled, linking, run
folder = Path({folder!r})
sys.exit(run(lambda: linking.write_library(*compiled("llvm"), folder) and 0))
"""


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="nothing to ask here")
def test_a_limit_on_file_sizes_does_not_abort_the_process(tmp_path):
    """As a quota does; LLVM would end the process when its write fails."""
    path = [os.path.dirname(__file__), *sys.path]  # noqa: PTH120
    code = LIMITED.format(path=path, folder=str(tmp_path))
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 12, 1 << 12))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1] == f"error: file too large: {tmp_path}"
    assert list(tmp_path.iterdir()) == []
