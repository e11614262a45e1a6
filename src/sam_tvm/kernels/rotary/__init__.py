"""Rotary embeddings: queries and keys are turned where the product that makes them stores them."""

from sam_tvm.kernels.rotary.placement import place

__all__ = ["place"]
