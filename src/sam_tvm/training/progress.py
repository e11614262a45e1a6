"""How far a training is, and how fast."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Progress:
    """How far a training is.

    Attributes:
        stage: index of the stage.
        step: steps taken in it.
        total_steps: steps taken in all stages.
        seconds: spent on all of them, by the clock.
        cpu_seconds: the same of the process.
        decay_from: the step of the last stage at which the final decay began.
        decay_steps: how many steps it takes.
    """

    stage: int = 0
    step: int = 0
    total_steps: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    decay_from: int | None = None
    decay_steps: int = 0


@dataclass
class Clock:
    """Time since it was last read."""

    wall: float = field(default_factory=time.monotonic)
    cpu: float = field(default_factory=time.process_time)

    def read(self) -> tuple[float, float]:
        """Seconds by the clock and of the processor, since the last time."""
        wall, cpu = time.monotonic(), time.process_time()
        passed = wall - self.wall, cpu - self.cpu
        self.wall, self.cpu = wall, cpu
        return passed


@dataclass
class Recent:
    """Figures since they were last read."""

    entries: list[dict[str, float]] = field(default_factory=list)

    def add(self, figures: dict[str, float]) -> None:
        """Keep the figures of one step."""
        self.entries.append(figures)

    def means(self) -> dict[str, float]:
        """The mean of each figure over the steps that have it, NaN apart; then start anew."""
        kept: dict[str, list[float]] = {}
        for entry in self.entries:
            for name, value in entry.items():
                kept.setdefault(name, []).extend([] if np.isnan(value) else [value])
        self.entries = []
        return {n: float(np.mean(values)) if values else math.nan for n, values in kept.items()}
