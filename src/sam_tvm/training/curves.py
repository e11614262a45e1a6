"""A training's history as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sam_tvm.runtime.errors import UserError
from sam_tvm.runtime.replacing import replacing

# Panels, each with the figures that it shows.
PANELS: dict[str, tuple[str, ...]] = {
    "Tokens: fraction right, overlap of what a phrase names": (
        *("colour", "shape", "size", "alignment", "unseen_shape", "unseen_alignment"),
    ),
    "Detections on the validation scenes": ("f1", "mean_iou", "absent_accuracy", "unseen_f1"),
    "Losses of the detector": ("score", "l1", "giou", "presence", "mask", "dice"),
}
LOGARITHMIC = ("Losses of the detector",)
STYLES = {
    "training": {"alpha": 0.4, "linewidth": 1},
    "validation": {"marker": "o", "markersize": 3},
}
INCHES = (8.0, 3.0)  # of a panel


def write_curves(path: Path, history: Sequence[dict[str, Any]]) -> None:
    """Draw the history over the pictures that were trained on; validation has dots.

    Raises:
        UserError: there is no history yet, or matplotlib is not installed.
    """
    if not history:
        raise UserError("the training has no history yet; train first")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise UserError("the curves need matplotlib; pip install 'sam-tvm[train]'") from error
    shown = {title: names for title, names in PANELS.items() if _any_has(history, names)}
    figure = Figure(figsize=(INCHES[0], INCHES[1] * len(shown)), layout="constrained")
    panels = figure.subplots(len(shown), squeeze=False)[:, 0]
    for axes, (title, names) in zip(panels, shown.items(), strict=True):
        _draw(axes, history, names)
        axes.set_title(title, fontsize="medium")
        axes.set_yscale("log" if title in LOGARITHMIC else "linear")
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small", ncols=2)
    panels[-1].set_xlabel("steps, of all stages")
    with replacing(path, "wb") as stream:
        FigureCanvasAgg(figure).print_png(stream)


def _any_has(history: Sequence[dict[str, Any]], names: Sequence[str]) -> bool:
    return any(name in entry for entry in history for name in names)


def _draw(axes: Any, history: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    for index, name in enumerate(names):
        for kind, style in STYLES.items():
            points = [
                (e["total_steps"], e[name]) for e in history if e["kind"] == kind and name in e
            ]
            if points:
                labelled = kind == "validation" or not _validated(history, name)
                label = name.replace("_", " ") if labelled else None
                axes.plot(*zip(*points, strict=True), color=f"C{index}", label=label, **style)


def _validated(history: Sequence[dict[str, Any]], name: str) -> bool:
    return any(entry["kind"] == "validation" and name in entry for entry in history)
