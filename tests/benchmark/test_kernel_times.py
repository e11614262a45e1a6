"""The time of each kernel, taken before and after every call of the virtual machine."""

import numpy as np
import tvm
from tvm import relax

from sam_tvm.benchmark.kernel_times import KernelClock, kernel_times


def test_a_function_is_not_charged_with_what_it_calls():
    moments = iter([0.0, 1.0, 5.0, 6.0, 7.0, 10.0])
    clock = KernelClock(lambda: next(moments))
    for name, before in [("outer", 1), ("inner", 1), ("inner", 0), ("inner", 1), ("inner", 0)]:
        clock(None, name, bool(before), None)
    clock(None, "outer", False, None)
    assert clock.take() == {"outer": 5.0, "inner": 5.0}
    assert clock.take() == {}


def test_a_library_tells_the_time_of_each_of_its_kernels():
    builder = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((3, 5), "float32"))
    with builder.function("main", [x]):
        y = builder.emit(relax.op.exp(x))
        builder.emit_func_output(builder.emit(relax.op.sum(y)))
    library = relax.build(builder.get(), "llvm")
    machine = relax.VirtualMachine(library, tvm.cpu())
    inputs = tvm.runtime.tensor(np.ones((3, 5), np.float32))
    seconds = kernel_times(machine, lambda: machine["main"](inputs))
    kernels = {name for name in seconds if not name.startswith("vm.")}
    assert any("exp" in name for name in kernels)
    assert any("sum" in name for name in kernels)
    assert all(second > 0 for second in seconds.values())
