"""The segmentation head: a pixel decoder over the pyramid, and a mask for each query."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """Pyramid, queries, fused tokens and prompt to mask logits at four times the grid."""
    width, side = config.d_model, config.grid_size
    fine = side * 4
    return Signature(
        inputs=(
            *(
                TensorSpec(f"fpn_{i}", (1, width, side * f, side * f))
                for i, f in enumerate((4, 2, 1))
            ),
            TensorSpec("hs", (config.decoder_layers, "B", config.num_queries, width)),
            TensorSpec("memory", (config.num_tokens, "B", width)),
            TensorSpec("prompt", ("T", "B", width)),
            TensorSpec("prompt_mask", ("B", "T"), "bool", "prompt_mask"),
        ),
        outputs=(
            TensorSpec("pred_masks", ("B", config.num_queries, fine, fine)),
            TensorSpec("semantic_seg", ("B", 1, fine, fine)),
        ),
    )


COMPONENT = Component(
    name="segmentation_head",
    model="sam3",
    reference="sam3.model.maskformer_segmentation.UniversalSegmentationHead",
    modules=("segmentation_head",),
    call=calls.segmentation_head,
    signature=signature,
    cases=(Case("two_prompts", {"T": 39, "B": 2}), Case("one_prompt", {"T": 35, "B": 1})),
)
