"""The first stage's condition: DINOv2 on pictures and masks, a patch embedding of pointmaps."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import calls


def signature(config: Sam3dConfig) -> Signature:
    """Each modality cropped to the object and whole, to one sequence of condition tokens."""
    size = config.image_size

    def views(cropped: str, whole: str, channels: int, kind: str) -> tuple[TensorSpec, TensorSpec]:
        shape = (1, channels, size, size)
        return TensorSpec(cropped, shape, kind=kind), TensorSpec(whole, shape, kind=kind)

    return Signature(
        inputs=(
            *views("image", "rgb_image", 3, "picture"),
            *views("mask", "rgb_image_mask", 1, "mask"),
            *views("pointmap", "rgb_pointmap", 3, "pointmap"),
        ),
        outputs=(TensorSpec("cond", (1, config.ss_condition_tokens, config.dino_width)),),
    )


COMPONENT = Component(
    name="ss_condition_embedder",
    model="sam3d",
    reference="sam3d_objects.model.backbone.dit.embedder.embedder_fuser.EmbedderFuser",
    modules=("ss_condition_embedder",),
    call=calls.ss_condition_embedder,
    signature=signature,
    cases=(Case("object"),),
    patches=("dino_pictures", "point_patches"),
)
