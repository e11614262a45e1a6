"""What a build records of the instructions that its library may use."""

import pytest

from sam_tvm.pipeline import instructions, targets
from sam_tvm.runtime.instructions import Requirements, architecture, host_instructions


def of(name: str) -> set[str]:
    return set(instructions.requirements(targets.resolve(name))["instructions"])


x86 = pytest.mark.skipif(architecture() != "x86_64", reason="about this CPU, which is no x86")


@x86
@pytest.mark.parametrize(
    ("target", "has", "lacks"),
    [
        ("llvm -mcpu=x86-64", set(), {"sse3", "sse2", "cmov"}),
        ("llvm -mcpu=nehalem", {"sse4.2", "popcnt"}, {"avx"}),
        ("llvm -mcpu=haswell", {"avx2", "fma", "bmi2", "lzcnt", "f16c"}, {"avx512f", "aes"}),
        ("llvm -mcpu=skylake-avx512", {"avx512f", "avx512vl"}, {"avx512bf16", "gfni"}),
        ("llvm -mcpu=znver4", {"avx512bf16", "sse4a", "gfni"}, {"avx512fp16", "sha", "rdpru"}),
        (
            "llvm -mcpu=sapphirerapids",
            {"avx512fp16", "amx-bf16", "amx-int8"},
            {"amx-fp16", "avx10.1"},
        ),
    ],
)
def test_vector_instructions_follow_the_cpu(target, has, lacks):
    assert has <= of(target)
    assert not lacks & of(target)
    assert instructions.requirements(targets.resolve(target))["architecture"] == "x86_64"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("aarch64-linux-gnu", {"neon"}),
        ("aarch64-linux-gnu -mcpu=cortex-a72", {"neon"}),
        ("aarch64-linux-gnu -mcpu=neoverse-n1", {"neon", "dotprod", "fullfp16"}),
        ("aarch64-linux-gnu -mcpu=neoverse-v2", {"neon", "dotprod", "sve", "sve2", "bf16"}),
        ("arm64-apple-macos -mcpu=apple-m1", {"neon", "dotprod", "fp16fml"}),
        ("riscv64-linux-gnu", set()),
    ],
)
def test_so_do_those_of_other_architectures(target, expected):
    entry = instructions.requirements(targets.resolve(f"llvm -mtriple={target}"))
    assert entry["architecture"] == architecture(target)
    assert expected <= set(entry["instructions"])
    assert not {"v8a", "perfmon", "fuse-aes", "use-postra-scheduler"} & set(entry["instructions"])


def test_what_is_built_for_this_cpu_runs_on_it():
    entry = instructions.requirements(targets.resolve("llvm"))
    assert Requirements.from_json(entry).unmet() is None
    assert entry["instructions"] == sorted(entry["instructions"])


@x86
def test_what_a_virtual_machine_hides_is_not_used(monkeypatch):
    """LLVM names a CPU by family and model, which a hypervisor leaves as they are."""
    hidden = {name for name in host_instructions() if name.startswith(("avx512", "amx"))} | {"bmi2"}
    if not hidden & of("llvm"):
        pytest.skip("this CPU has none of what is hidden here")
    seen = host_instructions() - hidden
    monkeypatch.setattr(instructions, "host_instructions", lambda: seen)
    target = targets.resolve("llvm")
    assert "-bmi2" in list(target.attrs["mattr"])
    assert not instructions.emitted(target) & hidden
    assert instructions.emitted(target) == of("llvm") <= seen


@x86
def test_an_unknown_cpu_is_used_in_full(monkeypatch):
    """One that LLVM has no name for is taken for the oldest of its family."""
    monkeypatch.setattr(targets.codegen, "llvm_get_system_cpu", lambda: "x86-64")
    everything = instructions.emitted(targets.resolve("llvm"))
    assert everything == instructions._emitted_of("x86_64", host_instructions())


def test_where_nobody_can_tell_the_name_is_believed(monkeypatch):
    monkeypatch.setattr(instructions, "host_instructions", lambda: None)
    assert "mattr" not in targets.resolve("llvm").attrs
