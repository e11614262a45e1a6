"""Makes `sam3d_objects` importable, as it lies inside the `sam3d` wheel.

The modules are vendored under `sam3d/third_party/meta` and import each other as top-level
`sam3d_objects`. Importing that package runs an initialisation that the wheel lacks unless
LIDRA_SKIP_INIT is set, chooses attention and convolution backends by environment variables, and
prints the choice.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sam_tvm.patches.patch import Patch

VARIABLES = {
    "LIDRA_SKIP_INIT": "1",
    "ATTN_BACKEND": "sdpa",
    "SPARSE_ATTN_BACKEND": "sdpa",
    "SPARSE_BACKEND": "spconv",
    "SPCONV_ALGO": "native",  # the one that spconv has on a CPU
}
# What prints while it is imported; most other modules import it.
TALKATIVE = "sam3d_objects.model.backbone.tdfy_dit.modules.sparse"


def package_folder() -> Path:
    """Return the folder that holds `sam3d_objects`; raise `ModuleNotFoundError` without `sam3d`."""
    spec = importlib.util.find_spec("sam3d")  # finds, does not import
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "No module named 'sam3d': pip install 'sam-tvm[port]'", name="sam3d"
        )
    return Path(next(iter(spec.submodule_search_locations))) / "third_party" / "meta"


@contextmanager
def sam3d_package() -> Iterator[None]:
    """Hold path and variables, and keep the package from logging; imports its sparse modules.

    On exit both are as before. spconv comes with the sparse modules: its CPU kernels are right
    with OMP_NUM_THREADS=1 only, which is to be set before the process starts.
    """
    from loguru import logger

    with ExitStack() as stack:
        stack.enter_context(_path_entry(str(package_folder())))
        stack.enter_context(_variables(VARIABLES))
        logger.disable("sam3d_objects")
        stack.callback(logger.enable, "sam3d_objects")
        with contextlib.redirect_stdout(io.StringIO()):
            importlib.import_module(TALKATIVE)
        yield


@contextmanager
def _path_entry(entry: str) -> Iterator[None]:
    sys.path.append(entry)  # last: the folder also holds other packages
    try:
        yield
    finally:
        sys.path.remove(entry)


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


PATCH = Patch(
    name="sam3d_package",
    symptom="No module named 'sam3d_objects'",
    versions={"sam3d": "0.1.2"},
    upstream=None,
    apply=sam3d_package,
)
