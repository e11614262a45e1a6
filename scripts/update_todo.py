"""Write the table of TODO.md from the artifacts and reports of both presets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sam_tvm.console import Parser, run
from sam_tvm.models.presets import get_preset
from sam_tvm.pipeline.job import DEFAULT_ARTIFACTS, Job
from sam_tvm.pipeline.todo import update_todo


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and write the table; returns the exit status."""
    parser = Parser(description=__doc__)
    parser.add_argument("--artifacts", type=Path, default=DEFAULT_ARTIFACTS)
    parser.add_argument("--file", type=Path, default=Path("TODO.md"))
    options = parser.parse_args(arguments)
    update_todo(options.file, Job(preset=get_preset("tiny"), artifacts=options.artifacts))
    print(f"table written to {options.file}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
