"""The pointmap embedding with gathers and choices equals the original."""

import pytest
import torch
from patch_support import build, export

from sam_tvm.patches.environment import reference_environment
from sam_tvm.patches.importer import converters
from sam_tvm.patches.model.point_patches import PATCH, _nearest


@pytest.fixture(autouse=True)
def environment():
    with reference_environment("sam3d"):
        yield


def _embedding(size: int = 16):
    from sam3d_objects.model.backbone.dit.embedder.pointmap import PointPatchEmbed

    torch.manual_seed(0)
    return PointPatchEmbed(size, 8, 32, remap_output="linear").eval()


def _pointmap(size: int) -> torch.Tensor:
    points = torch.randn(1, 3, size, size)
    points[:, :, : size // 3] = torch.nan
    points[0, 1, -1, -1] = torch.inf  # one coordinate is enough
    points[0, 2, -2] = -torch.inf
    return points


@pytest.mark.parametrize(("source", "target"), [(518, 256), (112, 64), (16, 16), (40, 16)])
def test_sampled_points_are_those_of_interpolation(source, target):
    positions = torch.arange(float(source))[None, None]
    expected = torch.nn.functional.interpolate(positions, size=target, mode="nearest")
    assert torch.equal(_nearest(source, target).float(), expected[0, 0])


@pytest.mark.parametrize("size", [16, 37])
def test_equals_the_original_where_points_are_missing(size):
    embed, points = _embedding(), _pointmap(size)
    with torch.no_grad():
        expected = embed(points.clone())
        with PATCH.apply(embed):
            actual = embed(points)
    assert actual.shape == (1, 4, 32)
    assert torch.equal(actual, expected)


def test_a_given_mask_decides_what_is_missing():
    embed, points, valid = _embedding(), torch.randn(2, 3, 16, 16), torch.rand(2, 16, 16) > 0.3
    with torch.no_grad():
        expected = embed(points.clone(), valid)
        with PATCH.apply(embed):
            assert torch.equal(embed(points, valid), expected)


def test_positions_of_another_grid_are_refused():
    embed = _embedding()
    with PATCH.apply(embed), pytest.raises(ValueError, match="windows"):
        embed._get_pos_embed((3, 2))


def test_tvm_takes_the_wrong_points_by_nearest_interpolation():
    rows = torch.arange(37.0).expand(1, 1, 37, 37).contiguous()
    resized = build(
        export(lambda x: torch.nn.functional.interpolate(x, size=16, mode="nearest"), rows),
        converters(),
    )
    assert resized(rows)[0][0, 0, 0].tolist() != _nearest(37, 16).tolist()
