"""Loops for GPUs: what TVM's schedules do not fit gets those of another rule, or a clear error."""

import math

import numpy as np
import pytest
import tvm
import tvm_ffi
from tvm import relax, s_tir, tirx
from tvm.script import tirx as T

from sam_tvm.kernels.default import RULE
from sam_tvm.kernels.gpu import float16_products, narrow_types, schedule
from sam_tvm.kernels.gpu.limits import exceeded
from sam_tvm.kernels.gpu.names import LONGEST
from sam_tvm.pipeline import targets
from sam_tvm.pipeline.passes import device_placement, pipeline

TARGET = "cuda -arch=sm_80"


def program(build, *shapes) -> tvm.IRModule:
    variables = [
        relax.Var(f"x{i}", relax.TensorType(shape, "float32")) for i, shape in enumerate(shapes)
    ]
    builder = relax.BlockBuilder()
    with builder.function("main", variables, attrs={"num_input": len(shapes)}):
        with builder.dataflow():
            result = builder.emit_output(builder.normalize(build(*variables)))
        builder.emit_func_output(result)
    return builder.get()


def rules(module: tvm.IRModule, target: str = TARGET, precision: str = "float32") -> set[str]:
    resolved = targets.resolve(target)
    with resolved, tvm.transform.PassContext(opt_level=3):
        lowered = pipeline(resolved)(device_placement(resolved, precision)(module))
    functions = [
        function
        for var, function in lowered.functions_items()
        if isinstance(function, tirx.PrimFunc) and not var.name_hint.startswith("shape_func")
    ]
    assert all(RULE in f.attrs for f in functions)
    return {str(f.attrs[RULE]) for f in functions}


@pytest.mark.parametrize("target", [TARGET, "opencl", "metal", "webgpu"])
def test_a_product_gets_the_schedule_of_products(target):
    module = program(relax.op.matmul, (2, 37, 64), (64, 48))
    assert rules(module, target) == {"matmul"}


def test_attention_is_written_out_for_a_gpu():
    shape = (1, 33, 2, 16)
    assert "matmul" in rules(program(relax.op.nn.attention, shape, shape, shape))


def test_a_symbolic_slice_falls_to_a_schedule_that_fits():
    n = tirx.Var("n", "int64")

    def last(x):
        return relax.op.permute_dims(relax.op.strided_slice(x, [0], [1], [2]), [2, 1, 0])

    assert rules(program(last, (2, n, 24))) <= {"transpose", "fallback", "elements"}


@T.prim_func(s_tir=True)
def nested(x: T.Buffer((8, 40), "float32"), y: T.Buffer((8,), "float32")):
    for i in range(8):
        with T.sblock("outer"):
            v = T.axis.spatial(8, i)
            for j in range(40):
                with T.sblock("inner"):
                    u = T.axis.spatial((v, v + 1), v)
                    w = T.axis.reduce(40, j)
                    with T.init():
                        y[u] = T.float32(0)
                    y[u] = y[u] + x[u, w]


def test_a_nest_that_no_schedule_of_tvm_takes_is_one_thread_an_element():
    scheduled = schedule.schedule_function(nested, targets.resolve(TARGET))
    assert scheduled.attrs[RULE] in ("elements", "fallback")
    assert exceeded(scheduled, targets.resolve(TARGET)) is None


def test_a_function_without_threads_is_refused():
    assert exceeded(nested, targets.resolve(TARGET)) == "no loop is bound to threads"


def test_too_many_threads_are_refused():
    x = tvm.te.placeholder((4096,), "float32", name="x")
    y = tvm.te.compute((4096,), lambda i: x[i] + 1.0, name="y")
    wide = s_tir.Schedule(tvm.te.create_prim_func([x, y]))
    wide.bind(wide.get_loops(wide.get_sblock("y"))[0], "threadIdx.x")
    assert exceeded(wide.mod["main"], targets.resolve(TARGET)) == (
        "4096 threads in a block, 1024 may be"
    )


def test_what_nothing_schedules_is_an_error_with_the_reasons(monkeypatch):
    def fails(_function, _target):
        raise TypeError("not for me")

    monkeypatch.setattr(schedule, "RULES", {"fails": fails})
    with pytest.raises(schedule.UnschedulableError, match="fails: TypeError: not for me"):
        schedule.schedule_function(nested, targets.resolve(TARGET))


def test_products_of_float16_have_float32_sums():
    def build(x, weight, kernel):
        y = relax.op.nn.conv2d(x, kernel, strides=2, padding=1)
        return relax.op.add(relax.op.matmul(y, weight), relax.const(1.0))

    module = program(build, (1, 4, 8, 8), (4, 6), (8, 4, 3, 3))
    written = float16_products()(module)["main"]
    assert str(written.ret_ty.dtype) == "float32"
    assert list(written.ret_ty.shape) == list(module["main"].ret_ty.shape)
    text = written.script()
    assert text.count("R.astype(") == 4
    assert text.count('out_dtype="float32"') == 2
    assert rules(module, precision="float16")


