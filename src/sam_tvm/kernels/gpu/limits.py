"""What a GPU's code generator refuses or a device could not launch, found before it is asked."""

from __future__ import annotations

import math

import tvm
import tvm_ffi
from tvm import s_tir, tirx
from tvm.s_tir.stmt import SBlock

from sam_tvm.kernels.expressions import constant_value

# What CUDA gives a block without asking for more, where the target does not say.
_SHARED_BYTES = 48 << 10
# TVM's lowering as far as the sizes of buffers are decided; the rest of it is what takes time.
_PLACED = tvm.transform.Sequential(
    [
        s_tir.transform.CanonicalizeLoop(),
        s_tir.transform.LowerCrossThreadReduction(),
        s_tir.transform.LowerInitBlock(),
        s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        s_tir.transform.ConvertBlocksToOpaque(),
        s_tir.transform.LiftThreadBinding(),
        s_tir.transform.ManifestSharedMemoryLocalStage(),
        s_tir.transform.CompactBufferAllocation(),
        s_tir.transform.UnifyThreadBinding(),
    ]
)


def exceeded(function: tirx.PrimFunc, target: tvm.target.Target) -> str | None:
    """Lower a scheduled function in part and say what of it no kernel may have; None if nothing.

    Args:
        function: with its loops bound to blocks and threads.
        target: with a host.

    """
    whole = tvm.IRModule({"main": function.with_attr("target", target)})
    kernels = _kernels(_PLACED(whole)["main"].body)
    if not kernels:
        return "no loop is bound to threads"
    return next(filter(None, (_problem(kernel, target) for kernel in kernels)), None)


def _kernels(body: tirx.Stmt) -> list[tirx.For]:
    """The outermost loops that are bound to blocks or threads: each becomes a kernel."""
    kernels: list[tirx.For] = []

    def visit(loop: tirx.For) -> tvm_ffi.WalkResult | None:
        if loop.thread_binding is None:
            return None
        kernels.append(loop)
        return tvm_ffi.WalkResult.SKIP

    tvm_ffi.structural_walk(body, [(tirx.For, visit)], order="pre")
    return kernels


def _problem(kernel: tirx.For, target: tvm.target.Target) -> str | None:
    buffers: list[tirx.Buffer] = []
    threads: dict[str, object] = {}

    def visit(loop: tirx.For) -> None:
        if loop.thread_binding is not None:
            threads[str(loop.thread_binding.thread_tag)] = loop.extent

    tvm_ffi.structural_walk(
        kernel,
        [(SBlock, lambda block: buffers.extend(block.alloc_buffers)), (tirx.For, visit)],
    )
    shared = 0
    for buffer in buffers:
        sizes = [constant_value(extent) for extent in buffer.shape]
        if None in sizes:
            return f"{buffer.name} has no constant size"
        if buffer.scope().startswith("shared"):
            shared += math.prod(sizes) * tvm.DataType(str(buffer.dtype)).bits // 8
    if shared > (most := int(target.attrs.get("max_shared_memory_per_block", _SHARED_BYTES))):
        return f"{shared} bytes of shared memory, {most} are there"
    extents = [constant_value(extent) for tag, extent in threads.items() if "threadIdx" in tag]
    if None in extents:
        return "a block has no constant number of threads"
    if math.prod(extents) > (most := int(target.attrs["max_num_threads"])):
        return f"{math.prod(extents)} threads in a block, {most} may be"
    return None
