"""Forms of SAM3's rotary position embedding that NOTES/TVM_ROPE_RESEARCH.md compares.

Every form is a module of `(q, k)`, float32 (B, heads, L, D), that returns both rotated. `table` is
the reference's `freqs_cis`, complex64 (L, D/2); channels 2i and 2i+1 form the i-th complex number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import tvm
from torch import Tensor, nn
from tvm import relax, tirx
from tvm.relax.frontend.torch import from_exported_program
from tvm.relax.frontend.torch.exported_program_translator import ExportedProgramImporter
from tvm.script import tirx as T

Rows = list[np.ndarray]


class ComplexRope(nn.Module):
    """The reference's arithmetic with the table as a complex buffer, as `vitdet.Attention`."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("freqs_cis", table)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        from sam3.model.vitdet import apply_rotary_enc

        return apply_rotary_enc(q, k, self.freqs_cis)


class PairRope(nn.Module):
    """Real and imaginary parts apart, rotated, and interleaved again; tables (L, D/2)."""

    def __init__(self, table: Tensor, strided: bool) -> None:
        super().__init__()
        self.strided = strided
        self.register_buffer("cos", table.real.contiguous())
        self.register_buffer("sin", table.imag.contiguous())

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self._rotate(q), self._rotate(k)

    def _rotate(self, x: Tensor) -> Tensor:
        if self.strided:
            real, imaginary = x[..., 0::2], x[..., 1::2]
        else:
            real, imaginary = x.unflatten(-1, (-1, 2)).unbind(-1)
        rotated = (
            real * self.cos - imaginary * self.sin,
            real * self.sin + imaginary * self.cos,
        )
        return torch.stack(rotated, -1).flatten(-2)


