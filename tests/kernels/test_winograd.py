"""Convolutions by Winograd's minimal filtering, against float64 and against the direct form."""

import copy

import numpy as np
import pytest
import tvm
from relax_programs import Compiled, normal, runnable_targets, vector_target
from tvm import relax
from tvm.relax.frontend.torch import from_exported_program

from sam_tvm.kernels import convolutions, winograd
from sam_tvm.kernels.graph.panels import panels_for
from sam_tvm.kernels.target_features import computes_bfloat16, vector_unit
from sam_tvm.kernels.winograd.kernel import RULE
from sam_tvm.kernels.winograd.problem import Sizes, Tile, choose_tile, pays
from sam_tvm.pipeline.lifting import lift_parameters
from sam_tvm.pipeline.passes import placement

torch = pytest.importorskip("torch")
nn = torch.nn

TARGETS = runnable_targets()
CASES = {
    "even": (nn.Conv2d(32, 64, 3, padding=1), (1, 32, 16, 20)),
    "odd rows and columns, a batch": (nn.Conv2d(32, 64, 3, padding=1), (3, 32, 13, 17)),
    "nothing a multiple": (nn.Conv2d(37, 71, 3, padding=1), (1, 37, 11, 19)),
    "no bias, no padding": (nn.Conv2d(18, 33, 3, bias=False), (2, 18, 11, 12)),
    "several passes": (nn.Conv2d(301, 40, 3, padding=1), (1, 301, 9, 8)),
    "much padding": (nn.Conv2d(16, 48, 3, padding=(4, 5)), (1, 16, 3, 2)),
    "several blocks": (nn.Conv2d(17, 96, 3, padding=1), (2, 17, 41, 43)),
    "volume": (nn.Conv3d(32, 32, 3, padding=1), (1, 32, 8, 10, 9)),
    "volume, nothing a multiple": (nn.Conv3d(19, 35, 3, padding=(1, 0, 2)), (2, 19, 5, 9, 7)),
    "volume, a pass for each slice": (nn.Conv3d(67, 64, 3, padding=1), (1, 67, 3, 7, 6)),
    "volume, two slices of the weight": (nn.Conv3d(24, 70, (2, 3, 3)), (1, 24, 4, 8, 9)),
}

# Of whole vectors of channels, in bfloat16.
PAIRED_CASES = {
    "a batch of odd pictures": (nn.Conv2d(64, 71, 3, padding=1), (3, 64, 13, 17)),
    "several passes": (nn.Conv2d(592, 40, 3, padding=1, bias=False), (1, 592, 9, 8)),
    "several blocks": (nn.Conv2d(32, 96, 3, padding=1), (2, 32, 41, 43)),
    "volume": (nn.Conv3d(48, 32, 3, padding=(1, 0, 2)), (2, 48, 5, 9, 7)),
}
ROUNDED = pytest.mark.skipif(not computes_bfloat16(vector_target()), reason="no AVX-512 here")


def label(target):
    return target.get("mcpu", "generic")


def imported(module, shape, dynamic=None):
    program = torch.export.export(module.eval(), (torch.randn(*shape),), dynamic_shapes=dynamic)
    return from_exported_program(program, keep_params_as_input=True)


def rewritten(module, shape, target=None, dynamic=None, minimal=True, precision="float32"):
    target = vector_target() if target is None else target
    passes = [convolutions.channels_last(panels_for(target, precision), winograd=minimal)]
    passes += [winograd.place(target, precision)]
    return tvm.transform.Sequential(passes)(imported(module, shape, dynamic))


def compiled(module, shape, target=None, dynamic=None):
    target = vector_target() if target is None else target
    run = Compiled(rewritten(module, shape, target, dynamic), target)
    assert RULE in run.rules.values()
    assert "fallback" not in run.rules.values()
    return run


def results(run, module, x):
    """What was computed, and the same in float64."""
    parameters = [p.detach().numpy() for p in module.parameters()]
    with torch.no_grad():
        exact = module.double()(torch.from_numpy(x).double()).numpy()
        module.float()
    result = run(x, *parameters)[0]
    assert result.shape == exact.shape
    return result, exact


@pytest.mark.parametrize("target", TARGETS, ids=label)
@pytest.mark.parametrize("name", CASES)
def test_convolution_equals_float64(name, target):
    module, shape = CASES[name]
    run = compiled(module, shape, target)
    result, exact = results(run, module, normal(*shape))
    # Sums of at most 2,709 products of numbers near 1 and weights below 0.1. What is transformed
    # is up to 4 times as large, and a result adds up nine such sums.
    assert abs(result - exact).max() <= 1e-5


