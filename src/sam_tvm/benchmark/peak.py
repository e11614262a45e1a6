"""The machine's peak: fused multiply-adds in registers, with nothing to load or store.

The loop is LLVM IR, compiled and run in parallel by TVM. Each thread adds into enough independent
registers to hide the latency of the operation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from sam_tvm.benchmark.process import Phase

# Many short ones: other work on the machine leaves some of them alone.
REPEATS = 150
SECONDS_PER_REPEAT = 0.01
FIRST_ITERATIONS = 100_000
CACHE_LINE_FLOATS = 16  # threads write lines of their own
FUNCTION = "sam_tvm.peak"
FLOPS_OF_TILES = 4 * 2 * 16 * 16 * 32  # four products of tiles


@dataclass(frozen=True)
class Instruction:
    """An LLVM intrinsic that multiplies and adds.

    Attributes:
        name: of the intrinsic.
        lanes: float32 sums in a register.
        operand: LLVM type of both factors, as wide as the sums.
        flops_per_lane: operations on each sum.
        sum_first: whether the sum is the first argument.
    """

    name: str
    lanes: int
    operand: str
    flops_per_lane: int
    sum_first: bool


def fused_multiply_add(lanes: int) -> Instruction:
    """float32, at any width."""
    return Instruction(f"llvm.fma.v{lanes}f32", lanes, f"<{lanes} x float>", 2, sum_first=False)


def bfloat16_dot_product() -> Instruction:
    """dpbf16ps: two products of bfloat16 for each sum."""
    name = "llvm.x86.avx512bf16.dpbf16ps.512"
    return Instruction(name, 16, "<32 x bfloat>", 4, sum_first=True)


def _counted(*steps: str) -> list[str]:
    """The lines of a loop that runs the steps n times, from the block `entry` to `done`."""
    return [
        "br label %loop",
        "loop:",
        "%i = phi i64 [0, %entry], [%next, %loop]",
        *steps,
        "%next = add i64 %i, 1",
        "%more = icmp ult i64 %next, %n",
        "br i1 %more, label %loop, label %done",
        "done:",
    ]


def loop(instruction: Instruction, accumulators: int) -> str:
    """LLVM IR of a function that runs the instruction on each accumulator, n times."""
    vector = f"<{instruction.lanes} x float>"
    operand, name = instruction.operand, instruction.name

    def arguments(total: str) -> str:
        factors = f"{operand} %x, {operand} %x"
        both = (f"{vector} {total}", factors)
        return ", ".join(both if instruction.sum_first else both[::-1])

    types = (vector, f"{operand}, {operand}")
    signature = ", ".join(types if instruction.sum_first else types[::-1])
    indices = range(accumulators)
    lines = [
        f"declare {vector} @{name}({signature})",
        f"define float @{FUNCTION}(i64 %n, float %seed) {{",
        "entry:",
        f"%first = insertelement {vector} poison, float %seed, i64 0",
        f"%all = shufflevector {vector} %first, {vector} poison,"
        f" <{instruction.lanes} x i32> zeroinitializer",
        f"%x = bitcast {vector} %all to {operand}",
        *_counted(
            *(f"%a{j} = phi {vector} [zeroinitializer, %entry], [%b{j}, %loop]" for j in indices),
            *(f"%b{j} = call {vector} @{name}({arguments(f'%a{j}')})" for j in indices),
        ),
        *(f"%s{j} = fadd {vector} {'%b0' if j == 1 else f'%s{j - 1}'}, %b{j}" for j in indices[1:]),
        f"%r = extractelement {vector} %s{accumulators - 1}, i64 0",
        "ret float %r",
        "}",
    ]
    return "\n".join(lines)


def tile_loop() -> str:
    """LLVM IR of a function that multiplies and adds all matrix tiles, n times (`kernels.amx`)."""
    from sam_tvm.kernels.amx.library import tile_text

    products = (
        f"call void @llvm.x86.tdpbf16ps(i8 {2 * r + c}, i8 {4 + r}, i8 {6 + c})"
        for r in (0, 1)
        for c in (0, 1)
    )
    lines = [
        f"define float @{FUNCTION}(i64 %n, float %seed) {{",
        "entry:",
        "%permitted = call i32 @sam_tvm_tiles_permit()",
        "%configured = call i32 @sam_tvm_tiles_configure()",
        *(f"call void @llvm.x86.tilezero(i8 {register})" for register in range(8)),
        *_counted(*products),
        "%released = call i32 @sam_tvm_tiles_release()",
        "ret float %seed",
        "}",
    ]
    return tile_text() + "\n".join(lines)


def compile_loop(text: str, threads: int, target: Any) -> Any:
    """A function (out (threads, 16) float32, n) that runs the IR's function in every thread."""
    import tvm
    from tvm.script import tirx as T

    @T.prim_func(s_tir=True)
    def main(out: T.Buffer((threads, CACHE_LINE_FLOATS), "float32"), n: T.int64):
        T.func_attr({"global_symbol": "main", "tirx.is_scheduled": True})
        with T.attr(T.int32(0), "pragma_import_llvm", text):
            for thread in T.parallel(threads):
                out[thread, 0] = T.call_extern("float32", FUNCTION, n, out[thread, 0])

    return tvm.compile(tvm.IRModule({"main": main}), target=target)["main"]


def measure(instruction: Instruction, accumulators: int, threads: int, target: Any) -> float:
    """GFLOP/s of the fastest of `REPEATS` runs of a vector instruction."""
    flops = instruction.flops_per_lane * instruction.lanes * accumulators
    return measure_loop(loop(instruction, accumulators), flops, threads, target)


def measure_loop(text: str, flops: int, threads: int, target: Any) -> float:
    """GFLOP/s of the fastest of `REPEATS` runs of a loop with so many operations a step."""
    import tvm

    function = compile_loop(text, threads, target)
    out = tvm.runtime.tensor(np.zeros((threads, CACHE_LINE_FLOATS), np.float32))

    def seconds(iterations: int) -> float:
        started = time.perf_counter()
        function(out, iterations)
        return time.perf_counter() - started

    seconds(FIRST_ITERATIONS)
    rate = FIRST_ITERATIONS / seconds(FIRST_ITERATIONS)
    iterations = max(FIRST_ITERATIONS, int(rate * SECONDS_PER_REPEAT))
    fastest = min(seconds(iterations) for _ in range(REPEATS))
    return flops * iterations * threads / fastest / 1e9


@dataclass(frozen=True)
class MeasurePeak:
    """Measure this machine's peak.

    Attributes:
        threads: as many as the engines get (``TVM_NUM_THREADS`` says so to TVM).
    """

    threads: int

    def run(self, phase: Phase) -> dict[str, float | None]:
        """GFLOP/s by precision; None where the CPU has no such instruction."""
        from sam_tvm.kernels.target_features import has_bfloat16, vector_unit
        from sam_tvm.pipeline import targets

        target = targets.resolve("llvm")
        unit = vector_unit(target)
        accumulators = unit.registers * 3 // 4
        phase("measuring the peak")
        bfloat16 = None
        if unit.tiles:
            bfloat16 = measure_loop(tile_loop(), FLOPS_OF_TILES, self.threads, target)
        elif has_bfloat16(target):
            bfloat16 = measure(bfloat16_dot_product(), accumulators, self.threads, target)
        single = measure(fused_multiply_add(unit.lanes), accumulators, self.threads, target)
        return {"float32": single, "bfloat16": bfloat16}