class SwapRope(nn.Module):
    """`x * cos + swap(x) * sin`, where `swap` exchanges neighbouring channels; tables (L, D)."""

    def __init__(self, table: Tensor, matmul: bool) -> None:
        super().__init__()
        channels = 2 * table.shape[-1]
        neighbour = torch.arange(channels) ^ 1
        self.register_buffer("cos", table.real.repeat_interleave(2, -1))
        self.register_buffer("sin", torch.stack([-table.imag, table.imag], -1).flatten(-2))
        self.register_buffer("exchange", torch.eye(channels)[neighbour] if matmul else None)

    def forward(self, q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
        return self._rotate(q), self._rotate(k)

    def _rotate(self, x: Tensor) -> Tensor:
        if self.exchange is not None:
            swapped = x @ self.exchange
        else:
            swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return x * self.cos + swapped * self.sin


class HalfRope(PairRope):
    """Rotation of heads whose channels were permuted: real parts first, then imaginary ones."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(table, strided=False)

    def _rotate(self, x: Tensor) -> Tensor:
        real, imaginary = x.chunk(2, -1)
        rotated = (
            real * self.cos - imaginary * self.sin,
            real * self.sin + imaginary * self.cos,
        )
        return torch.cat(rotated, -1)


def import_module(module: nn.Module, q: Tensor, k: Tensor) -> tvm.IRModule:
    """Export `module` and import it with TVM's own converters."""
    return from_exported_program(torch.export.export(module.eval(), (q, k), strict=False))


def import_with_complex_pairs(module: nn.Module, q: Tensor, k: Tensor) -> tvm.IRModule:
    """Export `module` and import it with complex tensors as float ones with a last axis of 2.

    Knows only the operators that RoPE uses. The importer refuses complex buffers before any
    converter runs, so they are exchanged in the exported program.
    """
    program = torch.export.export(module.eval(), (q, k), strict=False).run_decompositions()
    for name, value in program.state_dict.items():
        if value.is_complex():
            program.state_dict[name] = torch.view_as_real(value).contiguous()
    return from_exported_program(
        program,
        run_ep_decomposition=False,
        custom_convert_map={
            "view_as_complex.default": lambda node, importer: importer.env[node.args[0]],
            "view_as_real.default": lambda node, importer: importer.env[node.args[0]],
            "view.default": _convert_view,
            "mul.Tensor": _convert_mul,
        },
    )


def _convert_view(node: torch.fx.Node, importer: ExportedProgramImporter) -> relax.Var:
    tail = [2] if node.meta["val"].is_complex() else []
    reshaped = relax.op.reshape(importer.env[node.args[0]], [*node.args[1], *tail])
    return importer.block_builder.emit(reshaped)


def _convert_mul(node: torch.fx.Node, importer: ExportedProgramImporter) -> relax.Var:
    left, right = (relax.op.split(importer.env[arg], 2, axis=-1) for arg in node.args)
    (a, b), (c, d) = [(left[0], left[1]), (right[0], right[1])]
    real = relax.op.subtract(relax.op.multiply(a, c), relax.op.multiply(b, d))
    imaginary = relax.op.add(relax.op.multiply(a, d), relax.op.multiply(b, c))
    return importer.block_builder.emit(relax.op.concat([real, imaginary], axis=-1))


def custom_function(table: Tensor, q: Tensor) -> tvm.IRModule:
    """Return a module whose `main(q, k)` calls a hand-written TIR function through `call_tir`."""
    rows, length, channels = q.shape[0] * q.shape[1], q.shape[2], q.shape[3]
    cos, sin = (relax.const(part.contiguous().numpy()) for part in (table.real, table.imag))
    builder = relax.BlockBuilder()
    params = [relax.Var(name, relax.TensorType(tuple(q.shape), "float32")) for name in "qk"]
    with builder.function("main", params):
        with builder.dataflow():
            function = builder.add_func(_rope_function(rows, length, channels), "rope_2d")
            outputs = []
            for param in params:
                flat = builder.emit(relax.op.reshape(param, (rows, length, channels)))
                out_type = relax.TensorType((rows, length, channels), "float32")
                rotated = builder.emit(relax.call_tir(function, [flat, cos, sin], out_type))
                outputs.append(builder.emit(relax.op.reshape(rotated, tuple(q.shape))))
            result = builder.emit_output(relax.Tuple(outputs))
        builder.emit_func_output(result)
    return builder.get()


def _rope_function(rows: int, length: int, channels: int) -> tirx.PrimFunc:
    half = channels // 2

    @T.prim_func(s_tir=True, private=True)
    def rope(
        x: T.Buffer((rows, length, channels), "float32"),
        cos: T.Buffer((length, half), "float32"),
        sin: T.Buffer((length, half), "float32"),
        out: T.Buffer((rows, length, channels), "float32"),
    ):
        T.func_attr({"tirx.noalias": True, "op_pattern": 8})
        for n in T.parallel(rows):
            for t, i in T.grid(length, half):
                with T.sblock("rope"):
                    vn, vt, vi = T.axis.remap("SSS", [n, t, i])
                    out[vn, vt, 2 * vi] = (
                        x[vn, vt, 2 * vi] * cos[vt, vi] - x[vn, vt, 2 * vi + 1] * sin[vt, vi]
                    )
                    out[vn, vt, 2 * vi + 1] = (
                        x[vn, vt, 2 * vi] * sin[vt, vi] + x[vn, vt, 2 * vi + 1] * cos[vt, vi]
                    )

    return rope


def run_main(module: tvm.IRModule, q: Tensor, k: Tensor) -> Rows:
    """Build `module` with TVM's default pipeline for llvm; return the results of `main(q, k)`."""
    machine = relax.VirtualMachine(relax.build(module, target="llvm"), tvm.cpu())
    inputs = [tvm.runtime.tensor(x.numpy()) for x in (q, k)]
    return [output.numpy() for output in machine["main"](*inputs)]


def llm_rope(width: int, scale: float, mode: dict[str, str]) -> Callable[[Tensor, Tensor], Tensor]:
    """Return TVM's RoPE for language models on rows of `width` channels.

    The function takes rows (N, `width`) float32 and their positions (N,) int32. `mode` is TVM's
    `rope_scaling`: `{}` pairs channel i with i + width/2, `{"rope_type": "gptj"}` neighbours.
    """
    from tvm.relax.frontend.nn.llm.position_embedding import llama_rope_with_position_map

    kernel = tvm.compile(
        llama_rope_with_position_map(
            theta=10000.0,
            scale=scale,
            head_dim=width,
            num_q_heads=1,
            num_kv_heads=0,
            dtype="float32",
            rope_scaling=mode,
        ),
        target="llvm",
    )

    def rotate(rows: Tensor, positions: Tensor) -> Tensor:
        count = rows.shape[0]
        out = tvm.runtime.empty((count, 1, width), "float32")
        empty = [tvm.runtime.empty((count, 0, width), "float32") for _ in range(2)]
        source = tvm.runtime.tensor(rows.reshape(count, 1, width).numpy())
        kernel(source, tvm.runtime.tensor(positions.int().numpy()), out, *empty, 1)
        return torch.from_numpy(out.numpy().reshape(count, width))

    return rotate
