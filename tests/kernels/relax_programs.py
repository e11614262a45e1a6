"""Builds small Relax functions, schedules them with the default rules and runs them."""

from __future__ import annotations

import functools
from collections.abc import Callable

import numpy as np
import tvm
import tvm_ffi
from software_tiles import emulated
from tvm import relax, tirx
from tvm.target import codegen

from sam_tvm.kernels import default, neighbours
from sam_tvm.kernels.target_features import vector_unit
from sam_tvm.pipeline import targets

FUSION = (
    relax.transform.LegalizeOps,
    relax.transform.AnnotateTIROpPattern,
    neighbours.join_products,
    relax.transform.FoldConstant,
    relax.transform.FuseOps,
    relax.transform.FuseTIR,
)

_UNTILED = {"kind": "llvm", "mcpu": "icelake-server", "mattr": ["+avx512bf16"]}


@functools.cache
def host_target() -> tvm.target.Target:
    return targets.resolve("llvm")


@functools.cache
def vector_target() -> tvm.target.Target:
    """The host, without matrix tiles if it has some."""
    return tvm.target.Target(_UNTILED if vector_unit(host_target()).tiles else host_target())


@functools.cache
def tile_target() -> tvm.target.Target | None:
    """The host, if it has matrix tiles; else with tiles in software, None where that cannot be."""
    if vector_unit(host_target()).tiles:
        return host_target()
    config = emulated(host_target())
    return None if config is None else tvm.target.Target(config)


def runnable_targets() -> list[dict[str, str]]:
    """The host, without and with matrix tiles, AVX2 where it has that, and plain x86-64."""
    host = host_target()
    found = [{key: host.attrs[key] for key in ("mcpu", "mattr") if key in host.attrs}]
    if vector_unit(host).tiles:
        found += [{key: value for key, value in _UNTILED.items() if key != "kind"}]
    elif tile_target() is not None:
        found += [{key: tile_target().attrs[key] for key in ("mcpu", "mattr")}]
    if codegen.target_has_features("avx2", host):
        found += [{"mcpu": "haswell"}]
    return [{"kind": "llvm", **config} for config in (*found, {})]


def function(
    build: Callable[..., relax.Expr], *inputs: tuple[tuple[int | str, ...], str]
) -> tvm.IRModule:
    """Return a module with one function; a name in a shape is a symbolic size."""
    symbols: dict[str, tirx.Var] = {}

    def size(extent: int | str) -> int | tirx.Var:
        if isinstance(extent, int):
            return extent
        return symbols.setdefault(extent, tirx.Var(extent, "int64"))

    variables = [
        relax.Var(f"x{i}", relax.TensorType(tuple(size(e) for e in shape), dtype))
        for i, (shape, dtype) in enumerate(inputs)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", variables):
        with builder.dataflow():
            result = builder.emit_output(builder.normalize(build(*variables)))
        builder.emit_func_output(result)
    return builder.get()


def schedule(module: tvm.IRModule, target: tvm.target.Target | None = None) -> tvm.IRModule:
    """Legalise, fuse and schedule, as the pipeline does."""
    target = target or host_target()
    with target:
        fused = tvm.transform.Sequential([make() for make in FUSION])(module)
        return tvm.transform.Sequential(default.passes(target))(fused)


class Compiled:
    """A scheduled, built module; call it with numpy arrays."""

    def __init__(self, module: tvm.IRModule, target: tvm.target.Target | dict | None = None):
        target = host_target() if target is None else tvm.target.Target(target)
        self.scheduled = schedule(module, target)
        self.rules = default.rules_used(self.scheduled)
        library = relax.build(self.scheduled, target=target)
        self._machine = relax.VirtualMachine(library, tvm.cpu())

    def __call__(self, *arrays: np.ndarray):
        result = self._machine["main"](*[tvm.runtime.tensor(a) for a in arrays])
        return result.numpy() if hasattr(result, "numpy") else [r.numpy() for r in result]


def nodes(run: Compiled, kind: type) -> list:
    """Return the nodes of a kind in the scheduled functions."""
    found: list = []
    for _, function in run.scheduled.functions_items():
        if isinstance(function, tirx.PrimFunc):
            tvm_ffi.structural_walk(function.body, (kind, found.append))
    return found


def compiled(build: Callable[..., relax.Expr], *inputs, target=None) -> Compiled:
    return Compiled(function(build, *inputs), target)


def mapped(make, source: np.ndarray, target, dtype: str = "float32") -> np.ndarray:
    """Build and call a function from one flat buffer to another of the same size.

    `make` returns its statements, given the two buffers.
    """
    x = tirx.decl_buffer((source.size,), "float32", "x")
    y = tirx.decl_buffer((source.size,), dtype, "y")
    function = tirx.PrimFunc([x, y], make(x, y))
    function = function.with_attr({"global_symbol": "main", "tirx.noalias": True})
    library = tvm.compile(tvm.IRModule({"main": function}), target=tvm.target.Target(target))
    result = tvm.runtime.tensor(np.zeros(source.shape, dtype))
    library["main"](tvm.runtime.tensor(source), result)
    return result.numpy()


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def turned(x, table):
    """The pairs of x (..., L, D) times cos + i sin of a table (L, D / 2, 2)."""
    op, emit = relax.op, relax.BlockBuilder.current().emit
    *outer, depth = (int(extent) for extent in x.ty.shape)

    def parts(tensor):
        last = len(tensor.ty.shape) - 1
        cut = [op.strided_slice(tensor, [last], [i], [i + 1]) for i in (0, 1)]
        return [emit(op.squeeze(part, [last])) for part in cut]

    (a, b), (cos, sin) = parts(emit(op.reshape(x, (*outer, depth // 2, 2)))), parts(table)
    real = emit(op.subtract(emit(op.multiply(a, cos)), emit(op.multiply(b, sin))))
    imaginary = emit(op.add(emit(op.multiply(a, sin)), emit(op.multiply(b, cos))))
    both = [emit(op.expand_dims(part, -1)) for part in (real, imaginary)]
    return emit(op.reshape(emit(op.concat(both, -1)), (*outer, depth)))


def turned_exactly(x: np.ndarray, table: np.ndarray) -> np.ndarray:
    """The same in float64."""
    x, table = x.astype("float64"), table.astype("float64")
    numbers = (x[..., ::2] + 1j * x[..., 1::2]) * (table[..., 0] + 1j * table[..., 1])
    return np.stack([numbers.real, numbers.imag], -1).reshape(x.shape)


def rotations(length: int, depth: int, seed: int = 0) -> np.ndarray:
    """A table of unit complex numbers, (L, D / 2, 2)."""
    angles = np.random.default_rng(seed).uniform(0, 6, (length, depth // 2))
    return np.stack([np.cos(angles), np.sin(angles)], -1).astype("float32")
