"""Pictures from files and arrays."""

import numpy as np
import pytest
import torch
from PIL import Image

from sam_tvm.runtime.errors import ImageError
from sam_tvm.runtime.image import exif_orientation, open_image, preprocess, to_rgb_array

HALF = (0.5, 0.5, 0.5)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(height + width)
    return rng.integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()


def test_preprocessing_equals_the_processors_transform(transforms):
    v2 = transforms
    transform = v2.Compose(
        [
            v2.ToDtype(torch.uint8, scale=True),
            v2.Resize(size=(224, 224)),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean=list(HALF), std=list(HALF)),
        ]
    )
    picture = noise(301, 257)
    expected = transform(v2.functional.to_image(Image.fromarray(picture))).unsqueeze(0).numpy()
    ours = preprocess(picture, 224, HALF, HALF)
    assert ours.dtype == np.float32
    np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pictures_of_any_8_bit_mode_become_what_pillow_makes_of_them(mode):
    picture = Image.fromarray(noise(9, 11)).convert(mode)
    np.testing.assert_array_equal(to_rgb_array(picture), np.asarray(picture.convert("RGB")))


def test_16_bit_greys_keep_their_high_byte(tmp_path):
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    picture = to_rgb_array(open_image(tmp_path / "grey.png"))
    np.testing.assert_array_equal(picture, np.repeat((grey >> 8)[..., None], 3, axis=2))


def test_pictures_of_unknown_range_are_refused():
    with pytest.raises(ImageError, match="32-bit"):
        to_rgb_array(Image.fromarray(np.ones((4, 4), np.float32)))


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((3, 4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_arrays_of_another_kind_are_refused(array):
    with pytest.raises(ImageError, match="uint8 of shape"):
        to_rgb_array(array)


def test_what_is_no_picture_is_refused():
    with pytest.raises(ImageError, match="not"):
        to_rgb_array("photo.jpg")


@pytest.mark.parametrize("size", [(1, 1), (20000, 10), (10, 20000)])
def test_extreme_sizes_work(tmp_path, size):
    picture = noise(*size).reshape(*size, 3)
    Image.fromarray(picture).save(tmp_path / "p.png")
    read = to_rgb_array(open_image(tmp_path / "p.png"))
    np.testing.assert_array_equal(read, picture)
    assert preprocess(read, 224, HALF, HALF).shape == (1, 3, 224, 224)


def test_orientation_is_applied_only_when_asked_for(tmp_path):
    picture = Image.fromarray(noise(20, 30))
    exif = picture.getexif()
    exif[0x0112] = 6  # turned by 90 degrees
    picture.save(tmp_path / "turned.png", exif=exif)
    stored = open_image(tmp_path / "turned.png")
    assert (stored.size, exif_orientation(stored)) == ((30, 20), 6)
    upright = open_image(tmp_path / "turned.png", upright=True)
    assert (upright.size, exif_orientation(upright)) == ((20, 30), 1)
    np.testing.assert_array_equal(np.asarray(upright), np.rot90(np.asarray(picture), -1))


@pytest.mark.parametrize(
    ("data", "message"), [(b"", "empty"), (b"just some text\n", "no picture format")]
)
def test_files_that_are_no_pictures_are_refused_in_one_line(tmp_path, data, message):
    path = tmp_path / "photo.png"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as caught:
        open_image(path)
    assert "\n" not in str(caught.value)


def test_pictures_too_large_to_decode_safely_are_refused(tmp_path, monkeypatch):
    Image.fromarray(noise(64, 64)).save(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2047)
    with pytest.raises(ImageError, match="million pixels"):
        open_image(tmp_path / "photo.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2049)  # Pillow warns, up to twice its limit
    assert open_image(tmp_path / "photo.png").size == (64, 64)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "tiff"])
@pytest.mark.parametrize("share", [0.2, 0.8])
def test_truncated_pictures_are_refused(tmp_path, suffix, share):
    path = tmp_path / f"photo.{suffix}"
    Image.fromarray(noise(64, 64)).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(ImageError, match="cannot be read"):
        open_image(path)


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(ImageError, match="no picture at"):
        open_image(tmp_path / "photo.jpg")
    with pytest.raises(ImageError, match="is a folder"):
        open_image(tmp_path)
