"""The registry of components. A component is found by its file: adding one is adding a file."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Iterable
from functools import cache

from sam_tvm.components.base import Component
from sam_tvm.components.graph import Call, ComposedFunction
from sam_tvm.models.presets import Preset
from sam_tvm.runtime.errors import UnknownNameError

MODELS = ("sam3", "sam3d")


def functions(model: str, preset: Preset) -> tuple[ComposedFunction, ...]:
    """The composed functions of `model` at `preset`, in calling order.

    A model without a ``graph`` has none: the runtime calls its components one by one.
    """
    name = f"{__name__}.{model}.graph"
    if importlib.util.find_spec(name) is None:
        return ()
    return importlib.import_module(name).functions(config_of(model, preset))


def config_of(model: str, preset: Preset) -> object:
    """The configuration of `model` in `preset`."""
    return getattr(preset, model)


@cache
def components(model: str | None = None) -> tuple[Component, ...]:
    """All components, or those of one model, in file order."""
    found: list[Component] = []
    for name in MODELS if model is None else (model,):
        package = importlib.import_module(f"{__name__}.{name}")
        for info in pkgutil.iter_modules(package.__path__):
            module = importlib.import_module(f"{package.__name__}.{info.name}")
            if hasattr(module, "COMPONENT"):
                found.append(module.COMPONENT)
    return tuple(found)


def select(names: Iterable[str] | None) -> tuple[Component, ...]:
    """The components called `names`, or all of them.

    Raises:
        UnknownNameError: for a name that is not a component's; the message lists those that are.
    """
    known = {component.name: component for component in components()}
    if names is None:
        return tuple(known.values())
    for name in names:
        if name not in known:
            raise UnknownNameError(
                f"there is no component {name!r}; known components: {', '.join(sorted(known))}"
            )
    return tuple(known[name] for name in dict.fromkeys(names))


def component(name: str) -> Component:
    """The component called `name`; `UnknownNameError` for a name that is not a component's."""
    return select([name])[0]


def used_components(function: ComposedFunction) -> tuple[str, ...]:
    """Names of the components that a composed function calls."""
    return tuple(step.component for step in function.steps if isinstance(step, Call))
