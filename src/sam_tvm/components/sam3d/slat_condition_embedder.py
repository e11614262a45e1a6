"""The second stage's condition: DINOv2 on pictures and masks, registers included."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import calls


def signature(config: Sam3dConfig) -> Signature:
    """Each modality cropped to the object and whole, to one sequence of condition tokens."""
    size = config.image_size
    picture, mask = (1, 3, size, size), (1, 1, size, size)
    return Signature(
        inputs=(
            TensorSpec("image", picture, kind="picture"),
            TensorSpec("rgb_image", picture, kind="picture"),
            TensorSpec("mask", mask, kind="mask"),
            TensorSpec("rgb_image_mask", mask, kind="mask"),
        ),
        outputs=(TensorSpec("cond", (1, config.slat_condition_tokens, config.dino_width)),),
    )


COMPONENT = Component(
    name="slat_condition_embedder",
    model="sam3d",
    reference="sam3d_objects.model.backbone.dit.embedder.embedder_fuser.EmbedderFuser",
    modules=("slat_condition_embedder",),
    call=calls.slat_condition_embedder,
    signature=signature,
    cases=(Case("object"),),
    patches=("dino_pictures",),
)
