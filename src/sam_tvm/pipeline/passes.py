"""The compile pipeline: the one list of passes from an imported Relax module to VM code."""

from __future__ import annotations

import tvm
from tvm import relax
from tvm.relax import transform

from sam_tvm.kernels import default


def pipeline(target: tvm.target.Target) -> tvm.transform.Pass:
    """The passes for `target`, phase by phase."""
    return tvm.transform.Sequential(
        [
            # What TVM writes as calls of its own library functions.
            relax.backend.DispatchSampling(),
            relax.backend.DispatchSortScan(),
            # Relax operators to loops, loops fused with their neighbours.
            transform.LegalizeOps(),
            transform.AnnotateTIROpPattern(),
            transform.FoldConstant(),
            transform.FuseOps(),
            transform.FuseTIR(),
            transform.DeadCodeElimination(),
            # Loops scheduled for the target.
            *default.passes(target),
            # Relax to the virtual machine: memory, shapes, calls.
            transform.RewriteDataflowReshape(),
            transform.ToNonDataflow(),
            transform.RemovePurityChecking(),
            transform.CallTIRRewrite(),
            transform.StaticPlanBlockMemory(),
            transform.LowerAllocTensor(),
            transform.KillAfterLastUse(),
            transform.LowerRuntimeBuiltin(),
            transform.ComputePrimValue(),
            transform.VMShapeLower(),
            transform.AttachGlobalSymbol(),
        ],
        name="sam_tvm",
    )
