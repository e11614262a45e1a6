"""Products in matrix tiles: Intel's AMX, 16 x 16 sums and 16 x 32 bfloat16 factors an instruction.

bfloat16 builds feed it operands rounded once. float32 builds cut each factor into three bfloat16
parts, which hold all of its 24 bits, and add up the six products of parts that are not below the
last of them: float32 accuracy at a sixth of a rate that is sixteen times the vector unit's.
"""

from sam_tvm.kernels.amx.contraction import emit_contraction, takes

__all__ = ["emit_contraction", "takes"]
