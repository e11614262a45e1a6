"""The benchmark: every workload, round and engine in turn, each in a process of its own."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sam_tvm import components
from sam_tvm.benchmark.bench import Bench
from sam_tvm.benchmark.engines import CPU, OURS, Engine, rotated
from sam_tvm.benchmark.machine import header
from sam_tvm.benchmark.measure import Measure
from sam_tvm.benchmark.peak import MeasurePeak
from sam_tvm.benchmark.plan import Plan
from sam_tvm.benchmark.plot import write_plot
from sam_tvm.benchmark.process import Limits, TaskError, run_task
from sam_tvm.benchmark.report import report_path, update_report
from sam_tvm.benchmark.rows import Context, Outcome, kernel_facts, rows_of
from sam_tvm.benchmark.sources import kernel_rules, packing_seconds
from sam_tvm.benchmark.workload import END_TO_END
from sam_tvm.pipeline.files import staging_directory
from sam_tvm.pipeline.recorded import with_recorded_weights
from sam_tvm.pipeline.store import MissingArtifactError

FOLDER = "benchmark"  # logs and operation counts, beside the components' artifacts

NO_PEAKS = {"float32": None, "bfloat16": None}  # a GPU's is not measured

Outcomes = dict[tuple[Engine, str], Outcome]  # by engine and precision


def benchmark(plan: Plan) -> int:
    """Time what the plan says and write the report; 1 if TVM failed somewhere, else 0.

    An engine that cannot run something is a row with the reason. The report is written after
    each workload, so that an interrupted run keeps what it has finished.

    Raises:
        UserError: if nothing is exported, or the weights are not those of the export.
    """
    plan = _with_recorded_weights(plan)
    path, logs = report_path(plan.job), plan.job.folder / FOLDER / "logs"
    limits = Limits(plan.timeout_s, plan.threads)
    ours: list[dict[str, Any]] = []
    with staging_directory(plan.job.folder, FOLDER) as folder:
        bench = Bench(plan, folder, logs)
        turns = len(bench.workloads) * plan.rounds * len(plan.engines) * len(plan.precisions)
        with tqdm(total=turns, desc="benchmark", unit="process") as bar:
            bar.set_postfix_str("peak of the machine")
            peaks = _peaks(plan, limits, logs) if plan.kind == CPU else NO_PEAKS
            bar.set_postfix_str("PyTorch's outputs")
            bench.expect()
            bar.set_postfix_str("operations")
            context = Context(time.strftime("%Y-%m-%dT%H:%M:%S%z"), bench.count_flops())
            job = replace(plan.job, components=bench.parts)
            about = header(job, plan.threads, peaks, plan.kind)
            for name in bench.workloads:
                outcomes = _time_workload(bench, name, limits, logs, bar)
                rows = _rows(bench, name, outcomes, context)
                report = update_report(path, about, rows)
                ours += [row for row in rows if row["engine"] == OURS]
                bar.write(_line(name, rows))
        if plan.job.drop:
            bench.sources.drop_onnx(bench.parts)
    print(f"report: {path}" + _plot(path, report))
    return int(any(row["error"] for row in ours))


def _with_recorded_weights(plan: Plan) -> Plan:
    """The plan, with the weights that its components were exported from."""
    every = plan.job.components or components.components()
    job = with_recorded_weights(replace(plan.job, components=every))
    return replace(plan, job=replace(job, components=plan.job.components))


def _peaks(plan: Plan, limits: Limits, logs: Path) -> dict[str, float | None]:
    try:
        return run_task(MeasurePeak(plan.threads), limits, logs / "peak.log")
    except TaskError as error:
        tqdm.write(f"the machine's peak is not known: {error}")
        return NO_PEAKS


def _time_workload(bench: Bench, name: str, limits: Limits, logs: Path, bar: tqdm) -> Outcomes:
    """All rounds of one workload; an engine that failed once is not asked again."""
    plan = bench.plan
    outcomes: Outcomes = {
        (engine, precision): Outcome(
            error=engine.why_not(precision, plan.kind) or engine.why_not_time(name, plan.threads)
        )
        for engine in plan.engines
        for precision in plan.precisions
    }
    for index in range(plan.rounds):
        for engine in rotated(plan.engines, index):
            for precision in plan.precisions:
                outcome = outcomes[engine, precision]
                label = f"{name} {engine.name} {precision}"
                bar.set_postfix_str(f"{label} round {index + 1}/{plan.rounds}")
                if outcome.error is None:
                    last = index == plan.rounds - 1
                    log = logs / f"{label.replace(' ', '-')}.log"
                    _time_engine(bench, engine, precision, name, outcome, limits, log, last)
                bar.update()
    return outcomes


def _time_engine(
    bench: Bench,
    engine: Engine,
    precision: str,
    name: str,
    outcome: Outcome,
    limits: Limits,
    log: Path,
    profile: bool,
) -> None:
    """One process; adds to the outcome what it measured, or why it did not."""
    try:
        task = Measure(
            request=bench.request(engine, precision, name),
            expected=bench.expected(name),
            budget_s=bench.plan.budget_s,
            profile=profile,
        )
        cache = str(bench.plan.job.folder.resolve() / FOLDER / "inductor")
        measured = run_task(task, limits, log, TORCHINDUCTOR_CACHE_DIR=cache)
        outcome.measurements.append(measured)
    except (TaskError, MissingArtifactError) as error:
        outcome.error = str(error)


def _rows(bench: Bench, name: str, outcomes: Outcomes, context: Context) -> list[dict[str, Any]]:
    rows = []
    for (engine, precision), outcome in outcomes.items():
        fresh = rows_of(
            name, bench.steps(name), bench.case(name), engine.name, precision, outcome, context
        )
        if name != END_TO_END:
            fresh[0]["component"] = bench.label(name)
        if engine.name == OURS and name != END_TO_END:
            job = replace(bench.plan.job, precision=precision)
            (part,) = components.select([name])
            rules, packing = kernel_rules(job, part), packing_seconds(job, part)
            fresh[0] |= kernel_facts(outcome, rules, packing)
        rows += fresh
    return rows


def _line(name: str, rows: list[dict[str, Any]]) -> str:
    """What the run says of a workload that is finished."""
    figures = []
    for row in rows:
        if row["component"].partition("@")[0] == name:
            label = f"{row['engine']} {row['precision']}"
            failed = f"{label} FAILED {row['error']}"
            figures.append(failed if row["error"] else f"{label} {row['median_s'] * 1e3:.2f} ms")
    return f"benchmark {name}: " + "; ".join(figures)


def _plot(path: Path, report: dict[str, Any]) -> str:
    """Write the plot; what to say of it."""
    try:
        drawn = write_plot(path.with_suffix(".png"), report)
    except ModuleNotFoundError as error:
        return f"; no plot: {error.name} is not installed (pip install 'sam-tvm[bench]')"
    return f", {path.with_suffix('.png').name}" if drawn else ""
