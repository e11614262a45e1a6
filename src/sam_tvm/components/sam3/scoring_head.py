"""The scoring head: query against pooled prompt, and the last refinement of the boxes."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """Queries, reference boxes and prompt to the last layer's logits and boxes (cxcywh)."""
    layers, queries, width = config.decoder_layers, config.num_queries, config.d_model
    return Signature(
        inputs=(
            TensorSpec("hs", (layers, "B", queries, width)),
            TensorSpec("reference_boxes", (layers, "B", queries, 4), kind="boxes"),
            TensorSpec("prompt", ("T", "B", width)),
            TensorSpec("prompt_mask", ("B", "T"), "bool", "prompt_mask"),
        ),
        outputs=(
            TensorSpec("pred_logits", ("B", queries, 1)),
            TensorSpec("pred_boxes", ("B", queries, 4)),
        ),
    )


COMPONENT = Component(
    name="scoring_head",
    model="sam3",
    reference="sam3.model.model_misc.DotProductScoring",
    modules=("dot_prod_scoring", "transformer.decoder.bbox_embed"),
    call=calls.scoring_head,
    signature=signature,
    cases=(Case("two_prompts", {"T": 39, "B": 2}), Case("one_prompt", {"T": 35, "B": 1})),
)
