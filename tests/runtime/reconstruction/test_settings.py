"""What a bundle says of how the networks are run: written and read alike."""

import json
from dataclasses import replace

import pytest

from sam_tvm.models.presets import PRESETS, get_preset
from sam_tvm.models.sam3d.bundled import reconstruction_settings
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.runtime.reconstruction.settings import ReconstructionSettings

RUN = RunSettings(slat_cfg_strength=2.0, ss_inference_steps=12, downsample_ss_dist=0)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_settings_survive_json(preset):
    settings = reconstruction_settings(preset.sam3d, RUN)
    text = json.dumps(settings.to_json())
    assert ReconstructionSettings.from_json(json.loads(text)) == settings


def test_settings_say_what_the_checkpoint_and_the_networks_do():
    settings = reconstruction_settings(get_preset("full").sam3d, RUN)
    assert (settings.preprocess.size, settings.resolution, settings.window) == (518, 64, 8)
    assert settings.structure_shapes == {
        "shape": (1, 4096, 8),
        "6drotation_normalized": (1, 1, 6),
        "translation": (1, 1, 3),
        "scale": (1, 1, 3),
        "translation_scale": (1, 1, 1),
    }
    structure, latents = settings.structure, settings.latents
    assert (structure.steps, structure.rescale_t, structure.guidance) == (12, 3.0, 7.0)
    assert (latents.steps, latents.rescale_t, latents.guidance) == (25, 1.0, 2.0)
    assert (structure.takes_step, latents.takes_step) == (True, False)
    assert settings.prune_distance == 0
    assert len(settings.latent_mean) == len(settings.latent_std) == 8
    assert settings.gaussians.keys() == {"gs_decoder", "gs_decoder_4"}


@pytest.mark.parametrize("change", [{"resolution": None}, {"structure": {"speed": 1}}])
def test_damaged_settings_are_refused(change):
    entry = reconstruction_settings(get_preset("tiny").sam3d, RunSettings()).to_json()
    with pytest.raises((KeyError, TypeError, ValueError)):
        ReconstructionSettings.from_json({**entry, **change})


def test_a_setting_of_the_run_is_kept_with_the_weights():
    assert RunSettings.read(json.loads(json.dumps(RUN.record()))) == RUN
    assert replace(RUN, slat_cfg_strength=1.0) != RUN
