"""How SAM-3D-Objects is run beside its networks: sampling, and the statistics of its latents.

A checkpoint folder's ``pipeline.yaml`` may set each of these; the names are its own. The defaults
are those of the published file and, where that is silent, of
``sam3d_objects.pipeline.inference_pipeline.InferencePipeline``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

Interval = tuple[float, float]


@dataclass(frozen=True)
class RunSettings:
    """Settings of a run. ``ss_`` is of the sparse structure, ``slat_`` of the structured latents.

    Attributes:
        ss_inference_steps, slat_inference_steps: Euler steps.
        ss_rescale_t, slat_rescale_t: r of ``t' = t / (1 + (r - 1)(1 - t))``.
        ss_cfg_strength, slat_cfg_strength: s of the guidance ``(1 + s) cond - s uncond``.
        ss_cfg_interval, slat_cfg_interval: times, of 0 to 1000, within which there is guidance.
        ss_cfg_strength_pm: of the guidance by the pointmap; only 0 is known here.
        downsample_ss_dist: voxels with neighbours at this distance in all directions are interior
            and pruned; 0: none are.
        slat_mean, slat_std: of each latent channel; the sampler's latents are standardised.
    """

    ss_inference_steps: int = 25
    ss_rescale_t: float = 3.0
    ss_cfg_strength: float = 7.0
    ss_cfg_interval: Interval = (0.0, 500.0)
    ss_cfg_strength_pm: float = 0.0
    slat_inference_steps: int = 25
    slat_rescale_t: float = 1.0
    slat_cfg_strength: float = 1.0
    slat_cfg_interval: Interval = (0.0, 500.0)
    downsample_ss_dist: int = 1
    slat_mean: tuple[float, ...] = (
        0.12211431, 0.37204156, -1.26521907, -2.05276058,
        -3.10432536, -0.11294304, -0.85146744, 0.45506954,
    )  # fmt: skip
    slat_std: tuple[float, ...] = (
        2.37326008, 2.13174402, 2.2413953, 2.30589401,
        2.1191894, 1.8969511, 2.41684989, 2.08374642,
    )  # fmt: skip

    def record(self) -> dict[str, Any]:
        """The settings as JSON."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def read(cls, values: dict[str, Any]) -> RunSettings:
        """Settings with `values` in place of the defaults.

        Raises:
            ValueError: naming the first value that is of the wrong kind or out of its range.
        """
        default = cls()
        read = {
            name: _checked(name, value, getattr(default, name)) for name, value in values.items()
        }
        return cls(**read)


NAMES = tuple(field.name for field in fields(RunSettings))


def _checked(name: str, value: Any, default: Any) -> Any:
    """`value` as the kind of thing that `default` is."""
    if isinstance(default, tuple):
        if not isinstance(value, list) or len(value) != len(default):
            raise ValueError(f"{name} is {value!r}, expected {len(default)} numbers")
        read: Any = tuple(_number(name, entry) for entry in value)
    elif isinstance(default, int):
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name} is {value!r}, expected a whole number")
        read = value
    else:
        read = _number(name, value)
    if reason := _out_of_range(name, read):
        raise ValueError(f"{name} is {value!r}, expected {reason}")
    return read


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{name} is {value!r}, expected a number")
    return float(value)


def _out_of_range(name: str, value: Any) -> str | None:
    """What would be in the range, where `value` is not."""
    if name.endswith("_steps") and value < 1:
        return "at least 1"
    if name.endswith("_rescale_t") and value <= 0:
        return "more than 0"
    if name.endswith("_interval") and not value[0] <= value[1]:
        return "two times in order"
    if name == "slat_std" and min(value) <= 0:
        return "numbers above 0"
    if name == "downsample_ss_dist" and value < 0:
        return "0 or more"
    if name == "ss_cfg_strength_pm" and value != 0:
        return "0: guidance by the pointmap is not known here"
    return None
