"""The table of targets: what a cell says, and that it says the truth about its file."""

import json
from dataclasses import replace

import pytest
import tvm

from sam_tvm import components
from sam_tvm.pipeline import targets
from sam_tvm.pipeline.deployment import binaries, cell, kernels, report, table
from sam_tvm.pipeline.deployment.tools import CheckError, MissingToolError
from sam_tvm.pipeline.kernel_sources import NAMES, write_sources
from sam_tvm.runtime.errors import UnknownNameError
from sam_tvm.runtime.nvrtc import CudaSourceError, compile_cuda

ENTRY = {
    "model": "sam3",
    "component": "scoring_head",
    "target": "aarch64",
    "precision": "float32",
    "file": "lib.so",
    "bytes": 10,
    "key": "abc",
    "checks": ["readelf: AArch64, shared library"],
    "status": "checked",
    "reason": "",
    "seconds": 1.0,
}


def row(name: str) -> table.Row:
    return table.select([name])[0]


def test_targets_are_chosen_in_the_order_of_the_table():
    assert [r.name for r in table.select(["metal", "cpu"])] == ["cpu", "metal"]
    assert table.select(None) == table.ROWS


def test_unknown_target_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="no target 'amiga'; known targets: cpu, x86-64-v3"):
        table.select(["amiga"])


@pytest.mark.parametrize("name", ["cpu", "aarch64", "metal", "opencl", "webgpu", "cuda-sm_80"])
def test_this_tvm_has_the_code_generators(name):
    assert cell.code_generator_error(row(name)) is None


def test_a_missing_code_generator_is_said_in_its_own_words():
    assert "target.build.vulkan" in cell.code_generator_error(row("vulkan"))


def test_an_entry_replaces_the_one_of_the_same_cell(job, tmp_path):
    job = replace(job, artifacts=tmp_path)
    for entry in (ENTRY, {**ENTRY, "target": "cpu"}, {**ENTRY, "status": "failed", "reason": "no"}):
        report.update(job, entry)
    entries = json.loads(report.path(job).read_text())
    assert [(e["target"], e["status"]) for e in entries] == [
        ("cpu", "checked"),
        ("aarch64", "failed"),
    ]
    text = report.path(job).with_suffix(".md").read_text()
    assert "| scoring_head | checked | FAILED |" in text


def test_a_cell_that_lacked_a_tool_is_asked_again(job, tmp_path):
    job = replace(job, artifacts=tmp_path)
    (component,) = components.select(["scoring_head"])
    for entry in ({**ENTRY, "status": "compiled"}, {**ENTRY, "reason": "needs clang"}, ENTRY):
        assert not report.is_current(job, component, entry)  # the last: nothing is built


def test_cuda_that_does_not_compile_is_an_error():
    pytest.importorskip("cuda.bindings")
    with pytest.raises(CudaSourceError, match="undefined"):
        compile_cuda('extern "C" __global__ void f() { nonsense(); }', "sm_80")


def test_cuda_kernels_become_machine_code_of_their_architecture(tmp_path, arch="sm_90"):
    pytest.importorskip("cuda.bindings")
    source = tmp_path / "kernels.cu"
    source.write_text('extern "C" __global__ void f(float* x) { x[threadIdx.x] += INFINITY; }')
    assert f"cubin for {arch}, 1 kernels" in kernels.check_cuda(source, arch)


BROKEN = {
    "metal": "#include <metal_stdlib>\nkernel void f(device float* x) { x = nonsense; }",
    "opencl": "__kernel void f(__global float* x) { x[0] = nonsense; }",
    "webgpu": "// Function: f\n@compute @workgroup_size(1) fn f() { let x = nonsense; }",
}
WHOLE = {
    "metal": "#include <metal_stdlib>\nkernel void f(device float* x [[buffer(0)]]) { x[0] = 1; }",
    "opencl": "__kernel void f(__global float* x) { x[0] = 1; }",
    "webgpu": "// Function: f\n@compute @workgroup_size(1) fn f() { let x = 1; }",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_kernels_are_held_against_their_language(kind, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.write_text(WHOLE[kind])
    broken.write_text(BROKEN[kind])
    try:
        assert kernels.check_kernels(kind, whole, None)
    except MissingToolError as error:
        pytest.skip(str(error))
    with pytest.raises(CheckError, match=r"nonsense|identifier"):
        kernels.check_kernels(kind, broken, None)


def test_a_missing_tool_is_named_with_its_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "kernels.cl").write_text(WHOLE["opencl"])
    with pytest.raises(MissingToolError, match=r"needs clang \(apt install clang\)"):
        kernels.check_opencl(tmp_path / "kernels.cl")


@pytest.mark.parametrize("kind", BROKEN)
def test_a_file_without_kernels_proves_nothing(kind, tmp_path):
    (tmp_path / "kernels").write_text("")
    with pytest.raises(CheckError, match="kernels holds no kernel"):
        kernels.check_kernels(kind, tmp_path / "kernels", None)


@pytest.mark.parametrize("target", ["cuda -arch=sm_80", "metal", "opencl", "webgpu"])
def test_the_source_of_a_device_s_kernels_is_kept(target, tmp_path):
    resolved = targets.resolve(target)
    with resolved:
        executable = tvm.compile(cell._increment(True), resolved)
    write_sources(executable, resolved, tmp_path)
    assert "main_kernel" in (tmp_path / NAMES[resolved.kind.name]).read_text()


def test_a_library_of_another_architecture_is_found_out(ported_library):
    from sam_tvm.runtime.instructions import architecture

    other = "aarch64" if architecture() == "x86_64" else "x86_64"
    assert "shared library" in binaries.check_shared_library(ported_library, architecture())
    with pytest.raises(CheckError, match="not a library for"):
        binaries.check_shared_library(ported_library, other)


@pytest.fixture
def ported_library(tmp_path):
    """A small library for this machine."""
    from tvm import relax

    from sam_tvm.pipeline import linking, targets

    target = targets.resolve("llvm")
    x = relax.Var("x", relax.TensorType((4,), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        builder.emit_func_output(builder.emit(relax.op.add(x, x)))
    return linking.write_library(relax.build(builder.get(), target), target, tmp_path)
