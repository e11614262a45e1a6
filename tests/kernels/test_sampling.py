"""Points and boxes of a picture, a vector of channels at a time, against float64."""

import numpy as np
import pytest
import torch
from relax_programs import Compiled, function, normal, runnable_targets
from test_convolution_forms import operators
from torch.nn import functional as F
from tvm import relax
from tvm.target import Target

from sam_tvm.kernels import sampling
from sam_tvm.kernels.sampling.picture import channel_groups
from sam_tvm.kernels.target_features import vector_unit

op = relax.op
HEIGHT, WIDTH = 9, 11
BINS = (3, 2)


def emit(value):
    return relax.BlockBuilder.current().emit(value)


def placed(build, *inputs, target=None):
    target = runnable_targets()[0] if target is None else target
    module = function(build, *((shape, "float32") for shape in inputs))
    module["main"] = module["main"].with_attr("num_input", len(inputs))
    return sampling.place(target)(module)


def regions(x, boxes, samples=-1, scale=1.0, aligned=False):
    return op.vision.roi_align(x, boxes, BINS, scale, samples, aligned, layout="NCHW")


def points(x, grid, **options):
    given = {"method": "bilinear", "padding_mode": "zeros", "align_corners": False, **options}
    return op.image.grid_sample(x, grid, layout="NCHW", **given)


def channels_first(kernel):
    """`kernel` of a picture that was (H W, B, C), as features of a transformer are."""

    def build(x, places):
        _, batch, channels = x.ty.shape
        x = emit(op.permute_dims(x, [1, 2, 0]))
        return kernel(emit(op.reshape(x, (batch, channels, HEIGHT, WIDTH))), places)

    return build


def along(position: float, size: int) -> np.ndarray:
    """The weights of an axis' pixels in a sample, as torchvision documents them."""
    weights = np.zeros(size)
    if -1 <= position <= size:
        position = min(max(position, 0.0), size - 1.0)
        low = int(position)
        weights[low] += 1 - (position - low)
        weights[min(low + 1, size - 1)] += position - low
    return weights


def exact_regions(pictures, boxes, samples=-1, scale=1.0):
    found = []
    for image, *box in boxes.astype("float64"):
        left, top, right, bottom = np.array(box) * scale
        axes = []
        ends = ((top, bottom, BINS[0], HEIGHT), (left, right, BINS[1], WIDTH))
        for begin, end, bins, size in ends:
            length = max(end - begin, 1.0) / bins
            count = samples if samples > 0 else int(np.ceil(length))
            at = begin + (np.arange(bins)[:, None] + (np.arange(count) + 0.5) / count) * length
            axes.append(np.mean([[along(p, size) for p in row] for row in at], 1))
        picture = pictures[int(image)].astype("float64")
        found.append(np.einsum("ph,qw,chw->cpq", *axes, picture))
    return np.stack(found)


def exact_points(pictures, grid):
    grid = torch.from_numpy(grid.astype("float64")).permute(0, 2, 3, 1)
    pictures = torch.from_numpy(pictures.astype("float64"))
    return F.grid_sample(pictures, grid, align_corners=False).numpy()


def boxes_of(batch: int) -> np.ndarray:
    """Inside, the whole picture, across its edges, outside, without an area, reversed."""
    corners = [
        [1.2, 0.5, 8.3, 7.1],
        [0, 0, WIDTH, HEIGHT],
        [-3.5, -2.25, 4.5, 20.0],
        [30, 30, 40, 50],
        [4.75, 2.5, 4.75, 2.5],
        [7.5, 6.5, 2.0, 1.0],
    ]
    images = np.arange(len(corners)) % batch
    return np.concatenate([images[:, None], corners], 1).astype("float32")


@pytest.mark.parametrize("target", runnable_targets(), ids=str)
@pytest.mark.parametrize("channels", [1, 5, 16, 37, 300])
def test_boxes_equal_float64(target, channels):
    run = Compiled(placed(regions, (2, channels, HEIGHT, WIDTH), ("k", 5), target=target), target)
    assert "regions" in run.rules.values() and "fallback" not in run.rules.values()
    x, boxes = normal(2, channels, HEIGHT, WIDTH), boxes_of(2)
    exact = exact_regions(x, boxes)
    for count in (1, len(boxes)):
        np.testing.assert_allclose(run(x, boxes[:count]), exact[:count], rtol=0, atol=2e-6)


