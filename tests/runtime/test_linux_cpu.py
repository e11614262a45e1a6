"""Linux's names and bits, as LLVM's names."""

import ctypes
import re
import sys

import pytest

from sam_tvm.runtime import linux_cpu
from sam_tvm.runtime.instructions import architecture

# What Linux prints of an EPYC 9004.
FLAGS = (
    "fpu vme sse sse2 ht pni pclmulqdq ssse3 fma sse4_1 sse4_2 movbe popcnt avx f16c abm sse4a "
    "bmi1 avx2 bmi2 avx512f avx512_bf16 avx512vbmi avx512_vbmi2 gfni avx512_vnni"
)
NAMES = (
    "sse3 ssse3 fma sse4.1 sse4.2 movbe popcnt avx f16c lzcnt sse4a bmi avx2 bmi2 avx512f "
    "avx512bf16 avx512vbmi avx512vbmi2 gfni avx512vnni"
)


@pytest.fixture
def cpuinfo(tmp_path, monkeypatch):
    """Make /proc/cpuinfo another file."""
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(linux_cpu, "_CPUINFO", path)
    return path


def test_names_of_x86_are_translated(cpuinfo):
    core = f"processor\t: 0\nflags\t\t: {FLAGS}\nbugs\t\t: spectre_v1\n"
    cpuinfo.write_text(f"{core}\n{core}")
    answer = linux_cpu.instructions("x86_64")
    assert set(NAMES.split()) <= answer
    assert not {"pni", "abm", "avx512_bf16", "spectre_v1"} & answer


def test_what_one_core_lacks_no_library_may_use(cpuinfo):
    cpuinfo.write_text("flags : sse avx avx512f\n\nflags : sse avx\n")
    assert linux_cpu.instructions("x86_64") == {"sse", "avx"}


@pytest.mark.parametrize("text", [None, "", "processor : 0\n"])
def test_a_system_that_says_nothing_is_not_taken_for_one_without_instructions(cpuinfo, text):
    if text is not None:
        cpuinfo.write_text(text)
    assert linux_cpu.instructions("x86_64") is None


@pytest.mark.parametrize(
    ("words", "names"),
    [
        # Cortex-A72; Neoverse N1; Neoverse V2.
        ({16: 0x8FF, 26: 0}, "fp-armv8 neon"),
        ({16: 0x119FFF, 26: 0}, "fp-armv8 neon lse fullfp16 rdm rcpc dotprod"),
        ({16: 0xEFFFFFFF, 26: 0x177DB}, "neon sve sve2 bf16 i8mm dotprod fp16fml sve-bitperm"),
    ],
)
def test_bits_of_arm_are_translated(monkeypatch, words, names):
    monkeypatch.setattr(linux_cpu, "_auxiliary", words.get)
    answer = linux_cpu.instructions("aarch64")
    assert set(names.split()) <= answer
    assert ("sve" in answer) == ("sve" in names.split())


def test_an_arm_system_that_says_nothing(monkeypatch):
    monkeypatch.setattr(linux_cpu, "_auxiliary", lambda _number: 0)
    assert linux_cpu.instructions("aarch64") is None


def test_a_c_library_without_the_question(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: object())
    assert linux_cpu._auxiliary(16) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="about Linux")
def test_this_system_answers():
    answer = linux_cpu.instructions(architecture())
    assert answer is None or any(re.fullmatch("sse2|neon", name) for name in answer)


def test_other_architectures_are_not_known():
    assert linux_cpu.instructions("riscv64") is None
