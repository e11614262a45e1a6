"""The sparse structure's generator: one evaluation of the velocity of shape and pose latents."""

from sam_tvm.components.base import Case, Component, Signature, TensorSpec
from sam_tvm.models.presets import Sam3dConfig
from sam_tvm.models.sam3d import calls
from sam_tvm.models.sam3d.latents import POSE_LATENTS


def signature(config: Sam3dConfig) -> Signature:
    """Latents, time and step (scaled by 1000) and condition tokens to a velocity per latent."""
    shape = (1, config.ss_resolution**3, config.latent_channels)
    latents = {"shape": shape} | {name: (1, 1, size) for name, size in POSE_LATENTS.items()}
    return Signature(
        inputs=(
            *(TensorSpec(name, size) for name, size in latents.items()),
            TensorSpec("t", (1,), kind="time"),
            TensorSpec("d", (1,), kind="time"),
            TensorSpec("cond", (1, config.ss_condition_tokens, config.dino_width)),
        ),
        outputs=tuple(TensorSpec(f"{name}_velocity", size) for name, size in latents.items()),
    )


COMPONENT = Component(
    name="ss_generator",
    model="sam3d",
    reference="sam3d_objects.model.backbone.tdfy_dit.models.mot_sparse_structure_flow."
    "SparseStructureFlowTdfyWrapper",
    modules=("ss_generator",),
    call=calls.ss_generator,
    signature=signature,
    cases=(Case("evaluation"),),
)
