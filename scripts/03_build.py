"""Compile every Relax module, and each model's end-to-end module, to a library."""

from __future__ import annotations

from collections.abc import Sequence

from sam_tvm.console import Parser, run
from sam_tvm.pipeline import commands
from sam_tvm.pipeline.options import add_job_options, job_from_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and run the stage; returns the exit status."""
    parser = Parser(description=__doc__)
    add_job_options(parser, weights=False, target=True, stored=True)
    return commands.build(job_from_options(parser.parse_args(arguments)))


if __name__ == "__main__":
    raise SystemExit(run(main))
