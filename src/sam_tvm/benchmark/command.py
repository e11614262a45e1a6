"""What ``sam-tvm benchmark`` and ``scripts/benchmark_components.py`` both run."""

from __future__ import annotations

from collections.abc import Sequence

from sam_tvm.benchmark.plan import add_options, plan_from_options
from sam_tvm.console import Parser

DESCRIPTION = "Time every component and the end-to-end run in TVM and in other engines."


def main(arguments: Sequence[str] | None = None, prog: str | None = None) -> int:
    """Parse the arguments and run the benchmark; returns the exit status."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    add_options(parser)
    plan = plan_from_options(parser.parse_args(arguments))
    from sam_tvm.benchmark.run import benchmark  # after bad input was refused

    return benchmark(plan)
