"""A small renderer of 3D Gaussians on the CPU: exact, and quick enough for a preview.

Each Gaussian is projected to an ellipse on the picture (EWA splatting), and the ellipses are
blended from front to back. Work and memory are bounded by taking them in runs, nearest first, and
by leaving out those that lie behind what is opaque already.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from sam_tvm.runtime.reconstruction.gaussians import Gaussians

_LOW_PASS = 0.3  # pixels squared, added to each ellipse so that none falls between pixels
_LEAST_ALPHA = 1 / 255
_MOST_ALPHA = 0.99
_OPAQUE = 1e-3  # what is behind shows by less than this
_NEAR = 0.05
_FRAGMENTS = 1 << 20  # of a run: pixels covered by its Gaussians, each counted for itself
_BLOCK = 8  # side of the squares of pixels that are known to be opaque


@dataclass(frozen=True)
class View:
    """A camera that looks at the origin, z upwards.

    Attributes:
        yaw: degrees around the z axis, 0 to look along -y.
        pitch: degrees above the horizon.
        distance: from the origin.
        field: the angle that the picture spans, degrees.

    """

    yaw: float
    pitch: float = 20.0
    distance: float = 2.0
    field: float = 40.0


@dataclass(frozen=True)
class _Ellipses:
    """Gaussians on the picture, nearest first.

    Attributes:
        centre: (G, 2) x and y, pixels.
        conic: (G, 3), the inverse covariance: xx, xy, yy.
        box: (G, 4) int64, first and past-the-last column and row.
        opacity: (G,).
        colour: (G, 3).

    """

    centre: np.ndarray
    conic: np.ndarray
    box: np.ndarray
    opacity: np.ndarray
    colour: np.ndarray

    def __getitem__(self, index: slice | np.ndarray) -> _Ellipses:
        return _Ellipses(
            self.centre[index],
            self.conic[index],
            self.box[index],
            self.opacity[index],
            self.colour[index],
        )

    def areas(self) -> np.ndarray:
        return (self.box[:, 1] - self.box[:, 0]) * (self.box[:, 3] - self.box[:, 2])


def render(gaussians: Gaussians, view: View, size: int, background: float = 1.0) -> np.ndarray:
    """Render Gaussians.

    Args:
        gaussians: in the object's frame.
        view: the camera.
        size: side of the picture, pixels.
        background: grey behind the object, in [0, 1].

    Returns:
        (size, size, 3) uint8.

    """
    ellipses = _project(gaussians, view, size)
    colour = np.zeros((size * size, 3))
    through = np.ones(size * size)
    for run in _runs(ellipses):
        _blend(run[_visible(run, through, size)], size, colour, through)
    picture = colour + through[:, None] * background
    return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8).reshape(size, size, 3)


def _camera(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return the camera's place and its axes as rows: right, down, forward."""
    yaw, pitch = np.radians([view.yaw, view.pitch])
    place = view.distance * np.array(
        [np.sin(yaw) * np.cos(pitch), np.cos(yaw) * np.cos(pitch), np.sin(pitch)]
    )
    forward = -place / np.linalg.norm(place)
    right = np.cross(forward, [0.0, 0.0, 1.0])
    right /= np.linalg.norm(right)
    return place, np.stack([right, np.cross(forward, right), forward])


def _project(gaussians: Gaussians, view: View, size: int) -> _Ellipses:
    place, axes = _camera(view)
    focal = size / (2 * np.tan(np.radians(view.field) / 2))
    points = (gaussians.positions - place) @ axes.T
    opacity = gaussians.opacities()
    kept = np.flatnonzero((points[:, 2] > _NEAR) & (opacity >= _LEAST_ALPHA))
    kept = kept[np.argsort(points[kept, 2], kind="stable")]
    points, opacity = points[kept], opacity[kept]

    depth = points[:, 2]
    centre = points[:, :2] / depth[:, None] * focal + size / 2
    # The projection's derivative: how the picture moves with the point.
    slope = np.zeros((len(kept), 2, 3))
    slope[:, 0, 0] = slope[:, 1, 1] = focal / depth
    slope[:, :, 2] = -focal * points[:, :2] / depth[:, None] ** 2
    half = slope @ axes @ _spreads(gaussians.rotations[kept], gaussians.scales[kept])
    covariance = half @ half.transpose(0, 2, 1) + _LOW_PASS * np.eye(2)
    xx, xy, yy = covariance[:, 0, 0], covariance[:, 0, 1], covariance[:, 1, 1]
    conic = np.stack([yy, -xy, xx], axis=1) / (xx * yy - xy * xy)[:, None]

    # Beyond this many standard deviations alpha is below what counts.
    reach = np.sqrt(2 * np.log(opacity / _LEAST_ALPHA))[:, None]
    extent = reach * np.sqrt(np.stack([xx, yy], axis=1))
    low = np.clip(np.floor(centre - extent), 0, size).astype(np.int64)
    high = np.clip(np.ceil(centre + extent), 0, size).astype(np.int64)
    box = np.stack([low[:, 0], high[:, 0], low[:, 1], high[:, 1]], axis=1)
    ellipses = _Ellipses(centre, conic, box, opacity, gaussians.colours()[kept])
    return ellipses[ellipses.areas() > 0]


