"""The text encoder: a causal CLIP-like transformer and a projection to the model width."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """Token ids of P prompts to features (sequence first) and their padding mask."""
    length, width = config.context_length, config.d_model
    return Signature(
        inputs=(TensorSpec("token_ids", ("P", length), "int64", "tokens"),),
        outputs=(
            TensorSpec("language_features", (length, "P", width)),
            TensorSpec("language_mask", ("P", length), "bool"),
        ),
    )


COMPONENT = Component(
    name="text_encoder",
    model="sam3",
    reference="sam3.model.text_encoder_ve.VETextEncoder",
    modules=("backbone.language_backbone",),
    call=calls.text_encoder,
    signature=signature,
    cases=(Case("two_prompts", {"P": 2}), Case("one_prompt", {"P": 1}), Case("five", {"P": 5})),
)
