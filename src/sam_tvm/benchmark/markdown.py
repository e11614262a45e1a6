"""The benchmark's report for reading."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sam_tvm.benchmark.engines import OURS, REFERENCE, STOCK, UNTUNED

NONE = "-"
Row = Mapping[str, Any]

EXPLANATION = """\
Medians of all rounds, one process for each engine and round, the engines in turn. "of eager" and
"of the best other" are ratios of medians: below 1 TVM is faster; `~` marks a ratio between two
runs of the benchmark, under whatever load there was. GFLOP/s count matrix products, convolutions
and attention; "of peak" is their share of what the machine does in registers. Peak memory is that
of the whole process, loading included (PyTorch's without building the model)."""


KERNELS = """\
Shares of the time in kernels; "unmatched" are those that only the fallback rule, or none, took.
"VM" is the share of the virtual machine's own calls (memory, shapes) in all: too high where a run
takes milliseconds, because each call is timed from Python."""


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report's tables."""
    machine, rows = report["machine"], report["results"]
    peaks = (
        [f"{machine['fma_peak_gflops']:.0f} GFLOP/s in float32"]
        if machine["fma_peak_gflops"]
        else ["peak not measured"]
    )
    if machine.get("fma_peak_gflops_bfloat16"):
        peaks.append(f"{machine['fma_peak_gflops_bfloat16']:.0f} in bfloat16")
    weights = "; ".join(f"{model}: {w['source']}" for model, w in report["weights"].items())
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    lines = [
        f"# Benchmark: {report['preset']}",
        "",
        f"{_where(machine)}, {machine['threads']} threads, measured peak {', '.join(peaks)}.",
        f"Weights: {weights}. Versions: {versions}.",
        "",
        EXPLANATION,
    ]
    for precision in dict.fromkeys(row["precision"] for row in rows):
        ours = [row for row in rows if row["precision"] == precision]
        lines += ["", f"## {precision}", "", *_summary(ours), "", *_details(ours)]
    lines += _kernels(rows)
    return "\n".join(lines) + "\n"


def _where(machine: Mapping[str, Any]) -> str:
    """The GPU, if the figures are of one, and the CPU."""
    names = (machine.get("device"), machine["cpu"])
    return " beside ".join(name for name in names if name)


def _table(header: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    return lines + ["| " + " | ".join(cells) + " |" for cells in body]


def by_engine(rows: Sequence[Row]) -> dict[str, dict[str, Row]]:
    """Rows of one precision by component and engine."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["component"], {})[row["engine"]] = row
    return found


def best_other(engines: Mapping[str, Row]) -> Row | None:
    """The fastest row of another engine; TVM in another way is not one."""
    ways = (OURS, STOCK, UNTUNED)
    others = [row for name, row in engines.items() if name not in ways and row["median_s"]]
    return min(others, key=lambda row: row["median_s"], default=None)


def ratio(row: Row | None, other: Row | None) -> str:
    """Time of a row over another's; marked where they were not timed together."""
    if row is None or other is None or not row["median_s"] or not other["median_s"]:
        return NONE
    mark = "" if row["run"] == other["run"] else "~"
    return f"{mark}{row['median_s'] / other['median_s']:.2f}"


def _summary(rows: Sequence[Row]) -> list[str]:
    header = (
        *("component", "TVM, ms", "eager, ms", "of eager", "best other", "of the best other"),
        *("stock TVM, ms", "of untuned", "GFLOP/s", "of peak", "peak GB", "eager's GB"),
    )
    body = []
    for component, engines in by_engine(rows).items():
        ours, eager, best = engines.get(OURS), engines.get(REFERENCE), best_other(engines)
        body.append(
            (
                component,
                _milliseconds(ours),
                _milliseconds(eager),
                ratio(ours, eager),
                best["engine"] if best else NONE,
                ratio(ours, best),
                _milliseconds(engines.get(STOCK)),
                ratio(ours, engines.get(UNTUNED)),
                _number(ours, "gflops", "{:.0f}"),
                _number(ours, "peak_share", "{:.0%}"),
                _number(ours, "peak_rss_gb", "{:.2f}"),
                _number(eager, "peak_rss_gb", "{:.2f}"),
            )
        )
    return _table(header, body)


def _details(rows: Sequence[Row]) -> list[str]:
    header = (
        *("component", "engine", "median, ms", "mean", "p95", "p99", "per s", "GFLOP/s"),
        *("of peak", "peak GB", "running GB", "error", "runs"),
    )
    body = []
    for row in rows:
        if row["error"]:
            body.append((row["component"], row["engine"], f"- {_cell(row['error'])}", *[""] * 10))
            continue
        body.append(
            (
                row["component"],
                row["engine"],
                *(f"{row[name] * 1e3:.2f}" for name in ("median_s", "mean_s", "p95_s", "p99_s")),
                f"{row['throughput_per_s']:.3g}",
                _number(row, "gflops", "{:.0f}"),
                _number(row, "peak_share", "{:.0%}"),
                f"{row['peak_rss_gb']:.2f}",
                _number(row, "run_rss_gb", "{:.2f}"),
                f"{row['max_abs_error']:.1e}",
                f"{row['runs']} in {row['rounds']}",
            )
        )
    return _table(header, body)


def _kernels(rows: Sequence[Row]) -> list[str]:
    """Which rules TVM's time goes to."""
    profiled = [row for row in rows if row.get("kernel_time_share")]
    if not profiled:
        return []
    rules = list(dict.fromkeys(rule for row in profiled for rule in row["kernel_time_share"]))
    body = [
        (
            row["component"],
            row["precision"],
            *(f"{row['kernel_time_share'].get(rule, 0):.1%}" for rule in rules),
            f"{row['unmatched_share']:.1%}",
            _number(row, "vm_share", "{:.1%}"),
            _number(row, "packing_s", "{:.2f}"),
        )
        for row in profiled
    ]
    header = ("component", "precision", *rules, "unmatched", "VM", "packing at build time, s")
    return ["", "## Where TVM's time goes, by rule", "", KERNELS, "", *_table(header, body)]


def _milliseconds(row: Row | None) -> str:
    return NONE if row is None or not row["median_s"] else f"{row['median_s'] * 1e3:.2f}"


def _number(row: Row | None, name: str, form: str) -> str:
    return NONE if row is None or row.get(name) is None else form.format(row[name])


def _cell(text: str) -> str:
    return text.replace("|", "/")
