"""How SAM-3D-Objects' pipeline calls its dense networks: signatures, no arithmetic.

The model is any module that has the network as an attribute of the component's name. Nothing here
imports `sam3d_objects`: it is found through the model.
"""

from __future__ import annotations

from torch import Tensor, nn


def ss_condition_embedder(
    model: nn.Module,
    image: Tensor,
    rgb_image: Tensor,
    mask: Tensor,
    rgb_image_mask: Tensor,
    pointmap: Tensor,
    rgb_pointmap: Tensor,
) -> tuple[Tensor]:
    """``InferencePipeline.embed_condition``'s call in the first stage."""
    tokens = model.ss_condition_embedder(
        image=image,
        rgb_image=rgb_image,
        mask=mask,
        rgb_image_mask=rgb_image_mask,
        pointmap=pointmap,
        rgb_pointmap=rgb_pointmap,
    )
    return (tokens,)


def slat_condition_embedder(
    model: nn.Module, image: Tensor, rgb_image: Tensor, mask: Tensor, rgb_image_mask: Tensor
) -> tuple[Tensor]:
    """``InferencePipeline.embed_condition``'s call in the second stage."""
    tokens = model.slat_condition_embedder(
        image=image, rgb_image=rgb_image, mask=mask, rgb_image_mask=rgb_image_mask
    )
    return (tokens,)


def ss_generator(
    model: nn.Module,
    shape: Tensor,
    rotation: Tensor,
    translation: Tensor,
    scale: Tensor,
    translation_scale: Tensor,
    t: Tensor,
    d: Tensor,
    cond: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """``ShortCut._generate_dynamics``'s call: the velocities of all latents at one time.

    ``rotation`` is the latent that the reference names ``6drotation_normalized``.
    """
    latents = {
        "shape": shape,
        "6drotation_normalized": rotation,
        "translation": translation,
        "scale": scale,
        "translation_scale": translation_scale,
    }
    velocities = model.ss_generator(dict(latents), t, cond, d=d)
    shape, rotation, translation, scale, translation_scale = (velocities[name] for name in latents)
    return shape, rotation, translation, scale, translation_scale


def ss_decoder(model: nn.Module, latent: Tensor) -> tuple[Tensor]:
    """``InferencePipeline.sample_sparse_structure``'s call of the decoder."""
    return (model.ss_decoder(latent),)
