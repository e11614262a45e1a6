"""The geometry encoder: points and boxes, with pooled image features, to prompt tokens."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """N points and m boxes (slots; masks mark padding) of B prompts to n+m+1 tokens."""
    tokens, width = config.num_tokens, config.d_model
    return Signature(
        inputs=(
            TensorSpec("points", ("n", "B", 2), kind="points"),
            TensorSpec("points_mask", ("B", "n"), "bool", "padding_mask"),
            TensorSpec("points_labels", ("n", "B"), "int64", "labels"),
            TensorSpec("boxes", ("m", "B", 4), kind="boxes"),
            TensorSpec("boxes_mask", ("B", "m"), "bool", "padding_mask"),
            TensorSpec("boxes_labels", ("m", "B"), "int64", "labels"),
            TensorSpec("img_feats", (tokens, "B", width)),
            TensorSpec("img_pos", (tokens, "B", width)),
        ),
        outputs=(
            TensorSpec("geo_feats", ("n+m+1", "B", width)),
            TensorSpec("geo_mask", ("B", "n+m+1"), "bool"),
        ),
    )


COMPONENT = Component(
    name="geometry_encoder",
    model="sam3",
    reference="sam3.model.geometry_encoders.SequenceGeometryEncoder",
    modules=("geometry_encoder",),
    call=calls.geometry_encoder,
    signature=signature,
    cases=(
        Case("points_and_boxes", {"n": 3, "m": 2, "B": 2}),
        Case("one_prompt", {"n": 1, "m": 1, "B": 1}),
        Case("many", {"n": 7, "m": 5, "B": 3}),
    ),
    patches=("concat_padded_sequences", "sequence_length", "batched_boxes"),
)
