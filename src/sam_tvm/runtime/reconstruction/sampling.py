"""Flow-matching samplers: from noise to latents in Euler steps, with classifier-free guidance.

Follows `FlowMatching` and `ShortCut` of `sam3d_objects/model/backbone/generator` with the Euler
solver, around `ClassifierFreeGuidance`. The network is a callback, so the same sampler serves both
generators.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
from tqdm import tqdm

from sam_tvm.runtime.reconstruction.settings import SamplerSettings

Latents = dict[str, np.ndarray]


class Velocity(Protocol):
    """A generator network, called once per step, or twice where guidance is on."""

    def __call__(
        self, latents: Latents, t: np.ndarray, d: np.ndarray | None, conditional: bool
    ) -> Mapping[str, np.ndarray]:
        """Return the latents' velocity.

        Args:
            latents: float32 arrays by name.
            t: (1,) float32, the time, scaled.
            d: (1,) float32, the step's length, scaled; 0 outside of shortcut sampling; None for a
                network that takes none.
            conditional: False where the condition is to be replaced by zeros.

        """
        ...


def initial_noise(shapes: Mapping[str, Sequence[int]], generator: np.random.Generator) -> Latents:
    """Draw standard normal latents, float32, of the given shapes.

    They are drawn in the order of their names, so a generator of one state gives the same noise
    whatever the order of `shapes`.
    """
    return {
        name: generator.standard_normal(tuple(shapes[name]), np.float32) for name in sorted(shapes)
    }


def times(settings: SamplerSettings, steps: int) -> np.ndarray:
    """Return the times of the steps' ends: (steps + 1,) from 0 to 1.

    float64 for networks that take the step's length, else float32. In float32 the reference's own
    times differ by a rounding with the width of the machine's vectors.
    """
    dtype = np.float64 if settings.takes_step else np.float32
    even: np.ndarray = np.linspace(0, 1, steps + 1).astype(dtype)
    if not settings.rescale_t:  # as the reference has it, 0 means evenly spaced too
        return even
    return even / (1 + (settings.rescale_t - 1) * (1 - even))


def sample(
    velocity: Velocity,
    noise: Mapping[str, np.ndarray],
    settings: SamplerSettings,
    *,
    steps: int | None = None,
    distilled: bool = False,
    label: str | None = None,
) -> Latents:
    """Turn noise into latents.

    Args:
        velocity: the network.
        noise: float32 arrays by name; not changed.
        settings: how to sample.
        steps: instead of the settings' number of steps.
        distilled: the shortcut mode, which is good with 1 to 4 steps: no guidance, and a network
            that takes the step's length is told it.
        label: of the progress bar on stderr; None for no bar.

    Returns:
        Latents of the noise's names, shapes and dtype.

    Raises:
        ValueError: less than one step.

    """
    steps = settings.steps if steps is None else steps
    if steps < 1:
        raise ValueError(f"at least one step is needed, not {steps}")
    d = _step_input(settings, steps, distilled)
    latents = dict(noise)
    for start, end in _intervals(times(settings, steps), label):
        t = np.array([start * settings.time_scale], np.float32)
        strength = 0.0 if distilled else _strength(settings, t)
        speed = _guided(velocity, latents, t, d, strength)
        length = np.float32(end - start)
        latents = {name: latents[name] + speed[name] * length for name in latents}
    return latents


def denormalise(features: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Undo the standardisation of structured latents: (N, C) float32 times std plus mean, (C,)."""
    return features * np.asarray(std, np.float32) + np.asarray(mean, np.float32)


def _step_input(settings: SamplerSettings, steps: int, distilled: bool) -> np.ndarray | None:
    if not settings.takes_step:
        return None
    return np.array([settings.time_scale / steps if distilled else 0.0], np.float32)


def _intervals(ends: np.ndarray, label: str | None) -> Iterator[tuple[np.number, np.number]]:
    pairs = list(pairwise(ends))
    yield from tqdm(pairs, desc=label, unit="step", disable=label is None)


def _strength(settings: SamplerSettings, t: np.ndarray) -> float:
    first, last = settings.interval
    return settings.guidance if first <= t[0] <= last else 0.0


def _guided(
    velocity: Velocity, latents: Latents, t: np.ndarray, d: np.ndarray | None, strength: float
) -> Mapping[str, np.ndarray]:
    conditional = velocity(latents, t, d, True)
    if strength <= 0:
        return conditional
    unconditional = velocity(latents, t, d, False)
    return {
        name: (1 + strength) * conditional[name] - strength * unconditional[name]
        for name in latents
    }
