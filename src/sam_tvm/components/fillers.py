"""Fillers for the inputs of SAM-3D-Objects: pictures, masks, pointmaps and times."""

from __future__ import annotations

import numpy as np

LARGEST_TIME = 1000.0  # the generators' scale of time


def picture(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Smooth colour fields with some noise, in [0, 1]; shape (n, channels, height, width)."""
    y, x = _grid(shape)
    phase = rng.uniform(0, 2 * np.pi, (*shape[:2], 1, 1))
    waves = np.sin(2 * np.pi * (2 * x + 3 * y) + phase) * np.cos(7 * x - phase)
    return np.clip(0.5 + 0.4 * waves + 0.1 * rng.standard_normal(shape), 0, 1)


def mask(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One on an ellipse, zero elsewhere; shape (n, 1, height, width)."""
    return _ellipse(rng, shape).astype(np.float32)


def pointmap(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A wavy surface before a background without points (NaN); shape (n, 3, height, width)."""
    y, x = _grid(shape)
    depth = 0.3 * np.sin(5 * x + rng.uniform(0, 6)) + 0.1 * rng.standard_normal(shape[2:])
    points = np.stack([x - 0.5, y - 0.5, depth])
    inside = _ellipse(rng, shape) & (rng.uniform(size=shape[2:]) > 0.01)
    return np.where(inside, points, np.nan)


def time(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Times or steps of the solver."""
    return rng.uniform(0, LARGEST_TIME, shape)


def _grid(shape: tuple[int, ...]) -> np.ndarray:
    """Rows and columns of the pixels in [0, 1)."""
    height, width = shape[2:]
    return np.mgrid[0:height, 0:width] / np.array([height, width]).reshape(2, 1, 1)


def _ellipse(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    centre, radius = rng.uniform(0.4, 0.6, (2, 1, 1)), rng.uniform(0.2, 0.4, (2, 1, 1))
    inside = (((_grid(shape) - centre) / radius) ** 2).sum(0) < 1
    return np.broadcast_to(inside, (shape[0], 1, *shape[2:]))
