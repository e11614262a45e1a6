"""The decoder: object queries with box refinement, log-scaled box attention and presence."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """Fused image tokens and the prompt to every layer's queries, boxes (cxcywh), presence."""
    image = (config.num_tokens, "B", config.d_model)
    layers, queries = config.decoder_layers, config.num_queries
    return Signature(
        inputs=(
            TensorSpec("memory", image),
            TensorSpec("pos", image),
            TensorSpec("prompt", ("T", "B", config.d_model)),
            TensorSpec("prompt_mask", ("B", "T"), "bool", "prompt_mask"),
        ),
        outputs=(
            TensorSpec("hs", (layers, "B", queries, config.d_model)),
            TensorSpec("reference_boxes", (layers, "B", queries, 4)),
            TensorSpec("presence_logits", (layers, "B", 1)),
        ),
    )


COMPONENT = Component(
    name="transformer_decoder",
    model="sam3",
    reference="sam3.model.decoder.TransformerDecoder",
    modules=("transformer.decoder",),
    call=calls.transformer_decoder,
    signature=signature,
    cases=(Case("two_prompts", {"T": 39, "B": 2}), Case("one_prompt", {"T": 35, "B": 1})),
    patches=("static_box_attention",),
)
