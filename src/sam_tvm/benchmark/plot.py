"""The benchmark as bars: each engine's time relative to PyTorch eager, by component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_tvm.benchmark.engines import ENGINES, REFERENCE
from sam_tvm.benchmark.markdown import by_engine
from sam_tvm.pipeline.files import staging_directory

SHOWN_AT_MOST = 2.0  # times eager; taller bars are cut and say how tall they are
OTHER_RUN = "//"  # hatch of bars that were not timed in the run of their eager one
INCHES_PER_GROUP, HEIGHT = 1.2, 4.0
GROUP_WIDTH = 0.8  # of the space between groups


@dataclass(frozen=True)
class Bar:
    """Median over eager's; `together`: both were timed in one run of the benchmark."""

    height: float
    together: bool


def relative_times(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Bar]]:
    """Bars by component and engine, of rows of one precision; without eager there are none."""
    found: dict[str, dict[str, Bar]] = {}
    for component, engines in by_engine(rows).items():
        eager = engines.get(REFERENCE)
        timed = {name: row for name, row in engines.items() if row["median_s"]}
        if eager and REFERENCE in timed and len(timed) > 1:
            found[component] = {
                name: Bar(row["median_s"] / eager["median_s"], row["run"] == eager["run"])
                for name, row in timed.items()
            }
    return found


def write_plot(path: Path, report: Mapping[str, Any]) -> bool:
    """Write the plot as PNG, one panel a precision; False if there is nothing to compare.

    Raises:
        ModuleNotFoundError: if matplotlib is not installed.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = report["results"]
    panels = {
        precision: relative_times([row for row in rows if row["precision"] == precision])
        for precision in dict.fromkeys(row["precision"] for row in rows)
    }
    panels = {precision: times for precision, times in panels.items() if times}
    if not panels:
        return False
    groups = max(len(times) for times in panels.values())
    size = (2 + INCHES_PER_GROUP * groups, HEIGHT * len(panels))
    figure = Figure(figsize=size, layout="constrained")
    for axes, (precision, times) in zip(
        figure.subplots(len(panels), squeeze=False)[:, 0], panels.items(), strict=True
    ):
        _draw(axes, times)
        machine = report["machine"]
        axes.set_title(f"{report['preset']}, {precision}, {machine['threads']} threads")
    with staging_directory(path.parent, path.name) as folder:
        FigureCanvasAgg(figure).print_png(folder / path.name)
        (folder / path.name).replace(path)
    return True


def _draw(axes: Any, times: Mapping[str, Mapping[str, Bar]]) -> None:
    engines = [name for name in ENGINES if any(name in group for group in times.values())]
    width = GROUP_WIDTH / len(engines)
    for index, engine in enumerate(engines):
        known = {
            place - GROUP_WIDTH / 2 + width * (index + 0.5): group[engine]
            for place, group in enumerate(times.values())
            if engine in group
        }
        heights = [min(bar.height, SHOWN_AT_MOST) for bar in known.values()]
        hatches = ["" if bar.together else OTHER_RUN for bar in known.values()]
        colour = f"C{list(ENGINES).index(engine)}"
        drawn = axes.bar(list(known), heights, width, label=engine, color=colour, hatch=hatches)
        labels = [f"{bar.height:.2f}" for bar in known.values()]
        axes.bar_label(drawn, labels, fontsize=6, rotation=90, padding=2)
    axes.axhline(1.0, color="black", linewidth=0.6)
    axes.set_xticks(range(len(times)), list(times), rotation=20, ha="right")
    axes.set_ylabel("median time / eager's")
    axes.margins(x=0.01, y=0.12)
    axes.legend(
        title="hatched: another run",
        title_fontsize=6,
        fontsize=7,
        loc="upper left",
        bbox_to_anchor=(1, 1),
    )
