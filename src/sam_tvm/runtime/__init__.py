"""Running bundles without PyTorch.

`Segmenter` and `Reconstructor` are imported when they are first asked for: the errors in this
package are used where TVM is not wanted.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sam_tvm.runtime.reconstructor import Reconstructor
    from sam_tvm.runtime.segmenter import Segmenter

__all__ = ["Reconstructor", "Segmenter"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(f"{__name__}.{name.lower()}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
