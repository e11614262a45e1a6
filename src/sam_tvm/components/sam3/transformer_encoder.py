"""The fusion encoder: image tokens attend to themselves and to the prompt."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """Image tokens and T prompt tokens of B prompts to fused image tokens."""
    image = (config.num_tokens, "B", config.d_model)
    return Signature(
        inputs=(
            TensorSpec("src", image),
            TensorSpec("pos", image),
            TensorSpec("prompt", ("T", "B", config.d_model)),
            TensorSpec("prompt_mask", ("B", "T"), "bool", "prompt_mask"),
        ),
        outputs=(TensorSpec("memory", image),),
    )


COMPONENT = Component(
    name="transformer_encoder",
    model="sam3",
    reference="sam3.model.encoder.TransformerEncoderFusion",
    modules=("transformer.encoder",),
    call=calls.transformer_encoder,
    signature=signature,
    cases=(Case("two_prompts", {"T": 39, "B": 2}), Case("one_prompt", {"T": 35, "B": 1})),
)
