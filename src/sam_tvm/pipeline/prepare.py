"""A component made ready to compile: kernels placed, work on parameters alone taken out."""

from __future__ import annotations

import tvm

from sam_tvm.components.base import Component
from sam_tvm.pipeline import importing, targets
from sam_tvm.pipeline.job import Job
from sam_tvm.pipeline.lifting import Lifted, lift_parameters
from sam_tvm.pipeline.passes import device_placement, placement, stock_placement


def prepare_component(job: Job, component: Component) -> Lifted:
    """The component's imported function, checked against its hash, ready to compile.

    With the stock pipeline nothing is placed and the parameters stay as they were imported.
    """
    store = job.store(component)
    path = store.file(importing.STAGE, importing.MODULE, importing.MADE_BY)
    function = importing.load_function(path, component.name)
    params = store.record(importing.STAGE)["params"]
    return prepare(function, component.name, params, job)


def prepare(function: tvm.relax.Function, name: str, params: list[str], job: Job) -> Lifted:
    """One function as `prepare_component` does it.

    Args:
        function: takes `num_input` inputs, then its parameters.
        name: of the function.
        params: the parameters' names, in order.
        job: for the target, the precision and the pipeline.
    """
    module = tvm.IRModule({name: function})
    target = targets.resolve(job.target)
    with target, tvm.transform.PassContext(opt_level=3):
        if job.stock:
            return Lifted(stock_placement()(module), tuple(params), None, (), ())
        if targets.is_device(target):
            placed = device_placement(target, job.precision)(module)
        else:
            placed = placement(target, job.precision, job.weights == "int8")(module)
        return lift_parameters(placed, name, params)