@pytest.mark.parametrize(("samples", "scale"), [(2, 1.0), (-1, 0.5), (3, 0.25)])
def test_a_given_number_of_samples_and_a_scale(samples, scale):
    def build(x, boxes):
        return regions(x, boxes, samples, scale)

    run = Compiled(placed(build, (1, 20, HEIGHT, WIDTH), ("k", 5)))
    x, boxes = normal(1, 20, HEIGHT, WIDTH), boxes_of(1)
    exact = exact_regions(x, boxes, samples, scale)
    np.testing.assert_allclose(run(x, boxes), exact, rtol=0, atol=2e-6)


@pytest.mark.parametrize("target", runnable_targets(), ids=str)
@pytest.mark.parametrize("channels", [1, 5, 37, 256])
def test_points_equal_float64(target, channels):
    shapes = ("b", channels, HEIGHT, WIDTH), ("b", 2, "p", 3)
    run = Compiled(placed(points, *shapes, target=target), target)
    assert "points" in run.rules.values()
    x, grid = normal(2, channels, HEIGHT, WIDTH), normal(2, 2, 50, 3, seed=1)
    grid[0, :, 0], grid[1, :, 1] = 1.0, -1.0
    grid[0, :, 2], grid[0, :, 3] = 1e30, -1e30
    np.testing.assert_allclose(run(x, grid), exact_points(x, grid), rtol=0, atol=5e-6)


def test_no_points_at_all():
    run = Compiled(placed(points, (1, 5, HEIGHT, WIDTH), (1, 2, "p", 1)))
    grid = np.zeros((1, 2, 0, 1), "float32")
    assert run(normal(1, 5, HEIGHT, WIDTH), grid).shape == (1, 5, 0, 1)


@pytest.mark.parametrize(
    ("kernel", "exact", "places"),
    [(regions, exact_regions, ("k", 5)), (points, exact_points, ("b", 2, "p", 1))],
    ids=["boxes", "points"],
)
def test_a_picture_is_read_where_its_channels_lie_side_by_side(kernel, exact, places):
    """Nothing turns it around, for any number of pictures."""
    module = placed(channels_first(kernel), (HEIGHT * WIDTH, "b", 40), places)
    assert operators(module) == ["call_tir", "permute_dims"]  # of the result
    run, x = Compiled(module), normal(HEIGHT * WIDTH, 2, 40)
    given = boxes_of(2) if kernel is regions else normal(2, 2, 7, 1, seed=1)
    picture = x.transpose(1, 2, 0).reshape(2, 40, HEIGHT, WIDTH)
    np.testing.assert_allclose(run(x, given), exact(picture, given), rtol=0, atol=5e-6)


def test_equal_calls_share_a_kernel():
    def build(x, boxes, others):
        return relax.Tuple([emit(regions(x, each)) for each in (boxes, others)])

    module = placed(build, (1, 8, HEIGHT, WIDTH), (4, 5), (4, 5))
    kernels = [v.name_hint for v in module.get_global_vars() if v.name_hint.startswith("regions")]
    assert kernels == ["regions"]


@pytest.mark.parametrize(
    "build",
    [
        lambda x, places: regions(x, places, aligned=True),
        lambda x, places: op.vision.roi_align(x, places, BINS, 1.0, -1, layout="NHWC"),
    ],
    ids=["aligned", "channels last"],
)
def test_other_boxes_are_left_alone(build):
    module = placed(build, (1, 8, HEIGHT, WIDTH), (4, 5))
    assert operators(module) == ["vision.roi_align"]


@pytest.mark.parametrize(
    "option", [{"method": "nearest"}, {"padding_mode": "border"}, {"align_corners": True}], ids=str
)
def test_other_points_are_left_alone(option):
    module = placed(lambda x, grid: points(x, grid, **option), (1, 8, HEIGHT, WIDTH), (1, 2, 3, 1))
    assert operators(module) == ["image.grid_sample"]


def test_registers_hold_the_sums():
    """Otherwise each sample would store them."""
    for target in runnable_targets():
        unit = vector_unit(Target(target))
        groups = list(channel_groups(300, unit))
        assert max(group.vectors for group in groups) <= unit.registers // 2
        assert sum(group.vectors * group.lanes.count for group in groups) == 300
