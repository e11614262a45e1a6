"""What TVM's compiler does otherwise than it should, whatever it compiles."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sam_tvm.patches.compiler import size_order
from sam_tvm.patches.patch import Patch

PATCHES: tuple[Patch, ...] = (size_order.PATCH,)


@contextmanager
def compiler_patches() -> Iterator[None]:
    """Hold all patches of the compiler; on exit everything is as before."""
    with ExitStack() as stack:
        for patch in PATCHES:
            stack.enter_context(patch.apply())
        yield
