"""What a CPU has and a library needs: three sources that agree, and one clear line."""

import platform
import re
import sys

import pytest

from sam_tvm.runtime import instructions, linux_cpu
from sam_tvm.runtime.instructions import Requirements, architecture, host_cpu, host_instructions

VECTORS = re.compile(
    r"ssse3|sse[34].*|avx(?!10).*|amx-(tile|bf16|int8)|fma|f16c|bmi2?|lzcnt|popcnt|movbe|gfni"
)


@pytest.fixture
def no_llvm(monkeypatch):
    """As with TVM's runtime library alone."""
    monkeypatch.setattr(instructions, "_llvm", lambda _name: None)


@pytest.fixture
def fresh():
    """Forget the answer, which is kept, before and after."""
    host_instructions.cache_clear()
    yield
    host_instructions.cache_clear()


@pytest.mark.parametrize(
    ("triple", "name"),
    [
        ("x86_64-conda-linux-gnu", "x86_64"),
        ("amd64-pc-windows", "x86_64"),
        ("arm64-apple-macos", "aarch64"),
        ("aarch64-linux-gnu", "aarch64"),
        ("riscv64", "riscv64"),
    ],
)
def test_an_architecture_has_one_name(triple, name):
    assert architecture(triple) == name


@pytest.mark.parametrize(("machine", "name"), [("AMD64", "x86_64"), ("arm64", "aarch64")])
def test_this_machines_architecture_too(monkeypatch, machine, name):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    assert architecture() == name


@pytest.mark.skipif(architecture() != "x86_64", reason="elsewhere the system alone knows")
def test_the_processor_the_system_and_its_name_agree():
    answers = [
        instructions._ask_processor(),
        linux_cpu.instructions(architecture()),
        instructions._ask_llvm(),
    ]
    known = [set(filter(VECTORS.fullmatch, answer)) for answer in answers if answer is not None]
    assert known[0]
    # Nobody reports what the CPU lacks. Its name stands for what a virtual machine may hide, and
    # for less where LLVM takes a newer CPU for one that it knows.
    present = set(filter(VECTORS.fullmatch, host_instructions()))
    assert present == known[0]
    assert all(present <= other for other in known[:2])


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_without_llvm_the_system_is_asked(no_llvm, fresh, monkeypatch, machine):
    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(linux_cpu, "instructions", lambda name: frozenset({name, "avx"}))
    assert host_instructions() == {machine, "avx"}
    assert host_cpu() is None
    assert "-mcpu=NAME" in Requirements(machine, ("avx9",)).unmet()


def test_arm_is_asked_of_linux_and_not_of_llvm(fresh, monkeypatch):
    """LLVM knows some sets of some CPUs; programs may not ask the processor."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(linux_cpu, "instructions", lambda _name: frozenset({"neon", "sve"}))
    assert Requirements("aarch64", ("neon", "sve")).unmet() is None
    assert "sve2" in Requirements("aarch64", ("neon", "sve2")).unmet()


def test_where_nothing_can_tell_only_the_architecture_is_compared(no_llvm, fresh, monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert host_instructions() is None
    assert Requirements(architecture(), ("avx9",)).unmet() is None
    assert "pdp11" in Requirements("pdp11", ()).unmet()


def test_what_is_there_is_enough():
    assert Requirements(architecture(), tuple(host_instructions())).unmet() is None


def test_the_line_names_what_is_missing_and_what_to_do():
    line = Requirements(architecture(), ("avx9", "neon9")).unmet()
    assert line.startswith("is built for a CPU with avx9, neon9, which this one lacks: ")
    assert "--target llvm" in line
    assert f"-mcpu={host_cpu()}" in line
    assert "\n" not in line
