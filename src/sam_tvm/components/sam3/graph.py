"""SAM3's order and wiring: the three functions that the runtime calls.

``encode_image`` is the VL combiner: scalp=1 drops the coarsest level, and of the positions only
the grid level's is used (``num_feature_levels=1``). ``ground`` is ``Sam3Image.forward_grounding``.
"""

from sam_tvm.components.base import TensorSpec
from sam_tvm.components.graph import Call, ComposedFunction, Concat, Last, Tokens
from sam_tvm.components.sam3 import geometry_encoder, text_encoder, vision_backbone
from sam_tvm.models.presets import Sam3Config

LEVELS = tuple(f"fpn_{i}" for i in range(4))
POSITIONS = tuple(f"pos_{i}" for i in range(4))
GEOMETRY = (
    "points",
    "points_mask",
    "points_labels",
    "boxes",
    "boxes_mask",
    "boxes_labels",
)


def functions(config: Sam3Config) -> tuple[ComposedFunction, ...]:
    """The composed functions at a configuration."""
    image = vision_backbone.signature(config)
    levels = {spec.name: spec for spec in image.outputs}
    geometry = {spec.name: spec for spec in geometry_encoder.signature(config).inputs}
    text_length, width = config.context_length, config.d_model
    return (
        ComposedFunction(
            name="encode_image",
            inputs=image.inputs,
            steps=(Call("vision_backbone", ("pixels",), LEVELS + POSITIONS),),
            outputs=("fpn_0", "fpn_1", "fpn_2", "pos_2"),
        ),
        ComposedFunction(
            name="encode_text",
            inputs=text_encoder.signature(config).inputs,
            steps=(Call("text_encoder", ("token_ids",), ("language_features", "language_mask")),),
            outputs=("language_features", "language_mask"),
        ),
        ComposedFunction(
            name="ground",
            inputs=(
                *(levels[name] for name in ("fpn_0", "fpn_1", "fpn_2", "pos_2")),
                TensorSpec("language_features", (text_length, "B", width)),
                TensorSpec("language_mask", ("B", text_length), "bool"),
                *(geometry[name] for name in GEOMETRY),
            ),
            steps=(
                Tokens("img_feats", "fpn_2", batch="B"),
                Tokens("img_pos", "pos_2", batch="B"),
                Call(
                    "geometry_encoder",
                    (*GEOMETRY, "img_feats", "img_pos"),
                    ("geo_feats", "geo_mask"),
                ),
                Concat("prompt", ("language_features", "geo_feats"), axis=0),
                Concat("prompt_mask", ("language_mask", "geo_mask"), axis=1),
                Call(
                    "transformer_encoder",
                    ("img_feats", "img_pos", "prompt", "prompt_mask"),
                    ("memory",),
                ),
                Call(
                    "transformer_decoder",
                    ("memory", "img_pos", "prompt", "prompt_mask"),
                    ("hs", "reference_boxes", "presence_logits"),
                ),
                Call(
                    "scoring_head",
                    ("hs", "reference_boxes", "prompt", "prompt_mask"),
                    ("pred_logits", "pred_boxes"),
                ),
                Call(
                    "segmentation_head",
                    ("fpn_0", "fpn_1", "fpn_2", "hs", "memory", "prompt", "prompt_mask"),
                    ("pred_masks", "semantic_seg"),
                ),
                Last("presence_logit", "presence_logits"),
            ),
            outputs=(
                "pred_logits",
                "pred_boxes",
                "pred_masks",
                "semantic_seg",
                "presence_logit",
            ),
        ),
    )
