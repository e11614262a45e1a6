"""What is timed, made ready: inputs, PyTorch's outputs, operation counts, requests to engines."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from sam_tvm import components
from sam_tvm.benchmark.cases import label, timed_case
from sam_tvm.benchmark.engines import CPU, ENGINES, OURS, REFERENCE, Engine
from sam_tvm.benchmark.operations import known_flops, with_steps
from sam_tvm.benchmark.plan import Plan
from sam_tvm.benchmark.preparation import ExpectComponent, ExpectEndToEnd
from sam_tvm.benchmark.process import Limits, TaskError, run_task
from sam_tvm.benchmark.sources import Sources
from sam_tvm.benchmark.workload import (
    END_TO_END,
    SET_IMAGE,
    TEXT_PROMPT,
    EndToEnd,
    Request,
)
from sam_tvm.components.base import Case, Component
from sam_tvm.components.inputs import make_inputs
from sam_tvm.components.sam3.end_to_end import CASES
from sam_tvm.models.sam3.build import bpe_path
from sam_tvm.pipeline import bundle_contents, reference
from sam_tvm.pipeline.pictures import load_picture
from sam_tvm.pipeline.store import MissingArtifactError
from sam_tvm.runtime.manifest import read_manifest, verify_files
from sam_tvm.runtime.tokenizer import write_tokenizer

MODEL = "sam3"
BUNDLED_BY = "scripts/04_bundle.py"
END_TO_END_CASE = CASES[0]  # a picture and a text


class Bench:
    """Inputs and requests of one benchmark.

    Attributes:
        plan: what was asked for.
        parts: the components that take part, be it in the end-to-end run alone.
        sources: where engines load components from.
    """

    def __init__(self, plan: Plan, folder: Path, logs: Path) -> None:
        """Write the inputs into `folder`, which the caller deletes."""
        self.plan, self._folder, self._logs = plan, folder, logs
        self._limits = Limits(plan.timeout_s, plan.threads)
        whole = components.components(MODEL) if plan.end_to_end else ()
        named = {part.name: part for part in (*plan.job.components, *whole)}
        self.parts = tuple(named.values())
        shapes = {part.name: self._write_inputs(part) for part in self.parts}
        self.sources = Sources(plan, shapes, logs)
        self._expected: dict[str, Path] = {}
        self._errors: dict[str, str] = {}
        self._bundles: dict[str, Path] = {}
        self._end_to_end = self._describe_end_to_end() if plan.end_to_end else None

    @property
    def workloads(self) -> tuple[str, ...]:
        """Names of what is timed."""
        names = [component.name for component in self.plan.job.components]
        return (*names, END_TO_END) if self.plan.end_to_end else tuple(names)

    def steps(self, name: str) -> tuple[str, ...]:
        """What a workload's runs are made of; each is a row."""
        return (SET_IMAGE, TEXT_PROMPT) if name == END_TO_END else (name,)

    def case(self, name: str) -> str:
        """What a workload is run on, for the report."""
        if name == END_TO_END:
            return f"{END_TO_END_CASE.picture}, {self._end_to_end.prompt!r}"
        return self._case(self._part(name)).name

    def label(self, name: str) -> str:
        """What the report calls a component."""
        return label(self._part(name), self.plan.job.preset.name, self.plan.voxels)

    def _case(self, part: Component) -> Case:
        return timed_case(part, self.plan.voxels)

    def _part(self, name: str) -> Component:
        return next(part for part in self.parts if part.name == name)

    def _inputs(self, name: str) -> Path:
        return self._folder / f"{name}.npz"

    def _write_inputs(self, part: Component) -> tuple[tuple[int, ...], ...]:
        arrays = make_inputs(part, self.plan.job.config(part), self._case(part))
        np.savez(self._inputs(part.name), **arrays)
        return tuple(array.shape for array in arrays.values())

    def _describe_end_to_end(self) -> EndToEnd:
        picture = load_picture(END_TO_END_CASE.picture).convert("RGB")
        np.savez(self._inputs(END_TO_END), picture=np.asarray(picture))
        tokenizer = self._folder / "tokenizer.json"
        write_tokenizer(bpe_path(), tokenizer)
        config = self.plan.job.preset.sam3
        return EndToEnd(
            functions=components.functions(MODEL, self.plan.job.preset),
            tokenizer=tokenizer,
            context_length=config.context_length,
            image_size=config.image_size,
            image_mean=bundle_contents.PIXEL_MEAN,
            image_std=bundle_contents.PIXEL_STD,
            prompt=END_TO_END_CASE.rounds[0][0].value,
        )

    def _run(self, task: Any, name: str) -> Any:
        return run_task(task, self._limits, self._logs / f"{name}.log")

    def expect(self) -> None:
        """Ask PyTorch for the outputs of everything, where it was not asked before."""
        job = self.plan.job
        sparse = [part for part in job.components if part.tensor_only is not None]
        dense = [part for part in job.components if part.tensor_only is None]
        for part in sparse:
            self._expect_sparse(part)
        if dense:
            torch32 = reference.ask(job, dense, "float32")["float32"]
            self._errors |= torch32.errors
            for part in dense:
                case = self._case(part).name
                self._expected[part.name] = torch32.folder / part.name / f"{case}.npz"
        if self._end_to_end is not None:
            self._expected[END_TO_END] = path = self._folder / "expected.npz"
            task = ExpectEndToEnd(self.reference_request(END_TO_END), path)
            try:
                threshold = self._run(task, "Sam3Processor")
                self._end_to_end = replace(self._end_to_end, threshold=threshold)
            except TaskError as error:
                self._errors[END_TO_END] = str(error)

    def _expect_sparse(self, part: Component) -> None:
        """Ask PyTorch for the module on tensors alone, which tests compare with the reference."""
        self._expected[part.name] = path = self._folder / f"{part.name}-expected.npz"
        try:
            self._run(ExpectComponent(self.reference_request(part.name), path), part.name)
        except TaskError as error:
            self._errors[part.name] = str(error)

    def expected(self, name: str) -> Path:
        """``.npz`` of PyTorch's outputs by name.

        Raises:
            TaskError: if PyTorch did not run.
        """
        if name in self._errors:
            raise TaskError(f"there is nothing to compare with: {self._errors[name]}")
        return self._expected[name]

    def count_flops(self) -> dict[str, int]:
        """Operations of each row's name; what cannot be counted is left out."""
        requests = [self.reference_request(part.name) for part in self.parts]
        count = partial(self._run, name="flops")
        cases = {part.name: (part, self._case(part).name) for part in self.parts}
        counts = known_flops(self.plan.job, cases, requests, count)
        return with_steps(counts, components.functions(MODEL, self.plan.job.preset))

    def reference_request(self, name: str) -> Request:
        """What PyTorch is asked to run, on the CPU, for what is expected."""
        return replace(self._request(ENGINES[REFERENCE], "float32", name), kind=CPU)

    def request(self, engine: Engine, precision: str, name: str) -> Request:
        """What an engine is asked to run, with what it loads.

        Raises:
            TaskError: if that could not be made.
            MissingArtifactError: if an earlier script has to be run.
        """
        request = self._request(engine, precision, name)
        if name == END_TO_END and engine.name == OURS:
            return replace(request, bundle=self._bundle(precision))
        names = (
            [part.name for part in components.components(MODEL)] if name == END_TO_END else [name]
        )
        models = {each: self.sources.find(engine, precision, self._part(each)) for each in names}
        return replace(request, models=models)

    def _request(self, engine: Engine, precision: str, name: str) -> Request:
        job, outputs, model = self.plan.job, (), MODEL
        if name != END_TO_END:
            part = self._part(name)
            model = part.model
            outputs = tuple(spec.name for spec in part.signature(job.config(part)).outputs)
        return Request(
            engine=engine.name,
            precision=precision,
            name=name,
            preset=job.preset.name,
            checkpoint=job.source(model).checkpoint,
            seed=job.source(model).seed,
            inputs=self._inputs(name),
            outputs=outputs,
            threads=self.plan.threads,
            kind=self.plan.kind,
            end_to_end=self._end_to_end,
        )

    def _bundle(self, precision: str) -> Path:
        """The bundle, whose files are compared with their hashes once."""
        if precision not in self._bundles:
            folder = replace(self.plan.job, precision=precision).bundle_folder(MODEL)
            if not folder.is_dir():
                raise MissingArtifactError(f"there is no bundle {folder}: run {BUNDLED_BY} first")
            verify_files(read_manifest(folder))
            self._bundles[precision] = folder
        return self._bundles[precision]
