"""Matrix tiles in software: their kernels run on any CPU with AVX-512 and bfloat16.

The kernels call their instructions in LLVM IR. On a CPU without them these calls go to functions in
C instead, and all the rest, what is cut, laid out, scheduled and stored, is what it is there.
"""

from __future__ import annotations

import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tvm.target import Target

from sam_tvm.kernels.amx import library
from sam_tvm.kernels.target_features import AVX512, has_bfloat16, vector_unit

_SOURCE = Path(__file__).with_suffix(".c")
_INSTRUCTION = re.compile(r"llvm\.x86\.(ldtilecfg|tile\w+|tdp\w+)")
_FEATURES = ["+amx-tile", "+amx-bf16", "+amx-int8"]


def emulated(host: Target) -> dict[str, object] | None:
    """Return the host with tiles in software; None where it has tiles, or cannot stand in."""
    if vector_unit(host) != AVX512 or not has_bfloat16(host) or not _load():
        return None
    target = {key: host.attrs[key] for key in ("mcpu", "mattr") if key in host.attrs}
    return {**target, "kind": "llvm", "mattr": [*target.get("mattr", []), *_FEATURES]}


@functools.cache
def _load() -> bool:
    """Compile the instructions, and let kernels call them; False without a compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        return False
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / "tiles.so"
        options = ["-O3", "-march=native", "-shared", "-fPIC", "-o", str(built)]
        subprocess.run([compiler, *options, str(_SOURCE)], check=True)
        ctypes.CDLL(str(built), mode=ctypes.RTLD_GLOBAL)
    in_hardware = library.tile_text
    text = functools.cache(lambda: _INSTRUCTION.sub(r"software_\1", in_hardware()))
    library.tile_text = text
    return True
