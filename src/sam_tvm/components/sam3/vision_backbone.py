"""The image encoder: a ViT with windowed and global blocks, and a simple feature pyramid."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3Config
from sam_tvm.models.sam3 import calls


def signature(config: Sam3Config) -> Signature:
    """Pixels to four levels, finest first, and their sine position encodings."""
    size, width = config.image_size, config.d_model
    sides = [config.grid_size * 4, config.grid_size * 2, config.grid_size, config.grid_size // 2]
    levels = [
        TensorSpec(f"{name}_{i}", (1, width, side, side))
        for name in ("fpn", "pos")
        for i, side in enumerate(sides)
    ]
    return Signature(
        inputs=(TensorSpec("pixels", (1, 3, size, size), kind="pixels"),), outputs=tuple(levels)
    )


COMPONENT = Component(
    name="vision_backbone",
    model="sam3",
    reference="sam3.model.necks.Sam3DualViTDetNeck",
    modules=("backbone.vision_backbone",),
    call=calls.vision_backbone,
    signature=signature,
    cases=(Case("picture"),),
    patches=("real_rope", "position_cache"),
)