@pytest.mark.parametrize(("target", "infinite"), [("webgpu", False), (TARGET, True)])
def test_webgpu_is_given_no_infinite_constant(target, infinite):
    def clipped(x):
        return relax.op.clip(x, -math.inf, 1.0)

    resolved = targets.resolve(target)
    with resolved, tvm.transform.PassContext(opt_level=3):
        lowered = pipeline(resolved)(
            device_placement(resolved, "float32")(program(clipped, (5, 7)))
        )
    constants: list[float] = []
    for _, function in lowered.functions_items():
        if isinstance(function, tirx.PrimFunc):
            tvm_ffi.structural_walk(
                function.body, (tirx.FloatImm, lambda value: constants.append(value.value))
            )
    assert min(constants) == (-math.inf if infinite else np.finfo(np.float32).min)


def test_a_selection_of_vectors_asks_for_no_vector_of_truths():
    def chosen(seen, x, weight, instead):
        return relax.op.where(relax.op.astype(seen, "bool"), relax.op.matmul(x, weight), instead)

    module = program(chosen, (64, 1), (64, 32), (32, 64), (64,))
    resolved = targets.resolve(TARGET)
    with resolved, tvm.transform.PassContext(opt_level=3):
        lowered = pipeline(resolved)(device_placement(resolved, "float32")(module))
    found: list[tirx.Select] = []
    for _, function in lowered.functions_items():
        if isinstance(function, tirx.PrimFunc):
            tvm_ffi.structural_walk(function.body, (tirx.Select, found.append))
    assert not found


def counted(x, mask, lengths):
    """How many numbers of each row are seen and above their mean, as float32, and the mask."""
    wide = relax.op.mean(relax.op.astype(x, "float64"), axis=1, keepdims=True)
    above = relax.op.greater(x, relax.op.astype(wide, "float32"))
    both = relax.op.logical_and(above, relax.op.logical_not(mask))
    number = relax.op.sum(relax.op.astype(both, "int64"), axis=1)
    enough = relax.op.greater_equal(number, lengths)
    shown = relax.op.where(relax.op.expand_dims(enough, 1), x, relax.const(0.0))
    return relax.Tuple([shown, enough])


@pytest.mark.parametrize("target", ["metal", "webgpu"])
def test_types_that_a_gpu_has_not_are_replaced(target):
    types = {"x": ((5, 9), "float32"), "mask": ((5, 9), "bool"), "lengths": ((5,), "int64")}
    variables = [relax.Var(name, relax.TensorType(*given)) for name, given in types.items()]
    builder = relax.BlockBuilder()
    with builder.function("main", variables, attrs={"num_input": 3}):
        with builder.dataflow():
            result = builder.emit_output(builder.normalize(counted(*variables)))
        builder.emit_func_output(result)
    resolved = targets.resolve(target)
    written = tvm.transform.Sequential(narrow_types(resolved))(builder.get())
    kinds = {str(parameter.ty.dtype) for parameter in written["main"].params}
    assert kinds == ({"float32", "int32"} if target == "webgpu" else {"float32", "bool", "int64"})

    machine = relax.VirtualMachine(relax.build(written, "llvm"), tvm.cpu())
    random = np.random.default_rng(0)
    x = random.standard_normal((5, 9)).astype("float32")
    mask, lengths = random.random((5, 9)) < 0.3, np.array([1, 2, 3, 4, 9])
    arrays = [x, mask, lengths]
    if target == "webgpu":
        arrays = [x, mask.astype("int32"), lengths.astype("int32")]
    shown, enough = (
        answer.numpy() for answer in machine["main"](*[tvm.runtime.tensor(a) for a in arrays])
    )
    expected = ((x > x.mean(1, keepdims=True)) & ~mask).sum(1) >= lengths
    assert 0 < expected.sum() < 5
    np.testing.assert_array_equal(enough.astype(bool), expected)
    np.testing.assert_array_equal(shown, np.where(expected[:, None], x, 0))


def test_no_kernel_s_name_is_longer_than_a_file_s_may_be():
    def chain(x):
        y = x
        for _ in range(30):
            y = relax.op.multiply(relax.op.add(y, x), x)
        return y

    resolved = targets.resolve(TARGET)
    with resolved, tvm.transform.PassContext(opt_level=3):
        placed = device_placement(resolved, "float32")(program(chain, (4, 4)))
        lowered = pipeline(resolved)(placed)
    names = [var.name_hint for var, _ in lowered.functions_items()]
    assert max(map(len, names)) == LONGEST
    executable = relax.build(lowered, target=resolved, relax_pipeline=None)
    assert names[0] in executable.as_text() or names[1] in executable.as_text()
