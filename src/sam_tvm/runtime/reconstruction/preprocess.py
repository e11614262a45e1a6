"""Picture, mask and pointmap: to the tensors that the condition embedders take.

Follows `PreProcessor._process_image_mask_pointmap_mess` of
`sam3d_objects/data/dataset/tdfy/preprocessor.py` with the transforms that the checkpoint's
`pipeline.yaml` lists. Both embedders take the same tensors; the second takes no pointmap.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from sam_tvm.runtime.errors import MaskError
from sam_tvm.runtime.image import to_rgb_array
from sam_tvm.runtime.reconstruction import pointmap as pointmaps
from sam_tvm.runtime.reconstruction.framing import frame, object_box, pad_to_square
from sam_tvm.runtime.reconstruction.resample import resize_bilinear, resize_nearest
from sam_tvm.runtime.reconstruction.settings import PreprocessSettings

_NAN = float("nan")


@dataclass(frozen=True)
class Conditions:
    """What the condition embedders take, and what places the result in the scene.

    S is the settings' size. All are float32.

    Attributes:
        image: (1, 3, S, S), the object's crop, in [0, 1].
        mask: (1, 1, S, S), of the crop, 0 or 1.
        rgb_image: (1, 3, S, S), the whole picture, padded to a square with 0.
        rgb_image_mask: (1, 1, S, S), of the whole picture.
        pointmap: (1, 3, S, S), normalised, of the crop; NaN where there is no depth.
        rgb_pointmap: (1, 3, S, S), of the whole picture.
        pointmap_scale: (3,), see `pointmap.NormalisedPointmap`.
        pointmap_shift: (3,).

    """

    image: np.ndarray
    mask: np.ndarray
    rgb_image: np.ndarray
    rgb_image_mask: np.ndarray
    pointmap: np.ndarray
    rgb_pointmap: np.ndarray
    pointmap_scale: np.ndarray
    pointmap_shift: np.ndarray

    def slat_inputs(self) -> dict[str, np.ndarray]:
        """Return the inputs of slat_condition_embedder."""
        return {
            "image": self.image,
            "rgb_image": self.rgb_image,
            "mask": self.mask,
            "rgb_image_mask": self.rgb_image_mask,
        }

    def ss_inputs(self) -> dict[str, np.ndarray]:
        """Return the inputs of ss_condition_embedder."""
        return {
            **self.slat_inputs(),
            "pointmap": self.pointmap,
            "rgb_pointmap": self.rgb_pointmap,
        }


def preprocess(
    image: Image.Image | np.ndarray,
    mask: Image.Image | np.ndarray,
    pointmap: np.ndarray,
    settings: PreprocessSettings,
) -> Conditions:
    """Crop, pad and resize picture, mask and pointmap together.

    Args:
        image: as `image.to_rgb_array` takes it, H x W.
        mask: as `to_mask` takes it, of the picture's size.
        pointmap: as `pointmap.to_planes` takes it.
        settings: how the object is framed.

    Raises:
        ImageError: the picture cannot be used.
        MaskError: the mask is empty, tiny, or of another size or type.
        PointmapError: the pointmap has NaN, another shape, or no depth at the object.

    """
    pixels = to_rgb_array(image)
    height, width = pixels.shape[:2]
    inside = to_mask(mask, height, width)
    box = object_box(inside, settings.box_size_factor)
    normalised = pointmaps.normalise(pointmaps.to_planes(pointmap, height, width), inside)

    # Divided in float64 and rounded, as the reference does; 256 levels, so by a table.
    levels = (np.arange(256) / 255).astype(np.float32)
    colours = levels[pixels.transpose(2, 0, 1)]
    marks = inside[None].astype(np.float32)
    margin = settings.padding_factor
    return Conditions(
        image=_colours(frame(colours, box, margin, 0.0), settings.size),
        mask=_samples(frame(marks, box, margin, 0.0), settings.size),
        rgb_image=_colours(colours, settings.size),
        rgb_image_mask=_samples(marks, settings.size),
        pointmap=_samples(frame(normalised.points, box, margin, _NAN), settings.size),
        rgb_pointmap=_samples(normalised.points, settings.size),
        pointmap_scale=normalised.scale,
        pointmap_shift=normalised.shift,
    )


def to_mask(mask: Image.Image | np.ndarray, height: int, width: int) -> np.ndarray:
    """Turn a mask into an (H, W) bool array.

    Args:
        mask: a Pillow picture, in which transparency marks the background if there is any, else
            black does; or an (H, W) array of booleans or numbers, in which 0 does.
        height: of the picture, pixels.
        width: of the picture, pixels.

    Raises:
        MaskError: another size than the picture's, an array of another shape or type, or empty.

    """
    marks = _marks(mask)
    if marks.shape != (height, width):
        raise MaskError(
            f"the mask is {marks.shape[1]} x {marks.shape[0]}, the picture {width} x {height}: "
            "they must be of one size"
        )
    if not marks.any():
        raise MaskError("the mask is empty: it must mark the object with values above 0")
    return marks


def _marks(mask: Image.Image | np.ndarray) -> np.ndarray:
    if isinstance(mask, Image.Image):
        try:
            if mask.has_transparency_data:
                alpha = np.asarray(mask.convert("RGBA"))[:, :, 3]
                if alpha.min(initial=255) < 255:
                    return alpha > 0
            grey = mask if mask.mode in ("1", "I", "F") or mask.mode.startswith("I;16") else None
            return np.asarray(grey or mask.convert("L")) > 0
        except (OSError, ValueError) as error:  # a lazily opened file that is damaged
            raise MaskError(f"the mask cannot be read: {error}") from error
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in "buif":
        kind = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask)
        raise MaskError(
            f"a mask must be a picture or an array of shape (height, width), not {kind}"
        )
    return mask > 0


def _colours(planes: np.ndarray, size: int) -> np.ndarray:
    return resize_bilinear(pad_to_square(planes), size, size)[None]


def _samples(planes: np.ndarray, size: int) -> np.ndarray:
    return resize_nearest(pad_to_square(planes), size, size)[None]
