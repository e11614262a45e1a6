"""Names of the packed functions that converters leave in a Relax module for kernels to replace.

There are no such functions: a pass of `sam_tvm.kernels` replaces each call, or writes it out.
"""

from __future__ import annotations

GATHERED_PRODUCT = "sam_tvm.gathered_product"
WINDOWED_ATTENTION = "sam_tvm.windowed_attention"
