import pytest
from relax_programs import Compiled, normal, runnable_targets

torch = pytest.importorskip("torch")
nn = torch.nn


def imported(module: "torch.nn.Module", shape: tuple[int, ...], dynamic=None):
    from tvm.relax.frontend.torch import from_exported_program

    example = (torch.randn(*shape),)
    program = torch.export.export(module.eval(), example, dynamic_shapes=dynamic)
    return from_exported_program(program, keep_params_as_input=True)


CASES = {
    "1x1": (nn.Conv2d(17, 9, 1), (1, 17, 5, 7), "matmul"),
    "1x1 in a batch": (nn.Conv2d(17, 9, 1), (2, 17, 5, 7), "convolution"),
    "3x3": (nn.Conv2d(32, 40, 3, padding=1), (1, 32, 17, 36), "convolution"),
    "3x3 stride 2": (nn.Conv2d(8, 20, 3, padding=1, stride=2), (2, 8, 17, 37), "convolution"),
    "patches": (nn.Conv2d(3, 33, 14, stride=14), (1, 3, 56, 70), "convolution"),
    "full window": (nn.Conv2d(24, 40, 7), (5, 24, 7, 7), "matmul"),
    "depthwise": (nn.Conv2d(24, 24, 3, padding=1, groups=24), (1, 24, 9, 19), None),
    "transposed": (nn.ConvTranspose2d(64, 33, 2, 2), (1, 64, 9, 12), "convolution"),
    "narrow": (nn.Conv2d(5, 6, 3), (1, 5, 4, 3), None),
    "group norm": (nn.GroupNorm(8, 32), (2, 32, 13, 21), "reduction"),
    "max pool": (nn.MaxPool2d(2, 2), (1, 6, 18, 21), "reduction"),
}


@pytest.mark.parametrize("target", runnable_targets(), ids=lambda t: t.get("mcpu", "generic"))
@pytest.mark.parametrize("name", CASES)
def test_layer_equals_float64(name, target):
    module, shape, rule = CASES[name]
    run = Compiled(imported(module, shape), target)
    if rule is not None:
        assert rule in run.rules.values()
    x = normal(*shape)
    parameters = [p.detach().numpy() for p in module.parameters()]
    with torch.no_grad():
        exact = module.double()(torch.from_numpy(x).double()).numpy()
        module.float()
    assert abs(run(x, *parameters)[0] - exact).max() <= 5e-6


def test_symbolic_batch_equals_float64():
    module = nn.Sequential(nn.Conv2d(8, 20, 3, padding=1), nn.GELU())
    batch = torch.export.Dim("b")
    run = Compiled(imported(module, (2, 8, 9, 11), {"input": {0: batch}}))
    parameters = [p.detach().numpy() for p in module.parameters()]
    for size in (1, 2, 5):
        x = normal(size, 8, 9, 11)
        with torch.no_grad():
            exact = module.double()(torch.from_numpy(x).double()).numpy()
            module.float()
        assert abs(run(x, *parameters)[0] - exact).max() <= 2e-6
