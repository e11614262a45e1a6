"""Two processes make the same library, byte for byte, of the same module."""

import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import tvm
from tvm import relax, tirx
from tvm.relax import transform

from sam_tvm import components
from sam_tvm.pipeline.shape_order import order_shapes

# Many symbolic sizes; few functions, so that it compiles quickly.
NAME = "geometry_encoder"


def shape_function(sizes: int) -> tvm.IRModule:
    """A module whose machine computes so many products of two symbolic sizes."""
    a, b = tirx.Var("a", "int64"), tirx.Var("b", "int64")
    x = relax.Var("x", relax.TensorType((a, b), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        shapes = [relax.ShapeExpr([a * (i + 2), b + a * i]) for i in range(sizes)]
        builder.emit_func_output(builder.emit(relax.Tuple(shapes)))
    return transform.VMShapeLower()(builder.get())


def slots(module: tvm.IRModule) -> list[int]:
    (function,) = (f for _, f in module.functions_items() if isinstance(f, tirx.PrimFunc))
    return [int(store.indices[0]) for store in function.body.seq]


def test_sizes_are_computed_in_the_order_of_their_slots():
    before = shape_function(8)
    found = slots(order_shapes()(before))
    assert found == sorted(slots(before))
    assert len(found) > 10


def test_the_machine_would_not_have_ordered_them():
    """If TVM does, one day, this pass is not needed."""
    assert any(slots(module) != sorted(slots(module)) for module in map(shape_function, [16] * 5))


@pytest.fixture
def another(ported, tmp_path):
    """What there is before a build, elsewhere."""
    (component,) = components.select([NAME])
    source = ported.store(component).folder
    there = tmp_path / source.relative_to(ported.artifacts)
    shutil.copytree(source, there, ignore=shutil.ignore_patterns("llvm-*"))
    return replace(ported, artifacts=tmp_path, components=(component,))


def test_another_process_makes_the_same_bytes(ported, another):
    script = "scripts/03_build.py"
    arguments = ["--artifacts", str(another.artifacts), "--only", NAME]
    subprocess.run([sys.executable, script, *arguments], check=True, capture_output=True)

    def libraries(job):
        (component,) = components.select([NAME])
        folder = job.store(component).folder / job.build_name
        return {file.name: file.read_bytes() for file in folder.glob("*.so")}

    ours, theirs = libraries(ported), libraries(another)
    assert list(ours) == list(theirs)
    assert ours == theirs