@pytest.mark.parametrize(
    "module", [nn.Conv2d(256, 64, 3, padding=1), nn.Conv3d(128, 32, 3, padding=1)], ids=["2d", "3d"]
)
def test_errors_are_comparable_with_the_direct_form(module):
    """An error's variance grows with that of what is added up.

    Of a tile's transformed inputs it is 4 times the inputs', sums of four. Of its transformed
    weights it is 1, 3/4, 3/4, 1 times theirs along each axis, and a result adds up the products of
    three rows by three columns: 4 * 2.5 ** 2 = 25, where the direct form adds up 9 of variance 1.
    The RMS error is at most 5/3 of the direct form's.
    """
    shape = (1, module.in_channels, *[8] * len(module.kernel_size))
    errors = []
    for minimal in (True, False):
        run = Compiled(rewritten(module, shape, minimal=minimal), vector_target())
        assert (RULE in run.rules.values()) == minimal
        result, exact = results(run, module, normal(*shape))
        errors.append(result - exact)
    rms = [np.sqrt(np.mean(error**2)) for error in errors]
    largest = [abs(error).max() for error in errors]
    assert rms[0] <= 1.1 * 5 / 3 * rms[1]
    assert largest[0] <= 3 * largest[1]


@ROUNDED
@pytest.mark.parametrize("name", PAIRED_CASES)
def test_pairs_of_channels_err_no_more_than_their_rounding(name):
    """In bfloat16 what is multiplied is rounded, and not what is transformed from.

    By the variances above the RMS error is at most 5/3 of that of a convolution of rounded inputs
    and weights, whose sums are exact.
    """
    module, shape = PAIRED_CASES[name]
    run = Compiled(rewritten(module, shape, precision="bfloat16"), vector_target())
    assert RULE in run.rules.values()
    x = normal(*shape)
    result, exact = results(run, module, x)
    rounded = copy.deepcopy(module).bfloat16().double()
    with torch.no_grad():
        if module.bias is not None:
            rounded.bias.copy_(module.bias)
        direct = rounded(torch.from_numpy(x).bfloat16().double()).numpy()
    rms = [np.sqrt(np.mean((each - exact) ** 2)) for each in (result, direct)]
    assert rms[0] <= 1.1 * 5 / 3 * rms[1]


@ROUNDED
def test_channels_that_fill_no_pairs_keep_the_direct_form():
    module, shape = nn.Conv2d(40, 64, 3, padding=1), (1, 40, 12, 12)
    run = Compiled(rewritten(module, shape, precision="bfloat16"), vector_target())
    assert RULE not in run.rules.values()


@pytest.mark.parametrize("name", ["nothing a multiple", "volume, nothing a multiple"])
def test_one_library_takes_any_number_of_pictures(name):
    module, (_, *shape) = CASES[name]
    batch = torch.export.Dim("b")
    run = compiled(module, (2, *shape), dynamic={"input": {0: batch}})
    for size in (1, 2, 5):
        result, exact = results(run, module, normal(size, *shape))
        assert abs(result - exact).max() <= 5e-6


def test_what_lies_beyond_a_picture_does_not_matter():
    """Neighbours in memory are other rows and pictures; infinities there stay there."""
    module, shape = CASES["odd rows and columns, a batch"]
    run = compiled(module, shape)
    x = normal(*shape)
    parameters = [p.detach().numpy() for p in module.parameters()]
    expected = run(x, *parameters)[0]
    x[0], x[2] = np.inf, np.nan
    np.testing.assert_array_equal(run(x, *parameters)[0][1], expected[1])


def test_equal_convolutions_share_a_kernel_that_adds_the_bias():
    layers = [nn.Conv2d(32, 32, 3, padding=1) for _ in range(2)]
    module = nn.Sequential(layers[0], nn.ReLU(), layers[1])
    shape = (1, 32, 8, 9)
    run = compiled(module, shape)
    assert list(run.rules.values()).count(RULE) == 1
    (kernel,) = (
        function
        for _, function in run.scheduled.functions_items()
        if str(function.attrs.get("sam_tvm.rule")) == RULE
    )
    assert [buffer.name for buffer in kernel.params][2] == "bias"
    result, exact = results(run, module, normal(*shape))
    assert abs(result - exact).max() <= 5e-6


def test_a_result_that_others_read_without_its_bias_is_kept():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(32, 32, 3, padding=1, bias=False)
            self.bias = nn.Parameter(torch.randn(1, 32, 1, 1))

        def forward(self, x):
            y = self.layer(x)
            return (y + self.bias) * y

    module, shape = Twice(), (1, 32, 8, 9)
    run = compiled(module, shape)
    x = normal(*shape)
    by_name = dict(module.named_parameters())
    parameters = [by_name[n].detach().numpy() for n in ("bias", "layer.weight")]
    with torch.no_grad():
        exact = module.double()(torch.from_numpy(x).double()).numpy()
    assert abs(run(x, *parameters)[0] - exact).max() <= 2e-5


