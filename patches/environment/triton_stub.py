"""A stand-in for triton while `sam3` is imported.

`sam3.model.edt` decorates a GPU kernel with `triton.jit` at import. SAM3's image model never
calls it, so a decorator that returns the function is enough.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from sam_tvm.patches.patch import Patch

# Parts of torch that ask whether triton is there, at import or once and for all: they must ask
# before the stub answers.
_ASKING = (
    "torch.export._trace",
    "torch._dynamo",
    "torch._functorch.aot_autograd",
    "torch._inductor.utils",
    "torch._inductor.ir",  # torch.export.save imports it
    "torch._inductor.runtime.triton_compat",
)


def _jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Stand in for `triton.jit`, which is used with and without options."""
    return function if function is not None else lambda decorated: decorated


def _stub(name: str, **attributes: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, loader=None)
    vars(module).update(attributes)
    return module


@contextmanager
def triton_stub() -> Iterator[None]:
    """Put stubs of `triton` and `triton.language` into `sys.modules`, if triton is missing."""
    if importlib.util.find_spec("triton") is not None:
        yield
        return
    for name in _ASKING:
        importlib.import_module(name)
    importlib.import_module("torch.utils._triton").has_triton_package()  # remembers its answer

    language = _stub("triton.language", constexpr=int)
    stubs = {"triton": _stub("triton", jit=_jit, language=language), "triton.language": language}
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            sys.modules.pop(name, None)


PATCH = Patch(
    name="triton_stub",
    symptom="No module named 'triton'",
    versions={"sam3": "0.1.4"},
    upstream="https://github.com/facebookresearch/sam3/pull/173",
    apply=triton_stub,
)
