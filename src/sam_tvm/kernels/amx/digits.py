"""float32 as three digits of 8 bits with a scale for a group of numbers: fixed point, for int8.

A group is a row of Y, or a column of X, in a pass of the sum. Its largest magnitude m becomes
LARGEST, and each number the nearest integer of 24 bits, v = 2**16 d0 + 2**8 d1 + d2 with digits
from -128 to 127; products of digits are summed in int32 without an error. Of the nine the six that
count are computed, one sum for each power of 2**8 (a level). The idea is Ozaki's (Ozaki, Ogita,
Oishi, Rump: "Error-free transformations of matrix multiplication", 2012; on int8: Ootomo, Ozaki,
Yokota, "DGEMM on integer matrix multiplication unit", 2023).

An error is one of the group's largest number, about 2**-24 of it, where a float32 product errs by
that of each sum on its way: alike unless a group has a number far above the others that meets next
to nothing in the other operand.
"""

from __future__ import annotations

from sam_tvm.kernels.amx.instructions import TILE
from sam_tvm.kernels.amx.parts import Product

DIGITS = 3
TERMS = 4 * TILE  # of a tile: words of four
LARGEST = 127 << 16  # of v: digits of 127, 0 and 0
# Which digits meet, by the power of 2**-8 that their product stands for.
LEVELS: tuple[tuple[Product, ...], ...] = tuple(
    tuple((i, level - i) for i in range(level + 1)) for level in range(DIGITS)
)
