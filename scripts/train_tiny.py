"""Train SAM3's tiny configuration on drawn scenes, or go on with a training.

It runs until it is interrupted or its time is over, and goes on from there when it is started
again. It ends when its figures are good, or with --decay-steps; --export writes the weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from sam_tvm.console import Parser, run


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(description=__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("artifacts/training/tiny"),
        help="of the training's state and history (default: artifacts/training/tiny)",
    )
    parser.add_argument("--minutes", type=float, help="stop after so long (default: go on)")
    parser.add_argument(
        "--decay-steps",
        type=int,
        help="let the learning rate fall to 0 over so many steps, and end",
    )
    parser.add_argument("--threads", type=int, help="of PyTorch (default: its own choice)")
    parser.add_argument(
        "--export", action="store_true", help="write weights.safetensors and curves.png instead"
    )
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, and train or export; returns the exit status."""
    options = _options(arguments)
    from sam_tvm.training import command

    if options.export:
        for path in command.export_weights(options.folder):
            print(path)
    else:
        command.train(options.folder, options.minutes, options.decay_steps, options.threads)
    return 0


if __name__ == "__main__":
    raise SystemExit(run(main))
