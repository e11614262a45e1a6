"""The compile pipeline: the lists of passes from an imported Relax module to VM code."""

from __future__ import annotations

from dataclasses import replace

import tvm
from tvm import relax
from tvm.relax import transform

from sam_tvm.kernels import (
    amx,
    attention,
    convolutions,
    default,
    gathered,
    gpu,
    neighbours,
    perceptrons,
    rotary,
    sampling,
    winograd,
)
from sam_tvm.kernels.graph import (
    activations,
    association,
    broadcasts,
    concatenations,
    packing,
    panels,
    recomputation,
    slice_order,
)
from sam_tvm.pipeline.shape_order import order_shapes
from sam_tvm.tuning import apply


def placement(target: tvm.target.Target, precision: str, int8: bool = False) -> tvm.transform.Pass:
    """Where the kernels go: Relax operators to the forms that they read.

    Weights are rearranged, and with `int8` those of matrix products rounded, by operators on
    parameters alone, which `lifting` takes out afterwards.
    """
    form = panels.panels_for(target, precision)
    return tvm.transform.Sequential(
        [
            # What is computed twice, as a permutation for queries and for keys, is computed once.
            transform.EliminateCommonSubexpr(),
            # Small operands are permuted, and not what they are broadcast to.
            broadcasts.permute_before_broadcast(),
            # What is computed goes to its place in a concatenation at once.
            concatenations.concatenate_before_reshape(),
            # Parts of a permuted result are permuted one by one, where they are read.
            slice_order.slice_before_permutation(),
            # Points and boxes of a picture read it where its channels lie side by side.
            sampling.place(target),
            # Convolutions to channels last, many of them to matrix products.
            convolutions.channels_last(
                form,
                # A weight of int8 would be float32 when transformed, and larger. In bfloat16,
                # matrix tiles do all of the direct form's products in less time.
                winograd=not int8 and not (form.bfloat16 and form.tiles),
            ),
            # Those with a 3x3 weight by minimal filtering, where that is faster.
            winograd.place(target, precision),
            # Few rows meet a weight, and not the many that they are compared with.
            association.multiply_few_rows_first(),
            attention.project_few_queries(),
            # Queries and keys turned where their product stores them.
            rotary.place(target),
            # Products beside attention in windows leave the order of rows to attention.
            attention.keep_row_order(),
            # Attention without a score matrix.
            attention.place(target, precision),
            attention.place_windows(target, precision),
            # Perceptrons of few inputs and outputs without what is hidden in memory.
            perceptrons.place(target),
            # Sparse convolutions without gathered rows.
            gathered.place(target),
            # What meets next to nothing in a weight takes no digits from its neighbours.
            amx.balance_terms(replace(form, int8=int8)),
            # Products with a weight read it in the order of the kernel's tiles.
            packing.pack_weights(replace(form, int8=int8)),
            # Products of activations read both where they lie, rounded in bfloat16.
            activations.place(form),
            # Norms read their input again instead of a copy less its mean.
            recomputation.recompute_differences(),
        ],
        name="sam_tvm.placement",
    )


def stock_placement() -> tvm.transform.Pass:
    """What TVM's own pipeline needs: operators that it cannot lower, written out."""
    return tvm.transform.Sequential(
        [attention.decompose(), gathered.decompose()], name="sam_tvm.stock_placement"
    )


def device_placement(target: tvm.target.Target, precision: str) -> tvm.transform.Pass:
    """What a GPU's schedules need: plain operators alone, in its precision and of types it has.

    What stays whole for a kernel of a CPU is written out.
    """
    narrow = [gpu.float16_products()] if precision == "float16" else []
    return tvm.transform.Sequential(
        [stock_placement(), *gpu.narrow_types(target), *narrow], name="sam_tvm.device_placement"
    )


def loops() -> list[tvm.transform.Pass]:
    """From Relax operators to functions of loops that nobody has scheduled yet."""
    return [
        # What TVM writes as calls of its own library functions.
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        # Relax operators to loops, loops fused with their neighbours.
        transform.LegalizeOps(),
        transform.AnnotateTIROpPattern(),
        neighbours.join_products(),
        transform.FoldConstant(),
        transform.FuseOps(),
        transform.FuseTIR(),
        transform.DeadCodeElimination(),
        # Changes of shape alone to views, before scheduling hides their pattern.
        transform.RewriteDataflowReshape(),
        transform.DeadCodeElimination(),
    ]


def pipeline(target: tvm.target.Target, tuned: bool = True) -> tvm.transform.Pass:
    """The passes for `target`, phase by phase; a CPU's loops are ours, a GPU's are TVM's.

    With `tuned`, records of such a machine are used where there are any.
    """
    scheduling = default.passes if target.kind.name == "llvm" else gpu.passes
    return tvm.transform.Sequential(
        [
            *loops(),
            # Loops scheduled for the target: as found on such a machine, else by a rule.
            *(apply.passes(target) if tuned else []),
            *scheduling(target),
            # Relax to the virtual machine: memory, shapes, calls.
            transform.ToNonDataflow(),
            transform.RemovePurityChecking(),
            transform.CallTIRRewrite(),
            transform.StaticPlanBlockMemory(),
            transform.LowerAllocTensor(),
            transform.KillAfterLastUse(),
            transform.LowerRuntimeBuiltin(),
            transform.ComputePrimValue(),
            transform.VMShapeLower(),
            order_shapes(),
            transform.AttachGlobalSymbol(),
        ],
        name="sam_tvm",
    )
