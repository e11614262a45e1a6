"""What a component is: one declaration that every stage, test, report and bundle reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pickle import PicklingError
from typing import Any

Dimension = int | str  # a str names a dynamic axis; equal names are equal sizes


@dataclass(frozen=True)
class TensorSpec:
    """One input or output tensor.

    Attributes:
        name: the reference model's name of the tensor.
        shape: sizes; a string is a dynamic axis (outputs may use sums such as ``"n+m+1"``).
        dtype: numpy name of the element type.
        kind: how `sam_tvm.components.inputs` fills it in a case (outputs ignore it).
    """

    name: str
    shape: tuple[Dimension, ...]
    dtype: str = "float32"
    kind: str = "normal"


@dataclass(frozen=True)
class Signature:
    """Inputs and outputs of a component at one configuration."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    @property
    def symbols(self) -> tuple[str, ...]:
        """Names of the dynamic axes, in order of appearance."""
        return tuple(
            dict.fromkeys(d for spec in self.inputs for d in spec.shape if isinstance(d, str))
        )


@dataclass(frozen=True)
class Case:
    """Input sizes to run: a value for each dynamic axis.

    A component's first case is the export's example: no size in it is 1, which torch.export would
    take for a constant.
    """

    name: str
    sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Component:
    """One exportable part of a model.

    Attributes:
        name: contract name, e.g. ``text_encoder``.
        model: ``sam3`` or ``sam3d``.
        reference: the reference class as ``module.Class``; its file is the module's.
        modules: dotted paths of the submodules of the reference model that it uses; their
            parameters are its parameters, under the same names.
        call: how the reference model calls those modules, ``call(model, *inputs) -> outputs``.
            It holds no arithmetic: the reference process runs it on the unpatched model, the
            export on the same modules under `patches`.
        signature: inputs and outputs for a configuration.
        cases: at least two where an axis is dynamic.
        patches: files of ``patches/model`` that its export needs.
        tensor_only: for a component whose reference works on sparse tensors: makes of the model
            the module of tensors alone that is exported, with the reference's parameters. `call`
            is then the reference's alone.
        inputs: makes the inputs of a case, ``inputs(config, case, rng)``, where they depend on
            each other (coordinates of voxels and their plans); otherwise each tensor is filled
            by its kind.
    """

    name: str
    model: str
    reference: str
    modules: tuple[str, ...]
    call: Callable[..., tuple[Any, ...]]
    signature: Callable[[Any], Signature]
    cases: tuple[Case, ...]
    patches: tuple[str, ...] = ()
    tensor_only: Callable[[Any], Any] | None = None
    inputs: Callable[[Any, Case, Any], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        if len({case.name for case in self.cases}) != len(self.cases):
            raise ValueError(f"{self.name}: case names repeat")

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name: other processes of the port find the declaration by it."""
        from sam_tvm.components import component

        if component(self.name) is not self:
            raise PicklingError(f"{self.name} is not the component of that name")
        return component, (self.name,)
