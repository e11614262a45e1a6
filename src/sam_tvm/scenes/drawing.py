"""Drawn scenes: coloured shapes on varied backgrounds, with every object's mask and box.

A scene is a function of its generator's state alone. Objects are drawn at `OVERSAMPLING` times
the picture's resolution and averaged down, so that edges are smooth; an object's mask is where
the centre of a pixel shows it.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from sam_tvm.scenes.vocabulary import COLOURS, SHAPES, SIZES, TRAINED_PAIRS, UNNAMED

OVERSAMPLING = 2
# Scenes of one purpose are never those of another, whatever their seeds and numbers.
TRAINING, VALIDATION, TEST = 1, 2, 3
NOBODY = -1  # in an owner map: the background
LEAST_VISIBLE = 0.65  # of an object's own area; scenes that hide more of one are drawn anew
REPEATED = 0.35  # share of objects that take the colour, the shape or both of an earlier one
UNNAMED_SHARE = 0.35  # of objects: their colours have no name, and may be any of the rest
# Such a colour lies so far, in RGB, from those that have names and from the background, and is of
# another hue (in turns), pale or dark.
UNLIKE = 75.0
UNLIKE_HUE, PALE, DARK = 0.085, 0.4, 0.3
RING_WIDTH = 0.45  # of its radius
CLOSENESS = 0.75  # of two radii: how near two objects' centres may be


@dataclass(frozen=True)
class Thing:
    """One object: what it is, and where, in pixels of its picture.

    Attributes:
        colour: a key of `COLOURS`, or `UNNAMED`.
        shape: one of `SHAPES`.
        size: a key of `SIZES`.
        x: of the centre.
        y: of the centre.
        radius: of the circle that the shape is drawn in.
        angle: in radians.
        ink: red, green and blue of 0 to 255 that it is drawn with.
    """

    colour: str
    shape: str
    size: str
    x: float
    y: float
    radius: float
    angle: float
    ink: tuple[int, int, int]

    @property
    def pair(self) -> tuple[str, str]:
        """Colour and shape."""
        return self.colour, self.shape


@dataclass(frozen=True)
class Scene:
    """A picture and what is in it.

    Attributes:
        image: (S, S, 3) uint8.
        owner: (S, S) int8, the index of the object that a pixel shows, or `NOBODY`.
        things: the objects; a later one hides an earlier one.
    """

    image: np.ndarray
    owner: np.ndarray
    things: tuple[Thing, ...]

    def mask(self, index: int) -> np.ndarray:
        """(S, S) bool: where object `index` is seen."""
        return self.owner == index

    def box(self, index: int) -> np.ndarray:
        """The box around what is seen of object `index`: cx, cy, w, h as fractions, float32."""
        mask, side = self.mask(index), self.owner.shape[0]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        x0, x1, y0, y1 = columns[0], columns[-1] + 1, rows[0], rows[-1] + 1
        return np.array([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], np.float32) / side


def generator(purpose: int, seed: int, number: int) -> np.random.Generator:
    """The generator of the scene `number` of a purpose and seed."""
    return np.random.default_rng((purpose, seed, number))


def draw_scene(
    rng: np.random.Generator,
    side: int,
    most: int = 6,
    pairs: tuple[tuple[str, str], ...] = TRAINED_PAIRS,
    first_pair: tuple[str, str] | None = None,
) -> Scene:
    """Draw a scene of 1 to `most` objects.

    Args:
        rng: where everything random comes from.
        side: of the picture, in pixels.
        most: objects; fewer where there is no room.
        pairs: colours with shapes that may be drawn.
        first_pair: what one of the objects is to be, for scenes about a given pair.
    """
    wanted = int(rng.integers(1, most + 1))
    dull = _dull_colour(rng)
    while True:
        things = _place(rng, side, wanted, pairs, first_pair, dull)
        owner = _owner_map(things, side)
        if _all_visible(owner, things):
            break
    return _painted(rng, things, owner, dull)


def paint(
    rng: np.random.Generator, things: tuple[Thing, ...], side: int, dull: np.ndarray
) -> Scene:
    """Draw given objects on a random background of a colour (3,), with noise."""
    return _painted(rng, things, _owner_map(things, side), dull)


def _painted(
    rng: np.random.Generator, things: tuple[Thing, ...], owner: np.ndarray, dull: np.ndarray
) -> Scene:
    side = owner.shape[0]
    image = _blend(_background(rng, side, dull), _layer(things, side))
    noise = rng.standard_normal((side, side, 1), dtype=np.float32) * rng.uniform(0, 8)
    return Scene(np.clip(image + noise, 0, 255).astype(np.uint8), owner, things)


def _place(
    rng: np.random.Generator,
    side: int,
    wanted: int,
    pairs: tuple[tuple[str, str], ...],
    first_pair: tuple[str, str] | None,
    background: np.ndarray,
) -> tuple[Thing, ...]:
    things: list[Thing] = []
    for _ in range(wanted * 4):
        if len(things) == wanted:
            break
        pair = first_pair if first_pair and not things else _pair(rng, things, pairs)
        size = tuple(SIZES)[rng.integers(len(SIZES))]
        radius = float(rng.uniform(*SIZES[size])) * side
        x, y = (float(v) for v in rng.uniform(radius * 0.95, side - radius * 0.95, 2))
        near = (math.hypot(x - t.x, y - t.y) < CLOSENESS * (radius + t.radius) for t in things)
        if not any(near):
            ink = _ink(rng, pair[0], background)
            things.append(Thing(*pair, size, x, y, radius, _angle(rng, pair[1]), ink))
    order = rng.permutation(len(things))
    return tuple(things[i] for i in order)


def _pair(
    rng: np.random.Generator, things: list[Thing], pairs: tuple[tuple[str, str], ...]
) -> tuple[str, str]:
    """A colour and a shape, often those of an object that is there, or one of the two."""
    if rng.random() < UNNAMED_SHARE:
        return UNNAMED, SHAPES[rng.integers(len(SHAPES))]
    if things and rng.random() < REPEATED:
        like = things[rng.integers(len(things))]
        kind = rng.integers(3)
        if kind == 0:
            return like.pair
        pairs = tuple(p for p in pairs if p[kind - 1] == like.pair[kind - 1]) or pairs
    return pairs[rng.integers(len(pairs))]


def _ink(rng: np.random.Generator, colour: str, background: np.ndarray) -> tuple[int, int, int]:
    """A shade of a named colour, or one that is far from all of them and from the background."""
    if colour != UNNAMED:
        return shade(rng, colour)
    drawn = rng.uniform(0, 255, 3)
    while has_a_name(drawn) or np.linalg.norm(background - drawn) < UNLIKE:
        drawn = rng.uniform(0, 255, 3)
    return _bytes(drawn)


def shade(rng: np.random.Generator, colour: str) -> tuple[int, int, int]:
    """A shade of a colour of `COLOURS`, as red, green and blue of 0 to 255."""
    return _bytes(np.array(COLOURS[colour]) + rng.normal(0, 9, 3))


def _bytes(values: np.ndarray) -> tuple[int, int, int]:
    red, green, blue = np.clip(values, 0, 255).astype(int).tolist()
    return red, green, blue


def has_a_name(ink: np.ndarray) -> bool:
    """Whether one would call red, green and blue of 0 to 255 by one of the names of `COLOURS`."""
    if min(math.dist(ink, known) for known in COLOURS.values()) < UNLIKE:
        return True
    hue, saturation, value = colorsys.rgb_to_hsv(*(ink / 255))
    apart = (abs(hue - colorsys.rgb_to_hsv(*known)[0]) for known in COLOURS.values())
    near = min(min(angle, 1 - angle) for angle in apart) < UNLIKE_HUE
    return near and saturation > PALE and value > DARK


def _angle(rng: np.random.Generator, shape: str) -> float:
    most = math.pi / 5 if shape == "star" else 0.3
    return float(rng.uniform(-most, most))


def _outline(thing: Thing, scale: float) -> list[tuple[float, float]]:
    """Corners of a polygon, in pixels of a canvas of `scale` times the picture's resolution."""
    if thing.shape == "cross":
        arm, end = 0.36, 1.0
        quarter = [(arm, arm), (arm, end), (-arm, end)]
        corners = np.array([_turned(p, k * math.pi / 2) for k in range(4) for p in quarter])
        corners *= 1.05
    else:
        count, inner, outer = {"square": (4, 1.12, 1.12), "triangle": (3, 1.2, 1.2)}.get(
            thing.shape, (10, 0.48, 1.2)
        )
        start = -math.pi / 2 + (math.pi / 4 if thing.shape == "square" else 0.0)
        turns = start + np.arange(count) * 2 * math.pi / count
        radii = np.where(np.arange(count) % 2 == 0, outer, inner)
        corners = np.stack([np.cos(turns), np.sin(turns)], 1) * radii[:, None]
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    turned = corners @ np.array([[cos, sin], [-sin, cos]])
    return [tuple(c) for c in (turned * thing.radius + [thing.x, thing.y]) * scale]


