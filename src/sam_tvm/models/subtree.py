"""A model cut down to the submodules that one component uses."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from torch import nn


def prune(model: nn.Module, paths: Iterable[str]) -> nn.Module:
    """`model` with only the submodules at the dotted `paths` (and those above them).

    The modules at `paths` are shared, not copied; the ones above are shallow copies of the same
    classes and keep their plain attributes, so methods of the model run and parameter names stay
    those of the whole model.

    Raises:
        AttributeError: if a path does not exist.
    """
    heads: dict[str, list[str]] = {}
    for path in paths:
        head, _, rest = path.partition(".")
        heads.setdefault(head, []).append(rest)
    clone = copy.copy(model)
    children = {}
    for head, rests in heads.items():
        child = model.get_submodule(head)
        children[head] = child if "" in rests else prune(child, rests)
    for attribute, value in (("_modules", children), ("_parameters", {}), ("_buffers", {})):
        clone.__dict__[attribute] = value
    return clone
