"""Stage 2: an exported program to a Relax module and its parameters."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tvm
import tvm_ffi
from torch.export.graph_signature import InputKind
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.components.base import Component, TensorSpec
from sam_tvm.patches.environment import declare_operators
from sam_tvm.patches.importer import converters, unsupported_operators
from sam_tvm.pipeline import export, keys
from sam_tvm.pipeline.job import Job, version
from sam_tvm.pipeline.relax_functions import ImportedFunction, name_parameters
from sam_tvm.pipeline.stage import Outcome, run_stage
from sam_tvm.pipeline.weights_file import write_safetensors

STAGE = "import"
MODULE = "module.json"
SCRIPT = "module.py"
PARAMS = "params.safetensors"
MADE_BY = "scripts/02_import.py"

# Else an interrupt in one of TVM's Python callbacks comes back as a RuntimeError: a failure of the
# component, after which the next one would be taken up.
tvm_ffi.register_error("KeyboardInterrupt", KeyboardInterrupt)


# Operators that stay whole, because a kernel computes each in one piece.
WHOLE = (
    torch.ops.aten.linear.default,
    torch.ops.aten.scaled_dot_product_attention.default,
)


class UnsupportedOperatorsError(Exception):
    """The importer lacks operators; the message names them all, and where each patch goes."""


def _decompositions() -> dict[Any, Any]:
    """The default decompositions of torch, less those of the operators that stay whole."""
    table = torch.export.default_decompositions()
    for operator in WHOLE:
        table.pop(operator)
    return table


def import_program(
    program: torch.export.ExportedProgram, inputs: Sequence[TensorSpec], prefix: str
) -> ImportedFunction:
    """Import an exported component as a Relax function.

    Args:
        program: the exported program.
        inputs: its inputs as the component declares them, for their names and dynamic axes.
        prefix: for the names of constants that no buffer accounts for.

    Raises:
        UnsupportedOperatorsError: if neither TVM nor `patches/importer` handles an operator.
    """
    table = converters()
    program = program.run_decompositions(_decompositions())
    if missing := unsupported_operators(program, table, decompose=False):
        listing = ", ".join(missing)
        raise UnsupportedOperatorsError(f"operators that need a converter: {listing}")
    module = from_exported_program(
        program, keep_params_as_input=True, custom_convert_map=table, run_ep_decomposition=False
    )
    specs = program.graph_signature.input_specs
    parameters = {
        spec.arg.name: (
            spec.target.removeprefix(export.ROOT),
            program.state_dict[spec.target].detach().numpy(),
        )
        for spec in specs
        if spec.kind is InputKind.PARAMETER
    }
    buffers = {
        target.removeprefix(export.ROOT): tensor.detach().numpy()
        for target, tensor in program.named_buffers()
    }
    return name_parameters(module["main"], inputs, parameters, buffers, prefix=prefix)


def load_function(path: Path, name: str) -> tvm.relax.Function:
    """The component's function from its ``module.json``."""
    return tvm.ir.load_json(path.read_text(encoding="utf-8"))[name]


def _key(job: Job, component: Component) -> str | None:
    """What the component would be imported from; None: it is not exported."""
    exported = job.store(component).record(export.STAGE)
    return exported and keys.import_key(exported["files"][export.EXPORTED]["sha256"])


def _is_current(job: Job, component: Component) -> bool:
    key = _key(job, component)
    return key is not None and job.store(component).is_current(STAGE, key)


def _import_component(job: Job, component: Component) -> bool:
    store, key = job.store(component), _key(job, component)
    path = store.file(export.STAGE, export.EXPORTED, export.MADE_BY)

    def make(folder: Path) -> dict[str, Any]:
        declare_operators()
        inputs = component.signature(job.config(component)).inputs
        imported = import_program(torch.export.load(path), inputs, component.name)
        function = imported.function.with_attr("global_symbol", component.name)
        module = tvm.IRModule({component.name: function})
        (folder / MODULE).write_text(tvm.ir.save_json(module), encoding="utf-8")
        (folder / SCRIPT).write_text(module.script(show_meta=False), encoding="utf-8")
        write_safetensors(folder / PARAMS, imported.params)
        return {
            "params": list(imported.params),
            "versions": {name: version(name) for name in ("apache-tvm", "apache-tvm-ffi")},
        }

    assert key is not None  # there is an exported program
    store.commit(STAGE, key, make, job.header(component))
    if job.drop:
        store.drop(export.STAGE, export.EXPORTED)
    return True


def import_components(job: Job) -> list[Outcome]:
    """Import the job's components; those that are up to date are skipped."""
    work = partial(_import_component, job)
    current = partial(_is_current, job)
    return run_stage("import", job.components, current, partial(nullcontext, work), job.processes)