def test_the_weight_is_transformed_when_a_model_is_built():
    module, shape = nn.Conv2d(32, 33, 3, padding=1), (1, 32, 8, 9)
    placed = placement(vector_target(), "float32")(imported(module, shape))
    lifted = lift_parameters(placed, "main", ["weight", "bias"])
    (weight,) = (label for label in lifted.results if label.startswith("weight@"))
    stored = dict(zip(lifted.params, lifted.module["main"].params[1:], strict=True))
    width = choose_tile(sizes(2, (8, 9), 32, 33), vector_unit(vector_target())).width
    panels = -(-33 // width)
    assert [int(extent) for extent in stored[weight].ty.shape] == [panels, 16, 1, 32, width]
    assert "weight" not in lifted.params


def sizes(axes, size, channels, outputs, pictures=1):
    flat = 3 - axes
    padding = (0,) * flat + (1,) * axes
    taps = 3 if axes == 3 else 1
    padded = (1,) * flat + size, padding, padding
    return Sizes(axes == 3, pictures, *padded, taps, channels, outputs, has_bias=False, pairs=False)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ((2, (72, 72), 256, 256), True),
        ((3, (16, 16, 16), 512, 512), True),
        ((2, (7, 7), 256, 256), True),
        ((2, (4, 4), 256, 256), False),
        ((2, (4, 4), 256, 256, 4), True),
        ((2, (1, 80), 256, 256), False),
        ((2, (72, 72), 3, 256), False),
        ((2, (72, 72), 256, 8), False),
    ],
)
def test_where_it_pays(case, expected):
    assert pays(sizes(*case)) == expected


def test_blocks_are_small_and_nearly_equal():
    for case in [(2, (72, 72), 256, 256), (2, (288, 288), 256, 256), (3, (32,) * 3, 128, 128)]:
        of = sizes(*case)
        tile: Tile = choose_tile(of, vector_unit(vector_target()))
        depth, tiles = of.results[0], of.tiles[0] * of.tiles[1]
        assert tile.deep * tile.run <= 256
        computed = -(-depth // tile.deep) * -(-tiles // tile.run) * tile.block
        assert computed <= 1.05 * depth * tiles


def test_blocks_span_small_pictures():
    """Each block reads the whole weight."""
    assert choose_tile(sizes(2, (7, 7), 256, 256, 200), vector_unit(vector_target())).run > 64


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(32, 32, 3, padding=1, stride=2),
        nn.Conv2d(32, 32, 3, padding=2, dilation=2),
        nn.Conv2d(32, 32, 3, padding=1, groups=2),
        nn.Conv2d(32, 32, 5, padding=2),
        nn.Conv2d(32, 32, (1, 3), padding=(0, 1)),
    ],
    ids=["stride", "dilation", "groups", "5x5", "1x3"],
)
def test_other_convolutions_keep_their_forms(module):
    run = Compiled(rewritten(module, (1, 32, 16, 16)))
    assert RULE not in run.rules.values()


@pytest.mark.parametrize(
    ("cpu", "how"),
    [
        ("znver4", {"precision": "float32", "int8": True}),
        ("sapphirerapids", {"precision": "bfloat16"}),
    ],
    ids=["int8", "bfloat16 in matrix tiles"],
)
def test_what_is_faster_or_smaller_otherwise_keeps_the_direct_form(cpu, how):
    target = tvm.target.Target({"kind": "llvm", "mcpu": cpu})
    module = placement(target, **how)(imported(nn.Conv2d(32, 32, 3), (1, 32, 16, 16)))
    assert not any(RULE in var.name_hint for var in module.get_global_vars())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_vectors_of_either_precision_take_it(precision):
    target = tvm.target.Target({"kind": "llvm", "mcpu": "znver4"})
    module = placement(target, precision)(imported(nn.Conv2d(32, 32, 3), (1, 32, 16, 16)))
    assert any(RULE in var.name_hint for var in module.get_global_vars())


def test_symbolic_rows_keep_the_direct_form():
    rows = torch.export.Dim("h", min=8)
    module = nn.Conv2d(32, 32, 3, padding=1)
    run = Compiled(rewritten(module, (1, 32, 9, 16), dynamic={"input": {2: rows}}))
    assert RULE not in run.rules.values()
    result, exact = results(run, module, normal(1, 32, 11, 16))
    assert abs(result - exact).max() <= 5e-6


def test_placing_leaves_other_modules_alone():
    x = relax.Var("x", relax.TensorType((1, 8, 8, 32), "float32"))
    builder = relax.BlockBuilder()
    with builder.function("main", [x]):
        with builder.dataflow():
            out = builder.emit_output(relax.op.add(x, x))
        builder.emit_func_output(out)
    module = builder.get()
    tvm.ir.assert_structural_equal(winograd.place(vector_target())(module), module)
