"""Products in matrix tiles: Intel's AMX, 16 x 16 sums of bfloat16 or int8 products an instruction.

bfloat16 builds feed it operands rounded once. float32 builds cut each factor into three parts: of
bfloat16, which hold all of its 24 bits (`parts.py`), or, in long sums of many rows, of int8 with a
scale for a group of numbers (`digits.py`). Six of the nine products of parts count: float32
accuracy at a sixth of a rate that is sixteen times the vector unit's, and with int8 thirty-two.
`balance_terms` prepares a Relax module for digits.
"""

from sam_tvm.kernels.amx.balancing import balance_terms
from sam_tvm.kernels.amx.choice import takes
from sam_tvm.kernels.amx.contraction import emit_contraction

__all__ = ["balance_terms", "emit_contraction", "takes"]
