"""Convolutions with a weight, in the forms that packed products take, equal float64."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from relax_programs import Compiled, function, host_target, normal, runnable_targets
from tvm import relax

from sam_tvm.kernels import convolutions
from sam_tvm.kernels.graph import packing
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.target_features import computes_bfloat16

torch = pytest.importorskip("torch")
nn = torch.nn

CASES = {
    "1x1": (nn.Conv2d(17, 33, 1), (2, 17, 5, 7)),
    "1x1 stride 2": (nn.Conv2d(17, 33, 1, stride=2), (1, 17, 6, 9)),
    "1x1, one output": (nn.Conv2d(40, 1, 1), (1, 40, 5, 7)),
    "patches": (nn.Conv2d(3, 33, 14, stride=14), (2, 3, 56, 70)),
    "patches that leave a rest": (nn.Conv2d(3, 33, (2, 3), stride=(2, 3)), (1, 3, 7, 11)),
    "whole picture": (nn.Conv2d(24, 40, (7, 5)), (5, 24, 7, 5)),
    "3x3": (nn.Conv2d(32, 40, 3, padding=1), (1, 32, 17, 36)),
    "3x3 without bias": (nn.Conv2d(5, 64, 3, bias=False), (2, 5, 4, 3)),
    "3x3 stride 2": (nn.Conv2d(8, 37, 3, padding=1, stride=2), (2, 8, 17, 36)),
    "uneven": (
        nn.Conv2d(7, 41, (5, 2), stride=(1, 3), padding=(4, 1), dilation=(2, 3)),
        (1, 7, 13, 11),
    ),
    "volume 1x1x1": (nn.Conv3d(17, 33, 1), (2, 17, 4, 5, 7)),
    "volume 1x1x1 stride 2": (nn.Conv3d(17, 33, 1, stride=2), (1, 17, 4, 6, 9)),
    "volume 3x3x3": (nn.Conv3d(12, 40, 3, padding=1), (1, 12, 7, 9, 19)),
    "volume, all of it": (nn.Conv3d(6, 40, (3, 4, 5)), (2, 6, 3, 4, 5)),
    "volume, uneven": (
        nn.Conv3d(5, 37, (2, 3, 1), stride=(1, 2, 3), padding=(1, 2, 0), dilation=(2, 1, 1)),
        (2, 5, 6, 7, 8),
    ),
    "volume 2x2x2 stride 2": (nn.Conv3d(8, 33, 2, stride=2), (1, 8, 4, 6, 8)),
    "short rows": (nn.Conv2d(230, 70, 3, padding=1), (2, 230, 5, 14)),
    "short rows, dilated": (
        nn.Conv2d(350, 64, (3, 2), padding=(2, 1), dilation=(2, 1)),
        (1, 350, 6, 15),
    ),
    "volume, short rows": (nn.Conv3d(80, 64, 3, padding=1), (2, 80, 3, 4, 14)),
    "transposed 2x2": (nn.ConvTranspose2d(24, 33, 2, stride=2), (2, 24, 9, 12)),
    "transposed 3x1": (nn.ConvTranspose2d(7, 20, (3, 1), stride=(3, 1)), (1, 7, 4, 5)),
    "transposed 4x4 padded": (nn.ConvTranspose2d(9, 16, 4, stride=2, padding=1), (1, 9, 6, 11)),
    "transposed 3x3 stride 2": (
        nn.ConvTranspose2d(9, 16, 3, stride=2, padding=1, output_padding=1),
        (2, 9, 5, 6),
    ),
    "transposed 3x3 stride 1": (nn.ConvTranspose2d(9, 40, 3), (1, 9, 5, 6)),
    "transposed 5x4 uneven": (
        nn.ConvTranspose2d(9, 16, (5, 4), stride=(3, 2), padding=(2, 0), output_padding=(1, 0)),
        (1, 9, 4, 5),
    ),
}
LEFT = {
    "depthwise": (nn.Conv2d(24, 24, 3, padding=1, groups=24), (1, 24, 9, 19)),
    "few outputs": (nn.Conv2d(16, 3, 3), (1, 16, 9, 9)),
    "transposed and dilated": (nn.ConvTranspose2d(9, 32, 3, dilation=2), (1, 9, 5, 6)),
    "transposed with gaps": (nn.ConvTranspose2d(9, 32, 1, stride=3), (1, 9, 5, 6)),
}
TARGETS = pytest.mark.parametrize(
    "target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic")
)


def rewritten(module, *shapes, target=None, precision="float32", dynamic=None) -> tvm.IRModule:
    from tvm.relax.frontend.torch import from_exported_program

    examples = tuple(torch.randn(*shape) for shape in shapes)
    program = torch.export.export(module.eval(), examples, dynamic_shapes=dynamic)
    imported = from_exported_program(program, keep_params_as_input=True)
    panels = panels_for(host_target() if target is None else target, precision)
    passes = [convolutions.channels_last(panels), packing.pack_weights(panels)]
    return tvm.transform.Sequential(passes)(imported)


def operators(module: tvm.IRModule) -> list[str]:
    found = []

    def visit(call):
        if isinstance(call.op, tvm.ir.Op):
            found.append(call.op.name.removeprefix("relax."))

    tvm_ffi.structural_walk(module["main"].body, (tvm.ir.Call, visit))
    return found


def error(run: Compiled, module, *inputs: np.ndarray) -> float:
    """The largest difference to the same module in float64."""
    parameters = [p.detach().numpy() for p in module.parameters()]
    result = run(*inputs, *parameters)
    with torch.no_grad():
        exact = module.double()(*(torch.from_numpy(x).double() for x in inputs))
        module.float()
    results = result if isinstance(result, list) else [result]
    exacts = exact if isinstance(exact, tuple) else (exact,)
    for got, wanted in zip(results, exacts, strict=True):
        assert got.shape == tuple(wanted.shape)
    return max(abs(got - wanted.numpy()).max() for got, wanted in zip(results, exacts, strict=True))


@TARGETS
@pytest.mark.parametrize("name", CASES)
def test_convolution_equals_float64(name, target):
    module, shape = CASES[name]
    program = rewritten(module, shape, target=target)
    assert not {"nn.conv2d", "nn.conv3d", "nn.conv2d_transpose"} & set(operators(program))
    # Sums of at most 700 products of numbers near 1 and weights below 0.3.
    assert error(Compiled(program, target), module, normal(*shape)) <= 5e-6


@pytest.mark.parametrize("name", ["short rows", "short rows, dilated", "volume, short rows"])
def test_short_rows_of_many_channels_are_computed_as_one(name):
    module, shape = CASES[name]
    rules = Compiled(rewritten(module, shape)).rules
    assert any("within_rows" in function for function in rules)
    assert "fallback" not in rules.values()


@pytest.mark.parametrize("name", LEFT)
def test_what_has_no_form_stays_and_equals_float64(name):
    module, shape = LEFT[name]
    program = rewritten(module, shape)
    assert {"nn.conv2d", "nn.conv3d", "nn.conv2d_transpose"} & set(operators(program))
    run = Compiled(program)
    assert error(run, module, normal(*shape)) <= 5e-6
    assert "fallback" not in run.rules.values()


@pytest.mark.skipif(not computes_bfloat16(host_target()), reason="no AVX-512 here")
@pytest.mark.parametrize("name", ["3x3", "uneven", "transposed 2x2", "patches"])
def test_bfloat16_errs_as_rounded_operands_do(name):
    module, shape = CASES[name]
    run = Compiled(rewritten(module, shape, precision="bfloat16"))
    largest = error(run, module, normal(*shape))
    # Each operand is off by up to 2**-9 of itself, and the errors add up like random numbers.
    assert 1e-5 < largest <= 3e-2


def test_a_convolution_of_any_number_of_pictures_equals_float64():
    module = nn.Sequential(
        nn.Conv2d(8, 40, 3, padding=1), nn.GELU(), nn.ConvTranspose2d(40, 32, 2, 2)
    )
    batch = torch.export.Dim("b")
    run = Compiled(rewritten(module, (2, 8, 9, 11), dynamic={"input": {0: batch}}))
    for size in (1, 2, 5):
        assert error(run, module, normal(size, 8, 9, 11)) <= 2e-6


def test_a_computed_kernel_stays():
    def build(x, w):
        return relax.op.nn.conv2d(x, relax.op.exp(w))

    module = function(build, ((1, 8, 9, 9), "float32"), ((32, 8, 3, 3), "float32"))
    module["main"] = module["main"].with_attr("num_input", 2)
    after = convolutions.channels_last(panels_for(host_target(), "float32"))(module)
    tvm.ir.assert_structural_equal(after, module)
