"""Pictures: from a file or an array to the tensor that the image encoder takes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from sam_tvm.runtime.errors import ImageError
from sam_tvm.runtime.resize import resize_bilinear_uint8

_SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_UNBOUNDED_MODES = ("I", "F")


def open_image(path: str | Path, upright: bool = False) -> Image.Image:
    """Read a picture file completely.

    Args:
        path: a file in any format that Pillow reads; of several frames the first is taken.
        upright: turn the picture as its EXIF orientation says. By default the pixels stay as they
            are stored, which is what `Sam3Processor` is given by ``Image.open``.

    Raises:
        ImageError: missing, unreadable, truncated, no picture, or too large to decode safely.

    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            # Pillow refuses above twice the size at which it starts to warn; that is enough.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                file.load()
                return ImageOps.exif_transpose(file) if upright else file.copy()
    except FileNotFoundError:
        raise ImageError(f"no picture at {path}") from None
    except IsADirectoryError:
        raise ImageError(f"{path} is a folder, not a picture") from None
    except PermissionError:
        raise ImageError(f"no permission to read {path}") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise ImageError(
            f"{path} has more than {limit} million pixels; make it smaller first"
        ) from None
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        reason = "it is empty" if empty else "it is in no picture format that Pillow knows"
        raise ImageError(f"{path} cannot be read as a picture: {reason}") from None
    except MemoryError:
        raise
    except Exception as error:  # decoders raise what they like on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ImageError(f"{path} cannot be read as a picture: {reason}") from error


def exif_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of a picture: 1 (as stored) to 8; 1 where none is given."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def to_rgb_array(image: Image.Image | np.ndarray) -> np.ndarray:
    """Turn a picture into an (H, W, 3) uint8 array.

    Args:
        image: a Pillow picture of any mode, or an (H, W, 3) uint8 array. Transparency is dropped,
            as Pillow's ``convert("RGB")`` does; 16-bit greys keep their high byte, as Pillow's
            readers do for 16-bit colours (``convert`` would saturate everything above 255).

    Raises:
        ImageError: an array of another shape or dtype, a picture without pixels or with 32-bit
            pixels, whose range is not known.

    """
    if isinstance(image, Image.Image):
        return _pillow_to_rgb(image)
    if not isinstance(image, np.ndarray):
        raise ImageError(f"a picture must be a PIL image or a numpy array, not {type(image)}")
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise ImageError(
            "a picture given as an array must be uint8 of shape (height, width, 3), "
            f"not {image.dtype} of shape {image.shape}"
        )
    return np.ascontiguousarray(image)


def _pillow_to_rgb(image: Image.Image) -> np.ndarray:
    if 0 in image.size:
        raise ImageError("the picture has no pixels")
    if image.mode in _UNBOUNDED_MODES:
        raise ImageError(
            f"the picture has 32-bit pixels (mode {image.mode}) of unknown range; "
            "scale it to 8 bits first"
        )
    try:
        if image.mode in _SIXTEEN_BIT_MODES:
            grey = (np.asarray(image) >> 8).astype(np.uint8)
            return np.repeat(grey[:, :, None], 3, axis=2)
        return np.array(image.convert("RGB"))
    except (OSError, ValueError) as error:  # a lazily opened file that is damaged, a rare mode
        raise ImageError(f"the picture cannot be converted to RGB: {error}") from error


def preprocess(
    image: np.ndarray, size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> np.ndarray:
    """Resize to size x size and normalise, as the transform of `Sam3Processor` does.

    Args:
        image: (H, W, 3) uint8.
        size: the side of the square that the image encoder takes, pixels.
        mean: per channel, of values in [0, 1].
        std: per channel.

    Returns:
        (1, 3, size, size) float32, ``(value / 255 - mean) / std``.

    """
    resized = resize_bilinear_uint8(image, size, size)
    # torchvision multiplies by the rounded 1/255, which is not always what dividing by 255 gives.
    levels = np.arange(256, dtype=np.float32) * np.float32(1 / 255)
    pixels = np.empty((1, 3, size, size), np.float32)
    for channel in range(3):
        table = (levels - np.float32(mean[channel])) / np.float32(std[channel])
        np.take(table, resized[:, :, channel], out=pixels[0, channel])
    return pixels
