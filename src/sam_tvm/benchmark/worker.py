"""The process that runs one task: ``python -m sam_tvm.benchmark.worker FOLDER``; see `process`."""

from __future__ import annotations

import math
import pickle
import signal
import sys
import traceback
from pathlib import Path

GRACE_S = 60  # a process whose parent is gone ends itself so long after its limit
MAX_REASON = 300  # characters of an error's message: libraries write pages


def main() -> int:
    """Run the task that lies in the folder, and leave its result or its error there."""
    folder = Path(sys.argv[1])
    task, seconds = pickle.loads((folder / "task").read_bytes())
    signal.alarm(math.ceil(seconds) + GRACE_S)  # whose default action ends the process

    def phase(text: str) -> None:
        (folder / "phase").write_text(text, encoding="utf-8")

    try:
        outcome = True, task.run(phase)
    except Exception as error:
        traceback.print_exc()
        outcome = False, _reason(error)
    (folder / "result").write_bytes(pickle.dumps(outcome))
    return 0


def _reason(error: Exception) -> str:
    """One line; errors of the benchmark's own say enough without their type."""
    text = " ".join(str(error).split())
    own = type(error).__module__.startswith("sam_tvm.")
    return (text if own else f"{type(error).__name__}: {text}")[:MAX_REASON]


if __name__ == "__main__":
    raise SystemExit(main())
