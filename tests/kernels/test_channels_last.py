"""What lies between convolutions works on channels-last values, without permutations in between."""

import re

import pytest
from relax_programs import Compiled, normal, schedule
from test_convolution_forms import error, operators, rewritten
from tvm import relax

from sam_tvm.kernels import default
from sam_tvm.kernels.graph.parameters import parameter_values
from sam_tvm.pipeline.lifting import lift_parameters

torch = pytest.importorskip("torch")
nn, functional = torch.nn, torch.nn.functional


class Neck(nn.Module):
    """Channels last in, as from a transformer; pictures out."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose2d(48, 32, 2, 2)
        self.upper = nn.ConvTranspose2d(32, 40, 2, 2)
        self.mix = nn.Conv2d(40, 64, 1)
        self.smooth = nn.Conv2d(64, 64, 3, padding=1)
        self.lower = nn.Conv2d(48, 64, 1)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        high = self.smooth(self.mix(self.upper(functional.gelu(self.up(x)))))
        return high, self.lower(functional.max_pool2d(x, 2, 2))


class Decoder(nn.Module):
    """A pyramid with normalisation by groups, from a sequence to pictures."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(32, 64, 3, padding=1)
        self.last = nn.Conv2d(64, 32, 3, padding=1)
        self.scale = nn.Parameter(torch.randn(64))

    def forward(self, sequence, picture):
        x = sequence.permute(1, 2, 0).reshape(-1, 32, 5, 6)
        x = self.first(picture + functional.interpolate(x, scale_factor=2, mode="nearest"))
        grouped = x.reshape(-1, 8, 8, 10, 12)
        centred = grouped - grouped.mean(4, True).mean(3, True).mean(2, True)
        variance = (centred * centred).mean(4, True).mean(3, True).mean(2, True)
        x = (centred / torch.sqrt(variance + 1e-5)).reshape(-1, 64, 10, 12)
        return self.last(functional.relu(x * self.scale.reshape(1, 64, 1, 1)))


def test_a_neck_equals_float64_and_permutes_only_its_results():
    module, shape = Neck(), (2, 6, 8, 48)
    program = rewritten(module, shape)
    # Of activations: two shuffles of pixels from columns, two results. The rest is of weights.
    pictures = [name for name in operators(program) if name == "nn.max_pool2d"]
    assert len(pictures) == 1
    assert permuted_activations(program) == 4
    assert error(Compiled(program), module, normal(*shape)) <= 5e-6


def test_a_decoder_equals_float64_and_permutes_its_inputs_and_result():
    module, shapes = Decoder(), [(30, 2, 32), (2, 32, 10, 12)]
    batch = torch.export.Dim("b")
    dynamic = {"sequence": {1: batch}, "picture": {0: batch}}
    program = rewritten(module, *shapes, dynamic=dynamic)
    assert permuted_activations(program) == 3
    run = Compiled(program)
    for size in (1, 3):
        inputs = normal(30, size, 32), normal(size, 32, 10, 12, seed=1)
        assert error(run, module, *inputs) <= 1e-5


def test_a_residual_that_is_not_read_by_a_convolution_is_added_where_it_lies():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(32, 32, 1)

        def forward(self, x, y):
            return torch.relu(self.inner(x)) + y

    module, shape = Residual(), (1, 32, 6, 7)
    program = rewritten(module, shape, shape)
    assert permuted_activations(program) == 2
    assert error(Compiled(program), module, normal(*shape), normal(*shape, seed=1)) <= 2e-6


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(32, 32, 1), nn.Conv2d(32, 32, 3), nn.ConvTranspose2d(32, 32, 2, 2)],
    ids=["1x1", "3x3", "transposed"],
)
def test_a_bias_and_an_activation_join_the_product(layer):
    program = rewritten(nn.Sequential(layer, nn.GELU()), (1, 32, 6, 7))
    lifted = lift_parameters(program, "main", ["weight", "bias"])
    rules = default.rules_used(schedule(lifted.module))
    assert any(re.search("panels_add.?_gelu", name) for name in rules)


def test_a_value_that_is_read_in_two_orders_equals_float64():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(32, 32, 3), nn.Conv2d(32, 64, 1)

        def forward(self, x):
            x = self.a(x)
            return x.flatten(2), self.b(x), x.mean((2, 3)), torch.cat((x, -x), dim=1)

    module, shape = Two(), (2, 32, 8, 9)
    assert error(Compiled(rewritten(module, shape)), module, normal(*shape)) <= 5e-6


def permuted_activations(program) -> int:
    """The permutations in a function that depend on its inputs."""
    main = program["main"]
    known = parameter_values(main)
    return sum(
        binding.var not in known
        and isinstance(binding.value, relax.Call)
        and getattr(binding.value.op, "name", "") == "relax.permute_dims"
        # A permuted bias is broadcast: larger than what it comes from, and small all the same.
        and binding.value.args[0] not in known
        for block in main.body.blocks
        for binding in block.bindings
    )


class Rows(nn.Module):
    """Norm and hidden layer over windows of a picture, before a convolution; a residual."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(32)
        self.wide, self.narrow = nn.Linear(32, 64), nn.Linear(64, 32)
        self.proj = nn.Linear(32, 32)
        self.conv = nn.Conv2d(32, 16, 1)

    def forward(self, x):
        windows = self.proj(x.reshape(2, 2, 3, 2, 4, 32).permute(0, 1, 3, 2, 4, 5))
        y = x + windows.permute(0, 1, 3, 2, 4, 5).reshape(2, 6, 8, 32)
        z = y + self.narrow(functional.gelu(self.wide(self.norm(y))))
        return self.conv(z.permute(0, 3, 1, 2))


def test_rows_keep_their_order_through_norms_and_products():
    """The residual, the norm and the hidden layer work on windows as they lie."""
    module, shape = Rows(), (2, 6, 8, 32)
    program = rewritten(module, shape)
    # The picture into windows, for the products and as what they are added to; the sum out of
    # them, and the convolution's result to channels first.
    assert permuted_activations(program) == 4
    assert error(Compiled(program), module, normal(*shape)) <= 5e-6
