"""What converters need to know about a node: its arguments by name and its torch dtype."""

from __future__ import annotations

from typing import Any

from torch import fx


def arguments(node: fx.Node, importer: Any) -> dict[str, Any]:
    """Return the node's arguments by the names of the operator's schema, defaults included.

    Nodes are replaced by the Relax expressions that the importer has for them.
    """
    values: dict[str, Any] = {}
    for position, argument in enumerate(node.target._schema.arguments):
        if position < len(node.args):
            values[argument.name] = importer._retrieve_args(node.args[position])
        elif argument.name in node.kwargs:
            values[argument.name] = importer._retrieve_args(node.kwargs[argument.name])
        else:
            values[argument.name] = argument.default_value
    return values


def result_dtype(node: fx.Node) -> str:
    """Return the dtype of the node's value as TVM names it, e.g. "float32"."""
    return str(node.meta["val"].dtype).removeprefix("torch.")
