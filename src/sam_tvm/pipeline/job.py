"""What one run of the pipeline works on, and where its files lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path

import sam_tvm
from sam_tvm import components
from sam_tvm.components.base import Component
from sam_tvm.models.presets import Preset
from sam_tvm.models.source import WeightsSource
from sam_tvm.pipeline.store import Store

DEFAULT_ARTIFACTS = Path("artifacts")
PRECISIONS = ("float32", "bfloat16", "float16")
STORED_WEIGHTS = ("float", "int8")
# Distributions whose code is the reference of each model.
REFERENCES = {"sam3": ("sam3",), "sam3d": ("sam3d", "spconv", "timm")}


def version(package: str) -> str:
    """Installed version of a distribution."""
    return metadata.version(package)


def reference_versions(*models: str) -> dict[str, str]:
    """Versions of what runs the references of `models`."""
    names = ("torch", "torchvision", *(name for model in models for name in REFERENCES[model]))
    return {name: version(name) for name in names}


@dataclass(frozen=True)
class Job:
    """One run: which components of which preset, with which weights, for which target.

    Attributes:
        checkpoint: SAM3's file; None: the weights that come with the preset, or random ones.
        checkpoint_3d: SAM-3D-Objects' folder; None: random weights.
        seed: of random weights, which then come before those of the preset; None: those, and 0
            for what has none.
        recorded: the weights of models whose artifacts say which they were made from; they come
            before `checkpoint`, `checkpoint_3d` and `seed`.
        tuned: use what was tuned on a machine that is the target.
        processes: that work at the same time, each on a component.
        stock: build with TVM's own default pipeline instead of our kernels, to compare with.
        weights: how matrices are stored: ``float``, as the precision says, or rounded to ``int8``.
        archive: write a bundle as one file instead of a folder.
    """

    preset: Preset
    components: tuple[Component, ...] = field(default_factory=components.components)
    checkpoint: Path | None = None
    checkpoint_3d: Path | None = None
    seed: int | None = None
    recorded: Mapping[str, WeightsSource] = field(default_factory=dict)
    target: str = "llvm"
    precision: str = "float32"
    artifacts: Path = DEFAULT_ARTIFACTS
    drop: bool = False
    stock: bool = False
    weights: str = "float"
    archive: bool = False
    tuned: bool = True
    processes: int = 1

    @property
    def folder(self) -> Path:
        """Where this preset's artifacts and reports lie."""
        return self.artifacts / self.preset.name

    @property
    def build_name(self) -> str:
        """Name of a build: target, precision, weights and pipeline, as a folder."""
        target = self.target.replace(" ", "_").replace("=", "-").replace("_-", "_")
        weights = "" if self.weights == "float" else f"-{self.weights}"
        kind = "-stock" if self.stock else "" if self.tuned else "-untuned"
        return f"{target}-{self.precision}{weights}{kind}"

    @property
    def models(self) -> tuple[str, ...]:
        """Models of the selected components."""
        return tuple(dict.fromkeys(component.model for component in self.components))

    def source(self, model: str) -> WeightsSource:
        """Where the weights of `model` come from."""
        if model in self.recorded:
            return self.recorded[model]
        checkpoint = {"sam3": self.checkpoint, "sam3d": self.checkpoint_3d}[model]
        if checkpoint is None and self.seed is None:
            checkpoint = self.preset.shipped_weights(model)
        return WeightsSource(checkpoint, self.seed or 0)

    def components_of(self, model: str) -> tuple[Component, ...]:
        """The selected components of one model."""
        return tuple(component for component in self.components if component.model == model)

    def store(self, component: Component) -> Store:
        """The component's artifacts."""
        return Store(self.folder / component.name)

    def model_store(self, model: str) -> Store:
        """Artifacts of a model's end-to-end module."""
        return Store(self.folder / f"{model}_end_to_end")

    def bundle_folder(self, model: str) -> Path:
        """The bundle of a model for this build."""
        return self.folder / "bundles" / f"{model}-{self.build_name}"

    def bundle_path(self, model: str) -> Path:
        """What stage 4 writes: that folder, or the archive beside it."""
        folder = self.bundle_folder(model)
        return folder.with_name(f"{folder.name}.tar") if self.archive else folder

    def config(self, component: Component) -> object:
        """The component's configuration at this preset."""
        return components.config_of(component.model, self.preset)

    def header(self, component: Component) -> dict[str, object]:
        """What a component's manifest says of the component itself."""
        signature = component.signature(self.config(component))
        return {
            "component": component.name,
            "model": component.model,
            "preset": self.preset.name,
            "reference": component.reference,
            "inputs": [asdict(spec) for spec in signature.inputs],
            "outputs": [asdict(spec) for spec in signature.outputs],
            "sam-tvm": sam_tvm.__version__,
        }
