"""Compile every component for every target, and prove of each file what can be proved here."""

from __future__ import annotations

from collections.abc import Sequence

from sam_tvm.console import Parser, run
from sam_tvm.pipeline import commands
from sam_tvm.pipeline.options import add_job_options, job_from_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and fill the table; returns the exit status."""
    parser = Parser(description=__doc__)
    add_job_options(parser, weights=False, target=False)
    parser.add_argument("--targets", nargs="+", metavar="TARGET", help="these (default: all)")
    options = parser.parse_args(arguments)
    return commands.compile_for_targets(job_from_options(options), options.targets)


if __name__ == "__main__":
    raise SystemExit(run(main))
