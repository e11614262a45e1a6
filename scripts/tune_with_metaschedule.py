"""Look for better loops with MetaSchedule where no kernel of ours was written; for this machine.

What wins against our rule is written to the package's records, which 03_build.py uses for the same
machine. An interrupted run, or one whose time is over, goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sam_tvm.console import Parser, run
from sam_tvm.pipeline import commands
from sam_tvm.pipeline.options import add_job_options, job_from_options
from sam_tvm.runtime.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and tune; returns the exit status."""
    parser = Parser(description=__doc__)
    add_job_options(parser, weights=False, target=True)
    parser.add_argument("--minutes", type=float, default=30, help="to spend (default: 30)")
    parser.add_argument(
        "--trials", type=int, default=64, help="candidates for a function (default: 64)"
    )
    parser.add_argument("--all", action="store_true", help="also products and convolutions")
    parser.add_argument("--output", type=Path, help="file of records (default: the package's)")
    options = parser.parse_args(arguments)
    if not options.minutes > 0 or options.trials < 1:
        raise UserError("--minutes and --trials must be more than 0")
    return commands.tune(
        job_from_options(options), options.minutes, options.trials, options.all, options.output
    )


if __name__ == "__main__":
    raise SystemExit(run(main))
