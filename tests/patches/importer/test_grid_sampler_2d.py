"""`grid_sampler_2d` against PyTorch and float64."""

import torch
from patch_support import assert_as_accurate_as_torch, build, export
from torch.nn.functional import grid_sample

from sam_tvm.patches.importer.grid_sampler_2d import PATCH

VARIANTS = [  # mode, padding mode, align_corners
    ("bilinear", "zeros", False),
    ("bilinear", "border", True),
    ("nearest", "zeros", False),
]


def _inputs(points=(4, 3), batch=2):
    """Points in the image and around it."""
    generator = torch.Generator().manual_seed(0)
    grid = 2.8 * torch.rand(batch, *points, 2, generator=generator) - 1.4
    return torch.randn(batch, 3, 6, 7, generator=generator), grid


def _samples(image, grid):
    return [grid_sample(image, grid, *variant) for variant in VARIANTS]


def _plain(image, grid):
    return grid_sample(image, grid, align_corners=False)


def test_one_library_samples_any_number_of_points_as_torch_does():
    sizes = ({0: "B"}, {0: "B", 1: "n"})
    run = build(export(_samples, *_inputs(), sizes=sizes), PATCH.apply)
    for points, batch in [((4, 3), 2), ((9, 3), 1)]:
        inputs = _inputs(points, batch)
        referees = _samples(*(tensor.double() for tensor in inputs))
        for results in zip(run(*inputs), _samples(*inputs), referees, strict=True):
            assert_as_accurate_as_torch(*results)


def test_tvm_takes_another_axis_for_the_coordinates_without_the_patch():
    image, grid = _inputs((4, 1))
    assert build(export(_plain, image, grid))(image, grid)[0].shape == (2, 3, 1, 2)
    assert _plain(image, grid).shape == (2, 3, 4, 1)


def test_tvm_samples_elsewhere_without_the_patch():
    image, grid = _inputs((2, 2))  # the shapes agree by accident, the values do not
    actual = build(export(_plain, image, grid))(image, grid)[0]
    assert (torch.from_numpy(actual) - _plain(image, grid)).abs().max() > 0.1
