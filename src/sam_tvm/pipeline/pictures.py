"""The pictures of the end-to-end cases: scikit-image's, the drawn one, or a file's."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from sam_tvm.runtime.errors import UnknownNameError
from sam_tvm.scenes.showcase import showcase

DRAWN = "drawn"


def load_picture(name: str) -> Image.Image:
    """The picture `name` (``chelsea``; ``camera:L`` in grey; ``rocket:turned``), or of that file.

    ``drawn`` is `sam_tvm.scenes.showcase`, which the tiny preset's weights were trained for.

    Raises:
        UnknownNameError: if there is neither.
    """
    if Path(name).is_file():
        return Image.open(name)
    if name == DRAWN:
        return Image.fromarray(showcase().image)
    from skimage import data

    function, _, change = name.partition(":")
    if function not in data.__all__:
        raise UnknownNameError(f"there is no picture {name!r}: give a file or a skimage.data name")
    picture = Image.fromarray(getattr(data, function)())
    if change == "turned":
        return picture.transpose(Image.Transpose.ROTATE_90)
    return picture.convert(change) if change else picture
