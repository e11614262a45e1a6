"""Warnings of libraries that say nothing to a user of the port."""

from __future__ import annotations

import warnings

# (start of the message as a regular expression, why it does not matter here)
HARMLESS = (
    (r"`isinstance\(treespec, LeafSpec\)` is deprecated", "torch.export loads its own pickles"),
    (r"CUDA is not available or torch_xla is imported", "sam3's video model, which is not used"),
    (r"`torch\.jit\.script` is deprecated", "a decorator in what sam3 imports"),
    (r"No complete tensor found in the group", "tables that share storage; they are on the CPU"),
)


def silence_harmless_warnings() -> None:
    """Ignore the warnings of `HARMLESS` for the rest of the process."""
    for message, _ in HARMLESS:
        warnings.filterwarnings("ignore", message=message)