def _turned(point: tuple[float, float], angle: float) -> tuple[float, float]:
    (x, y), cos, sin = point, round(math.cos(angle)), round(math.sin(angle))
    return x * cos - y * sin, x * sin + y * cos


def _draw(canvas: ImageDraw.ImageDraw, thing: Thing, scale: float, ink: object) -> None:
    radius = thing.radius * scale
    centre_x, centre_y = thing.x * scale, thing.y * scale
    around = [centre_x - radius, centre_y - radius, centre_x + radius, centre_y + radius]
    if thing.shape == "circle":
        canvas.ellipse(around, fill=ink)
    elif thing.shape == "ring":
        canvas.ellipse(around, outline=ink, width=round(radius * RING_WIDTH))
    else:
        canvas.polygon(_outline(thing, scale), fill=ink)


def _owner_map(things: tuple[Thing, ...], side: int) -> np.ndarray:
    drawn = Image.new("L", (side * OVERSAMPLING,) * 2, 0)
    canvas = ImageDraw.Draw(drawn)
    for index, thing in enumerate(things):
        _draw(canvas, thing, OVERSAMPLING, index + 1)
    centres = np.asarray(drawn)[
        OVERSAMPLING // 2 :: OVERSAMPLING, OVERSAMPLING // 2 :: OVERSAMPLING
    ]
    return centres.astype(np.int8) - 1