def _spreads(rotations: np.ndarray, scales: np.ndarray) -> np.ndarray:
    """Return (G, 3, 3): a Gaussian's covariance is this times its transpose."""
    unit = rotations / np.linalg.norm(rotations, axis=1, keepdims=True)
    w, x, y, z = unit.T.astype(np.float64)
    matrix = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    return matrix.transpose(2, 0, 1) * scales[:, None, :]


def _runs(ellipses: _Ellipses) -> Iterator[_Ellipses]:
    """Split into runs of at most `_FRAGMENTS` fragments, or of one Gaussian."""
    ends = np.cumsum(ellipses.areas())
    start = 0
    while start < len(ends):
        done = ends[start - 1] if start else 0
        stop = max(int(np.searchsorted(ends, done + _FRAGMENTS, side="right")), start + 1)
        yield ellipses[start:stop]
        start = stop


def _visible(run: _Ellipses, through: np.ndarray, size: int) -> np.ndarray:
    """Return which Gaussians touch a block of pixels that is not opaque yet."""
    blocks = -(-size // _BLOCK)
    padded = np.zeros((blocks * _BLOCK, blocks * _BLOCK), bool)
    padded[:size, :size] = through.reshape(size, size) > _OPAQUE
    open_blocks = padded.reshape(blocks, _BLOCK, blocks, _BLOCK).any(axis=(1, 3))
    # Sums over rectangles of blocks, by differences of a summed-area table.
    table = np.zeros((blocks + 1, blocks + 1), np.int64)
    table[1:, 1:] = open_blocks.cumsum(axis=0).cumsum(axis=1)
    left, top = run.box[:, 0] // _BLOCK, run.box[:, 2] // _BLOCK
    right, bottom = -(-run.box[:, 1] // _BLOCK), -(-run.box[:, 3] // _BLOCK)
    count = table[bottom, right] - table[top, right] - table[bottom, left] + table[top, left]
    return count > 0


def _blend(run: _Ellipses, size: int, colour: np.ndarray, through: np.ndarray) -> None:
    """Put a run, nearest first, behind what is there; changes `colour` and `through`.

    Args:
        run: Gaussians.
        size: side of the picture.
        colour: (size * size, 3), what was seen so far.
        through: (size * size,), how much of what lies behind still shows.

    """
    owner, pixel, alpha = _fragments(run, size, through)
    order = np.argsort(pixel, kind="stable")  # a pixel's fragments stay in order of depth
    owner, pixel, alpha = owner[order], pixel[order], alpha[order]
    if not pixel.size:
        return
    loss = np.log1p(-alpha)
    total = np.cumsum(loss)
    first = np.flatnonzero(np.diff(pixel, prepend=-1))
    before = total - loss
    before -= np.repeat(before[first], np.diff(first, append=pixel.size))
    weight = through[pixel] * np.exp(before) * alpha
    for channel in range(3):
        colour[:, channel] += np.bincount(
            pixel, weight * run.colour[owner, channel], minlength=size * size
        )
    through *= np.exp(np.bincount(pixel, loss, minlength=size * size))


def _fragments(
    run: _Ellipses, size: int, through: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for what each Gaussian puts on each pixel: the Gaussian, the pixel and alpha."""
    areas = run.areas()
    owner = np.repeat(np.arange(len(areas)), areas)
    place = np.arange(len(owner)) - np.repeat(np.cumsum(areas) - areas, areas)
    row, column = np.divmod(place, (run.box[:, 1] - run.box[:, 0])[owner])
    column += run.box[owner, 0]
    row += run.box[owner, 2]
    pixel = row * size + column
    shown = through[pixel] > _OPAQUE
    owner, pixel, row, column = owner[shown], pixel[shown], row[shown], column[shown]

    x = column + 0.5 - run.centre[owner, 0]
    y = row + 0.5 - run.centre[owner, 1]
    xx, xy, yy = run.conic[owner].T
    falloff = np.exp(-0.5 * (xx * x * x + yy * y * y) - xy * x * y)
    alpha = np.minimum(run.opacity[owner] * falloff, _MOST_ALPHA)
    counts = alpha >= _LEAST_ALPHA
    return owner[counts], pixel[counts], alpha[counts]
