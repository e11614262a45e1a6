"""Time every component and the end-to-end run in TVM and in other engines."""

from __future__ import annotations

from sam_tvm.benchmark.command import main
from sam_tvm.console import run

if __name__ == "__main__":
    raise SystemExit(run(main))
