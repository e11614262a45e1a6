"""What depends on parameters alone runs once; what is left gives the same results."""

from __future__ import annotations

import numpy as np
import pytest
import tvm
from tvm import relax

from sam_tvm.kernels.graph.packing import pack_weights
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.pipeline import targets
from sam_tvm.pipeline.lifting import lift_parameters
from sam_tvm.pipeline.passes import pipeline
from sam_tvm.pipeline.weights import pack

TARGET = targets.resolve("llvm")


def module_of(build, x_shape, *weights):
    """A module whose function `f` takes x and the weights, which are its parameters."""
    builder = relax.BlockBuilder()
    variables = [
        relax.Var(f"v{i}", relax.TensorType(shape, "float32"))
        for i, shape in enumerate((x_shape, *weights))
    ]
    with builder.function("f", variables, attrs={"num_input": 1}):
        with builder.dataflow():
            result = builder.emit_output(builder.normalize(build(*variables)))
        builder.emit_func_output(result)
    return builder.get()


def run(module, *arrays):
    with TARGET:
        library = relax.build(module, TARGET, relax_pipeline=pipeline(TARGET))
    tensors = [tvm.runtime.tensor(array) for array in arrays]
    return relax.VirtualMachine(library, tvm.cpu())["f"](*tensors).numpy()


def operators(module, name):
    return [
        binding.value.op.name
        for block in module[name].body.blocks
        for binding in block.bindings
        if isinstance(binding.value, relax.Call) and isinstance(binding.value.op, tvm.ir.Op)
    ]


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


def two_products(x, w, u):
    y = relax.op.add(x, relax.op.multiply(u, u))
    return relax.op.matmul(y, relax.op.permute_dims(relax.op.negative(w)))


def test_the_parts_together_compute_what_the_whole_did():
    module = module_of(two_products, (5, 24), (40, 24), (24,))
    x, w, u = normal(5, 24), normal(40, 24, seed=1), normal(24, seed=2)
    lifted = lift_parameters(module, "f", ["w", "u"])
    imported = {"w": tvm.runtime.tensor(w), "u": tvm.runtime.tensor(u)}
    params = pack(imported, lifted, TARGET)
    assert set(params) == set(lifted.params)
    result = run(lifted.module, x, *(params[name] for name in lifted.params))
    expected = (x + u * u).astype("float64") @ -w.T.astype("float64")
    np.testing.assert_allclose(result, expected, rtol=1e-5, atol=1e-5)


def test_only_the_rest_stays_in_the_function():
    lifted = lift_parameters(module_of(two_products, (5, 24), (40, 24), (24,)), "f", ["w", "u"])
    assert operators(lifted.module, "f") == ["relax.add", "relax.matmul"]
    assert operators(lifted.transform, "transform") == [
        "relax.multiply",
        "relax.negative",
        "relax.permute_dims",
    ]
    assert lifted.sources == ("w", "u")


def test_equal_computations_of_one_parameter_become_one_parameter():
    def build(x, w):
        return relax.op.add(
            relax.op.matmul(x, relax.op.permute_dims(w)),
            relax.op.matmul(relax.op.negative(x), relax.op.permute_dims(w)),
        )

    lifted = lift_parameters(module_of(build, (5, 24), (40, 24)), "f", ["w"])
    assert len(lifted.params) == 1


def test_a_result_has_the_same_name_in_every_function_that_makes_it():
    def other(x, b, w):
        return relax.op.add(relax.op.matmul(x, relax.op.permute_dims(relax.op.negative(w))), b)

    first = lift_parameters(module_of(two_products, (5, 24), (40, 24), (24,)), "f", ["w", "u"])
    second = lift_parameters(module_of(other, (9, 24), (40,), (40, 24)), "f", ["b", "w"])
    assert {n for n in first.results if n.startswith("w@")} == set(second.results)


def test_packed_weights_are_not_kept_beside_the_original_ones():
    module = module_of(lambda x, w: relax.op.matmul(x, relax.op.permute_dims(w)), (5, 32), (64, 32))
    packed = pack_weights(panels_for(TARGET, "float32"))(module)
    lifted = lift_parameters(packed, "f", ["w"])
    assert [name.partition("@")[0] for name in lifted.params] == ["w"]
    assert lifted.params != ("w",)


@pytest.mark.parametrize(
    "build",
    [
        # Nothing depends on the parameter alone.
        lambda x, w: relax.op.add(x, w),
        # What would be stored is many times larger than the parameter.
        lambda x, w: relax.op.add(x, relax.op.tile(w, [9, 1])),
    ],
)
def test_a_function_with_nothing_to_lift_keeps_its_parameters(build):
    shape = (1, 24)
    lifted = lift_parameters(module_of(build, (9, 24), shape), "f", ["w"])
    assert (lifted.params, lifted.transform, lifted.results) == (("w",), None, ())


def test_constants_of_other_values_make_other_parameters():
    def build(x, w):
        halves = [relax.op.multiply(w, relax.const(np.float32([1, factor]))) for factor in (2, 3)]
        return relax.op.add(x, relax.op.multiply(*halves))

    module = module_of(build, (5, 2), (2,))
    x, w = normal(5, 2), normal(2)
    lifted = lift_parameters(module, "f", ["w"])
    params = pack({"w": tvm.runtime.tensor(w)}, lifted, TARGET)
    result = run(lifted.module, x, *(params[name] for name in lifted.params))
    np.testing.assert_allclose(result, x + w * w * np.float32([1, 6]), rtol=1e-6)
