"""A small function, and steps for it that MetaSchedule might have found."""

import pytest
import tvm
from tvm import relax, s_tir, tirx

from sam_tvm.pipeline import targets
from sam_tvm.pipeline.passes import loops
from sam_tvm.tuning import database
from sam_tvm.tuning.apply import copied


@pytest.fixture(scope="session")
def target():
    """This machine."""
    return targets.resolve("llvm")


@pytest.fixture
def module():
    """A Relax module that sums columns: one function of loops."""
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((64, 256), "float32"))
    with builder.function("main", [x]):
        with builder.dataflow():
            result = builder.emit_output(builder.emit(relax.op.sum(x, axis=[0])))
        builder.emit_func_output(result)
    return builder.get()


@pytest.fixture
def function(module):
    """Its function of loops, not scheduled."""
    (found,) = (
        function
        for _, function in tvm.transform.Sequential(loops())(module).functions_items()
        if isinstance(function, tirx.PrimFunc)
    )
    return found


@pytest.fixture
def trace(function):
    """Steps that change the function's loops and not its result."""
    schedule = s_tir.Schedule(tvm.IRModule({"main": copied(function)}))
    root = schedule.get_sblock("root")
    (block,) = schedule.get_child_blocks(root)
    column, *_ = schedule.get_loops(block)
    outer, _ = schedule.split(column, [4, 64])
    schedule.parallel(outer)
    return as_lists(schedule.trace.as_json())


def as_lists(value):
    """TVM's containers as Python's."""
    if isinstance(value, str | int | float | None):
        return value
    if isinstance(value, tirx.IntImm):
        return int(value.value)
    return [as_lists(part) for part in value]


@pytest.fixture
def records(tmp_path, monkeypatch, target):
    """Write the package's records of a machine; returns the function that does."""
    monkeypatch.setattr(database, "FOLDER", tmp_path)

    def write(found, machine=None):
        machine = machine or database.Machine.of(target)
        database.write(database.Database(machine, found), database.path_of(target))

    return write
