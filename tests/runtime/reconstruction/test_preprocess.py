"""The conditions are those that the reference's pipeline makes of the same files."""

from functools import partial
from types import SimpleNamespace
from typing import Union

import numpy as np
import pytest
import torch
from PIL import Image

from sam_tvm.runtime.errors import MaskError
from sam_tvm.runtime.reconstruction.preprocess import preprocess, to_mask
from sam_tvm.runtime.reconstruction.settings import PreprocessSettings

SIZES = ((60, 90), (90, 60), (75, 75), (150, 131))


@pytest.fixture(scope="module")
def pipeline(reference):
    """Make the pipeline's tensors with the transforms of the published `pipeline.yaml`."""
    from torchvision.transforms import Compose, InterpolationMode, Resize

    shared = {"np": np, "torch": torch, "Union": Union, "Image": Image}
    methods = {
        **reference.take(
            "pipeline/inference_pipeline.py",
            *("image_to_float", "_apply_transform"),
            **shared,
        ),
        **reference.take(
            "pipeline/inference_pipeline_pointmap.py",
            "preprocess_image",
            get_mask=reference.transforms.get_mask,
            **shared,
        ),
    }
    square = reference.padding.pad_to_square_centered
    crop = reference.transforms.crop_around_mask_with_padding

    def make(made, settings: PreprocessSettings, with_pointmap: bool):
        nearest = [square, Resize(settings.size, InterpolationMode.NEAREST)]
        framing = partial(
            crop,
            box_size_factor=settings.box_size_factor,
            padding_factor=settings.padding_factor,
        )
        preprocessor = reference.preprocessor.PreProcessor(
            img_transform=Compose([square, Resize(settings.size)]),
            mask_transform=Compose(nearest),
            pointmap_transform=Compose(nearest),
            img_mask_joint_transform=[framing],
            img_mask_pointmap_joint_transform=[
                reference.transforms.resize_all_to_same_size,
                framing,
            ],
            normalize_pointmap=True,
            pointmap_normalizer=reference.transforms.ObjectCentricSSI(
                use_scene_scale=True, allow_scale_and_shift_override=True
            ),
        )
        self = SimpleNamespace(
            device="cpu",
            image_to_float=partial(methods["image_to_float"], None),
            _apply_transform=partial(methods["_apply_transform"], None),
        )
        rgba = np.concatenate([made.image, made.mask[:, :, None] * np.uint8(255)], axis=2)
        points = torch.from_numpy(made.pointmap).permute(2, 0, 1) if with_pointmap else None
        return methods["preprocess_image"](self, rgba, preprocessor, points)

    return make


@pytest.mark.parametrize(
    "settings",
    [PreprocessSettings(), PreprocessSettings(112), PreprocessSettings(56, 1.0, 0.1)],
    ids=["published", "tiny", "with a margin"],
)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_conditions_equal_the_reference(pipeline, scene, size, settings):
    made = scene(*size, seed=size[0])
    expected = pipeline(made, settings, with_pointmap=True)
    conditions = preprocess(made.image, made.mask, made.pointmap, settings)
    for name, value in conditions.ss_inputs().items():
        wanted = expected[name].numpy()
        assert value.shape == wanted.shape and value.dtype == np.float32
        if "mask" in name:
            np.testing.assert_array_equal(value, wanted, err_msg=name)
        np.testing.assert_allclose(value, wanted, rtol=1e-6, atol=2e-6, err_msg=name)
    for name in ("pointmap_scale", "pointmap_shift"):
        np.testing.assert_array_equal(getattr(conditions, name), expected[name][0].numpy())


def test_the_second_embedder_takes_the_same_pictures(pipeline, scene):
    made = scene(60, 90, seed=1)
    settings = PreprocessSettings(112)
    expected = pipeline(made, settings, with_pointmap=False)
    inputs = preprocess(made.image, made.mask, made.pointmap, settings).slat_inputs()
    assert set(inputs) == set(expected)
    for name, value in inputs.items():
        np.testing.assert_allclose(value, expected[name].numpy(), atol=1e-6, err_msg=name)


def test_nothing_that_is_given_is_changed(scene):
    made, kept = scene(60, 90, seed=1), scene(60, 90, seed=1)
    preprocess(made.image, made.mask, made.pointmap, PreprocessSettings(56))
    for name in ("image", "mask", "pointmap"):
        np.testing.assert_array_equal(getattr(made, name), getattr(kept, name))


def masks(inside: np.ndarray) -> dict[str, Image.Image | np.ndarray]:
    """Say the same mask in all ways that are taken."""
    grey = Image.fromarray(inside.astype(np.uint8) * 200)
    colour = Image.new("RGB", grey.size, (9, 99, 200))
    cut_out = colour.copy()
    cut_out.putalpha(grey)
    return {
        "bool": inside,
        "uint8": inside.astype(np.uint8),
        "float": inside.astype(np.float32),
        "grey": grey,
        "one bit": Image.fromarray(inside),
        "16 bits": Image.fromarray(inside.astype(np.uint16) * 300),
        "32 bits": Image.fromarray(inside.astype(np.int32) * 3),
        "palette": grey.convert("P"),
        "colours": grey.convert("RGB"),
        "transparent": cut_out,
        "opaque": grey.convert("RGBA"),
    }


def test_masks_of_all_kinds_mean_the_same(scene):
    inside = scene(20, 30, seed=0).mask
    for kind, mask in masks(inside).items():
        np.testing.assert_array_equal(to_mask(mask, 20, 30), inside, err_msg=kind)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.zeros((20, 30), bool), "empty"),
        (Image.new("L", (30, 20)), "empty"),
        (np.ones((30, 20), bool), "the mask is 20 x 30, the picture 30 x 20"),
        (np.ones((20, 30, 1), bool), "an array of shape"),
        (np.full((20, 30), "x"), "an array of shape"),
        ("mask.png", "an array of shape"),
    ],
    ids=["empty", "black", "size", "shape", "type", "path"],
)
def test_a_mask_that_does_not_fit_is_refused(mask, message):
    with pytest.raises(MaskError, match=message) as caught:
        to_mask(mask, 20, 30)
    assert "\n" not in str(caught.value)
