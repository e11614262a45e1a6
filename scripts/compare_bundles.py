"""Compare bundles of SAM3: size, times, memory, and how well their masks agree."""

from __future__ import annotations

from sam_tvm.benchmark.bundles_command import main
from sam_tvm.console import run

if __name__ == "__main__":
    raise SystemExit(run(main))
