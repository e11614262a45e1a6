"""What a Winograd convolution's kernel is made for: its sizes, its tiles, and when it pays."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from sam_tvm.kernels.generated import register_tile
from sam_tvm.kernels.loops import UNROLLED
from sam_tvm.kernels.target_features import VectorUnit

STEP, TAPS, PATCH = 2, 3, 4  # results, weights and inputs of a tile, along each of two axes
POSITIONS = PATCH * PATCH  # products of a tile, instead of (STEP * TAPS) ** 2 = 36

_LONGEST_SUM = 128  # words per pass: short sums that are added up err less than one long sum
_PAIRED = 16  # channels that are rounded at once
_MOST_ROWS = 12  # of a register tile
_SKEW = 16  # elements between planes, lest all sixteen lie in the same lines of the first cache

# Measured where the weight is in a cache: at these limits 0.6 to 0.7 of the direct form's time.
_FEWEST_CHANNELS = 16
_FEWEST_OUTPUTS = 32
_FEWEST_TILES = 16
_LEAST_FILLED = 0.6  # of the tiles' results


@dataclass(frozen=True)
class Sizes:
    """Sizes of a convolution with strides of 1; a picture is a volume of one slice.

    Attributes:
        volume: whether the tensors have an axis of slices.
        pictures: how many there are; 1 where that is not known, which costs time alone.
        size: slices, rows and columns of what is convolved.
        before, after: padding of each of the three.
        slices: of the weight, whose rows and columns are 3.
        channels, outputs: of the picture and of the result.
        has_bias: whether a number for each output is added.
        pairs: whether what is multiplied is rounded to bfloat16, two channels to a word.
    """

    volume: bool
    pictures: int
    size: tuple[int, int, int]
    before: tuple[int, int, int]
    after: tuple[int, int, int]
    slices: int
    channels: int
    outputs: int
    has_bias: bool
    pairs: bool

    @property
    def words(self) -> int:
        """Elements that the channels of a transformed row take."""
        return self.channels // 2 if self.pairs else self.channels

    @property
    def dtype(self) -> str:
        """Of these elements."""
        return "uint32" if self.pairs else "float32"

    @property
    def results(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the result."""
        taps = (self.slices, TAPS, TAPS)
        whole = zip(self.size, self.before, self.after, taps, strict=True)
        return tuple(extent + b + a - t + 1 for extent, b, a, t in whole)

    @property
    def tiles(self) -> tuple[int, int]:
        """Rows and columns of tiles in a slice of the result."""
        _, height, width = self.results
        return -(-height // STEP), -(-width // STEP)


@dataclass(frozen=True)
class Tile:
    """The register tile and the block around it.

    Attributes:
        lanes, vectors: width, in float32 per vector and in vectors.
        rows: tiles of the picture that are multiplied at once.
        deep, run: slices of a block, and tiles of each slice in it.
        longest: words of a sum's pass.
        slices: of the weight in a pass.
    """

    lanes: int
    vectors: int
    rows: int
    deep: int
    run: int
    longest: int
    slices: int

    @property
    def width(self) -> int:
        """Columns of a panel of the weight."""
        return self.lanes * self.vectors

    @property
    def block(self) -> int:
        """Rows of a block's products, filled up to whole register tiles."""
        return round_up(self.deep * self.run, self.rows)

    def rows_read(self, sizes: Sizes) -> int:
        """Transformed rows that they are computed from: those of the neighbouring slices too."""
        return self.block + (sizes.slices - 1) * self.run

    def input_plane(self, sizes: Sizes) -> int:
        """Elements from one position's transformed inputs to the next one's."""
        return self.rows_read(sizes) * sizes.words + _SKEW

    @property
    def product_plane(self) -> int:
        """Elements from one position's products to the next one's."""
        return self.block * self.width + _SKEW


def round_up(value: int, step: int) -> int:
    """Return the least multiple of `step` that is not below `value`."""
    return -(-value // step) * step


def pays(sizes: Sizes) -> bool:
    """Tell whether a convolution is faster in this form.

    Few channels leave too little to multiply between the transformations, few tiles too little for
    each reading of a weight that is 16/9 times as large, and a picture of few rows or columns has
    tiles that are half empty. A weight of few outputs grows too much to be stored transformed.
    Channels that are paired fill whole vectors.
    """
    depth, height, width = sizes.results
    if min(depth, height, width) < 1:
        return False
    tiles = sizes.tiles[0] * sizes.tiles[1]
    filled = height * width >= _LEAST_FILLED * tiles * STEP * STEP
    channels = sizes.channels >= _FEWEST_CHANNELS and sizes.outputs >= _FEWEST_OUTPUTS
    if sizes.pairs and sizes.channels % _PAIRED:
        return False
    return channels and filled and sizes.pictures * depth * tiles >= _FEWEST_TILES


def choose_tile(sizes: Sizes, unit: VectorUnit) -> Tile:
    """Return the tile for a vector unit: the width that wastes least of the last panel."""
    vectors, rows = register_tile(sizes.outputs, unit, _MOST_ROWS)
    passes = -(-sizes.words // _LONGEST_SUM)
    whole = sizes.words * sizes.slices <= _LONGEST_SUM
    deep, run = _choose_block(sizes, unit.lanes, vectors, rows)
    return Tile(
        lanes=unit.lanes,
        vectors=vectors,
        rows=rows,
        deep=deep,
        run=run,
        longest=round_up(-(-sizes.words // passes), UNROLLED),
        slices=sizes.slices if whole else 1,
    )


# Cycles for a vector, estimated: of a multiplication, of reading the weight from beyond the second
# cache, of transforming inputs (sixteen loads, stores and 32 additions).
_MULTIPLY, _READ, _TRANSFORM = 0.5, 6.0, 60.0
# Tiles of a block of one slice, and of one of several, which share the slices between them. Larger
# ones were no faster.
_MOST_TILES, _MOST_IN_SLICES = 96, 256


def _choose_block(sizes: Sizes, lanes: int, vectors: int, rows: int) -> tuple[int, int]:
    """Return slices and tiles of each slice of the block that should take the least time."""
    depth, tiles = sizes.results[0], sizes.pictures * sizes.tiles[0] * sizes.tiles[1]
    most = _MOST_TILES if sizes.slices == 1 else _MOST_IN_SLICES
    columns = round_up(sizes.outputs, lanes * vectors) / lanes
    terms = sizes.slices * sizes.words

    def cost(block: tuple[int, int]) -> float:
        deep, run = block
        computed, read = round_up(deep * run, rows), (deep + sizes.slices - 1) * run
        multiply = POSITIONS * computed * terms * columns * _MULTIPLY
        transform = read * sizes.channels / lanes * _TRANSFORM
        weight = POSITIONS * terms * columns * _READ
        return -(-depth // deep) * -(-tiles // run) * (multiply + transform + weight)

    def parts(extent: int) -> set[int]:
        """Sizes of equal parts, none larger than a block may be."""
        return {-(-extent // count) for count in range(-(-extent // most), extent + 1)}

    blocks = product(sorted(parts(depth)), sorted(parts(tiles)))
    return min((block for block in blocks if block[0] * block[1] <= most), key=cost)
