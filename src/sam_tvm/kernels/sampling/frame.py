"""The frame that the sampling kernels share: three tensors, sizes, and a parallel loop of tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import tirx
from tvm.ir import Expr, Var

from sam_tvm.kernels.generated import finished, flat_view
from sam_tvm.kernels.loops import loop
from sam_tvm.kernels.vectors import Code, Lanes

Task = Callable[[Expr], tirx.Stmt]
_NAMES = ("picture", "places", "result")


def sampling_function(
    shapes: Sequence[Sequence[Expr]],
    sizes: Sequence[Var],
    rule: str,
    plan: Callable[[Code, Sequence[Var]], tuple[Expr, Task]],
) -> tirx.PrimFunc:
    """Return the scheduled function of a picture, places in it and the result, all float32.

    Args:
        shapes: of the three tensors.
        sizes: symbolic sizes, which are parameters between the inputs and the result.
        rule: the name that reports give to the kernel.
        plan: returns how many tasks there are and what emits one, given the code before them and
            the tensors as flat buffers.

    """
    tensors = [
        tirx.decl_buffer(tuple(shape), "float32", name)
        for name, shape in zip(_NAMES, shapes, strict=True)
    ]
    code = Code(Lanes(1))
    tasks, task = plan(code, [flat_view(tensor, code) for tensor in tensors])
    code.add(loop(tasks, task, "task", tirx.ForKind.PARALLEL))
    return finished([*tensors[:2], *sizes, tensors[2]], code.body(), rule)
