"""Measure PyTorch and every bundle of a preset on drawn scenes with known answers."""

from __future__ import annotations

from collections.abc import Sequence

from sam_tvm.console import Parser, run
from sam_tvm.pipeline.options import add_job_options, job_from_options


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments and write quality_report.json; returns the exit status."""
    parser = Parser(description=__doc__)
    add_job_options(parser, weights=False, target=False)
    parser.add_argument("--scenes", type=int, default=500, help="held-out ones (default: 500)")
    options = parser.parse_args(arguments)
    from sam_tvm.pipeline.quality import FILE, measure
    from sam_tvm.pipeline.recorded import with_recorded_weights

    job = with_recorded_weights(job_from_options(options))
    content = measure(job, options.scenes)
    for name, figures in content["engines"].items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()))
    print(f"report: {job.folder / FILE}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