def _all_visible(owner: np.ndarray, things: tuple[Thing, ...]) -> bool:
    """Whether enough of every object's area is seen."""
    seen = np.bincount(owner.ravel() + 1, minlength=len(things) + 1)[1:]
    return all(s >= LEAST_VISIBLE * _area(t) for s, t in zip(seen, things, strict=True))


def _area(thing: Thing) -> float:
    """What the whole object covers, in pixels."""
    if thing.shape in ("circle", "ring"):
        hole = 1 - RING_WIDTH if thing.shape == "ring" else 0.0
        return math.pi * thing.radius**2 * (1 - hole**2)
    x, y = np.array(_outline(thing, 1.0)).T
    return abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2


def _layer(things: tuple[Thing, ...], side: int) -> np.ndarray:
    """(S, S, 4) float32 of 0 to 255: the objects' colours, multiplied by their coverage, and it."""
    drawn = Image.new("RGBA", (side * OVERSAMPLING,) * 2, (0, 0, 0, 0))
    canvas = ImageDraw.Draw(drawn)
    for thing in things:
        _draw(canvas, thing, OVERSAMPLING, (*thing.ink, 255))
    # Transparent pixels are black, so the mean of a block is premultiplied already.
    pixels = np.asarray(drawn)
    total = np.zeros((side, side, 4), np.uint16)
    for row in range(OVERSAMPLING):
        for column in range(OVERSAMPLING):
            total += pixels[row::OVERSAMPLING, column::OVERSAMPLING]
    return total.astype(np.float32) / OVERSAMPLING**2


def _blend(background: np.ndarray, layer: np.ndarray) -> np.ndarray:
    return background * (1 - layer[..., 3:] / 255) + layer[..., :3]


def _dull_colour(rng: np.random.Generator) -> np.ndarray:
    base = rng.uniform(60, 225, 3)
    return (base.mean() + (base - base.mean()) * rng.uniform(0.1, 0.4)).astype(np.float32)


def _background(rng: np.random.Generator, side: int, base: np.ndarray) -> np.ndarray:
    """(S, S, 3) float32: a dull colour, alone or with a gradient, stripes or blotches."""
    steps = np.arange(side, dtype=np.float32) / side - 0.5
    turn = rng.uniform(0, 2 * math.pi)
    along = (math.cos(turn) * steps[None, :] + math.sin(turn) * steps[:, None])[..., None]
    kind = rng.integers(4)
    if kind == 1:
        return base + along * rng.uniform(-60, 60, 3).astype(np.float32)
    if kind == 2:
        wave = np.sin(along * (2 * math.pi * rng.uniform(4, 14)))
        return base + wave * rng.uniform(-18, 18)
    if kind == 3:
        coarse = rng.normal(0, rng.uniform(5, 18), (9, 9, 3)).clip(-60, 60)
        blotches = Image.fromarray((coarse * 2 + 128).astype(np.uint8)).resize(
            (side, side), Image.Resampling.BICUBIC
        )
        return base + (np.asarray(blotches, dtype=np.float32) - 128) / 2
    return np.broadcast_to(base, (side, side, 3)).astype(np.float32)
