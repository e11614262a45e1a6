"""Seeded inputs for a component's cases, one filler per `TensorSpec.kind`."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from sam_tvm.components import fillers
from sam_tvm.components.base import Case, Component, TensorSpec

Filler = Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]

START_OF_TEXT, END_OF_TEXT = 49406, 49407  # CLIP's byte-pair vocabulary


def _normal(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.standard_normal(shape, dtype=np.float32)


def _pixels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth colour fields with some noise, in [-1, 1] as a normalised picture."""
    n, channels, height, width = shape
    y, x = np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)
    phase = rng.uniform(0, 2 * np.pi, (n, channels, 1, 1))
    waves = np.sin(2 * np.pi * (2 * x + 3 * y) + phase) * np.cos(7 * x - phase)
    return np.clip(0.8 * waves + 0.2 * rng.standard_normal(shape), -1, 1).astype(np.float32)


def _tokens(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Start, 1 to length-2 word pieces, end, zero padding: what the tokenizer returns."""
    rows, length = shape
    ids = np.zeros(shape, np.int64)
    for row in range(rows):
        words = int(rng.integers(1, length - 1))
        ids[row, 0] = START_OF_TEXT
        ids[row, 1 : words + 1] = rng.integers(1, START_OF_TEXT, words)
        ids[row, words + 1] = END_OF_TEXT
    return ids


def _padding_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """True marks padding, always on the right; the first slot of the first row is used."""
    rows, length = shape
    used = rng.integers(0, length + 1, rows)
    used[0] = max(1, length - 1)
    return np.arange(length)[None, :] >= used[:, None]


def _prompt_mask(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Padding as in a prompt, where every row keeps at least one token."""
    mask = _padding_mask(rng, shape)
    mask[:, 0] = False
    return mask


def _points(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(0, 1, shape).astype(np.float32)


def _boxes(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Normalised cxcywh inside the image."""
    size = rng.uniform(0.05, 0.6, (*shape[:-1], 2))
    center = size / 2 + rng.uniform(0, 1, size.shape) * (1 - size)
    return np.concatenate([center, size], -1).astype(np.float32)


def _labels(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 2, shape, dtype=np.int64)


FILLERS: dict[str, Filler] = {
    "normal": _normal,
    "pixels": _pixels,
    "tokens": _tokens,
    "padding_mask": _padding_mask,
    "prompt_mask": _prompt_mask,
    "points": _points,
    "boxes": _boxes,
    "labels": _labels,
    "picture": fillers.picture,
    "mask": fillers.mask,
    "pointmap": fillers.pointmap,
    "time": fillers.time,
}


def concrete_shape(spec: TensorSpec, case: Case) -> tuple[int, ...]:
    """Shape of `spec` with the dynamic axes set to the sizes of `case`."""
    return tuple(case.sizes[d] if isinstance(d, str) else d for d in spec.shape)


def make_inputs(component: Component, config: object, case: Case) -> dict[str, np.ndarray]:
    """Inputs of one case by name, in the signature's order.

    They are equal for equal component, case and configuration.
    """
    rng = np.random.default_rng(zlib.crc32(f"{component.name}/{case.name}".encode()))
    if component.inputs is not None:
        made = component.inputs(config, case, rng)
        return {spec.name: made[spec.name] for spec in component.signature(config).inputs}
    return {
        spec.name: FILLERS[spec.kind](rng, concrete_shape(spec, case)).astype(spec.dtype)
        for spec in component.signature(config).inputs
    }
