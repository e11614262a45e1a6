"""The sparse structure's decoder: a latent cube to the logits of an occupancy grid."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import calls


def signature(config: Sam3dConfig) -> Signature:
    """Latents on a coarse cube to logits on the whole grid; above 0 is occupied."""
    coarse, fine = (config.ss_resolution,) * 3, (config.resolution,) * 3
    return Signature(
        inputs=(TensorSpec("latent", (1, config.latent_channels, *coarse)),),
        outputs=(TensorSpec("occupancy", (1, 1, *fine)),),
    )


COMPONENT = Component(
    name="ss_decoder",
    model="sam3d",
    reference="sam3d_objects.model.backbone.tdfy_dit.models.sparse_structure_vae."
    "SparseStructureDecoderTdfyWrapper",
    modules=("ss_decoder",),
    call=calls.ss_decoder,
    signature=signature,
    cases=(Case("latent"),),
)
