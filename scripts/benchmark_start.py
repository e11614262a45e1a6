"""Time the start of a process up to its first mask, with bundles and with PyTorch."""

from __future__ import annotations

from sam_tvm.benchmark.start_command import main
from sam_tvm.console import run

if __name__ == "__main__":
    raise SystemExit(run(main))
