"""The checkpoint folder: read like the reference reads it, and whatever does not fit refused."""

import functools
import importlib
import shutil

import pytest
import torch
import yaml

from sam_tvm.models.presets import get_preset
from sam_tvm.models.sam3d.build import build_component
from sam_tvm.models.sam3d.checkpoint import PARTS, read_folder
from sam_tvm.models.sam3d.dino import hub_backbone
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.models.sam3d.weights import load_component, weights_identity, weights_info
from sam_tvm.models.sam3d.writer import save_reference_folder
from sam_tvm.runtime.errors import CheckpointError

TINY = get_preset("tiny")
CONFIG = TINY.sam3d
NETWORK = "_base_models.generator.reverse_fn.backbone."


@pytest.fixture(scope="module")
def written(networks, tmp_path_factory):
    """A checkpoint folder with the networks' weights."""
    path = tmp_path_factory.mktemp("checkpoint") / "hf"
    save_reference_folder(networks, CONFIG, path)
    return path


@pytest.fixture
def folder(written, tmp_path):
    """A copy of it, to damage."""
    return shutil.copytree(written, tmp_path / "hf")


def change_yaml(path, change):
    document = yaml.safe_load(path.read_text())
    change(document)
    path.write_text(yaml.safe_dump(document))


def change_weights(path, change):
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", PARTS)
def test_weights_come_back(written, networks, name):
    module = build_component(name, CONFIG)
    for parameter in module.parameters():
        parameter.fill_(torch.nan)
    assert read_folder(written, CONFIG).load(name, module) == {}
    assert equal(module.state_dict(), networks[name].state_dict())


def instantiate(config):
    """What hydra's `instantiate`, with which the reference reads these files, does with them."""
    if isinstance(config, list):
        return [instantiate(entry) for entry in config]
    if not isinstance(config, dict):
        return config
    values = {key: instantiate(value) for key, value in config.items()}
    if "_target_" not in values:
        return values
    module, _, name = values.pop("_target_").rpartition(".")
    target = getattr(importlib.import_module(module), name)
    if values.pop("_partial_", False):
        return functools.partial(target, **values)
    return target(**values)


# As `InferencePipeline.init_*` do: where the configuration lies, and how keys are picked.
INITIALISED = {
    "ss_condition_embedder": (("module", "condition_embedder"), "_base_models.condition_embedder."),
    "slat_condition_embedder": (
        ("module", "condition_embedder"),
        "_base_models.condition_embedder.",
    ),
    "ss_generator": (("module", "generator"), "_base_models.generator."),
    "slat_generator": (("module", "generator"), "_base_models.generator."),
}


@pytest.mark.parametrize("name", PARTS)
def test_the_reference_builds_and_loads_the_same_from_the_same_files(written, name):
    part = PARTS[name].name
    config = yaml.safe_load((written / f"{part}.yaml").read_text())
    state = torch.load(written / f"{part}.ckpt", weights_only=True)
    if name in INITIALISED:
        (first, second), prefix = INITIALISED[name]
        config = config[first][second]["backbone"]
        state = {
            key.removeprefix(prefix): value
            for key, value in state["state_dict"].items()
            if key.startswith(prefix)
        }
    if name == "mesh_decoder":
        config["device"] = "cpu"
    with hub_backbone(CONFIG):
        reference = instantiate(config)
    reference.load_state_dict(state, strict=True)
    if name in ("ss_generator", "slat_generator"):
        reference = reference.reverse_fn.backbone
    ours, _ = load_component(name, TINY, checkpoint=written)
    assert type(ours.get_submodule(name)) is type(reference)
    assert equal(ours.get_submodule(name).state_dict(), reference.state_dict())


def test_safetensors_and_other_widths_load(folder, networks):
    from safetensors.torch import save_file

    state = {key: tensor.half() for key, tensor in networks["gs_decoder"].state_dict().items()}
    save_file(state, folder / "decoder.safetensors")
    change_yaml(
        folder / "pipeline.yaml",
        lambda p: p.update(slat_decoder_gs_ckpt_path="decoder.safetensors"),
    )
    module = build_component("gs_decoder", CONFIG)
    with pytest.raises(CheckpointError, match="with other tables than the model computes"):
        read_folder(folder, CONFIG).load("gs_decoder", module)
    state["offset_perturbation"] = networks["gs_decoder"].offset_perturbation
    save_file(state, folder / "decoder.safetensors")
    read_folder(folder, CONFIG).load("gs_decoder", module)
    for key, parameter in module.named_parameters():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, state[key].float())


def test_settings_of_the_pipeline_are_read(folder):
    assert read_folder(folder, CONFIG).settings == RunSettings()
    change_yaml(
        folder / "pipeline.yaml",
        lambda p: p.update(slat_cfg_strength=2, ss_inference_steps=5, slat_mean=[0.5] * 8),
    )
    settings = read_folder(folder, CONFIG).settings
    assert (settings.slat_cfg_strength, settings.ss_inference_steps) == (2.0, 5)
    assert settings.slat_mean == (0.5,) * 8
    info = weights_info(TINY, folder)
    assert RunSettings.read(info.settings) == settings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"ss_inference_steps": 0}, "ss_inference_steps is 0, expected at least 1"),
        ({"ss_inference_steps": 2.5}, "ss_inference_steps is 2.5, expected a whole number"),
        ({"slat_cfg_strength": "high"}, "slat_cfg_strength is 'high', expected a number"),
        ({"slat_std": [1.0] * 7}, r"slat_std is \[.*\], expected 8 numbers"),
        ({"slat_std": [0.0] * 8}, "expected numbers above 0"),
        ({"ss_cfg_interval": [500, 0]}, "expected two times in order"),
        ({"ss_rescale_t": 0}, "expected more than 0"),
        ({"ss_cfg_strength_pm": 1.0}, "guidance by the pointmap is not known here"),
        ({"downsample_ss_dist": -1}, "expected 0 or more"),
    ],
)
def test_setting_out_of_its_range_is_refused(folder, values, message):
    change_yaml(folder / "pipeline.yaml", lambda p: p.update(values))
    with pytest.raises(CheckpointError, match=message):
        read_folder(folder, CONFIG)


def network(document):
    return document["module"]["generator"]["backbone"]["reverse_fn"]["backbone"]


UNKNOWN = {
    "another pose": (
        "pipeline.yaml",
        lambda d: d.update(pose_decoder_name="default"),
        "pose_decoder_name is 'default', known is 'ScaleShiftInvariant'",
    ),
    "a new option": ("pipeline.yaml", lambda d: d.update(refine=True), "refine is not known"),
    "another picture size": (
        "pipeline.yaml",
        lambda d: d["ss_preprocessor"]["img_transform"]["transforms"][1].update(size=770),
        r"ss_preprocessor.img_transform.transforms\[1\].size is 770, known is 112",
    ),
    "another width": (
        "ss_generator.yaml",
        lambda d: network(d).update(model_channels=2048),
        "module.generator.backbone.reverse_fn.backbone.model_channels is 2048, known is 64",
    ),
    "another time scale": (
        "slat_generator.yaml",
        lambda d: d["module"]["generator"]["backbone"].update(time_scale=1.0),
        "time_scale is 1.0, known is 1000.0",
    ),
    "a flag for a number": (
        "slat_decoder_mesh.yaml",
        lambda d: d.update(num_blocks=True),
        "num_blocks is True, known is 2",
    ),
    "another class": (
        "slat_decoder_gs.yaml",
        lambda d: d.update(_target_="os.system"),
        "_target_ is 'os.system'",
    ),
    "a missing choice": (
        "ss_decoder.yaml",
        lambda d: d.pop("channels"),
        "channels is missing",
    ),
    "one more modality": (
        "slat_generator.yaml",
        lambda d: d["module"]["condition_embedder"]["backbone"]["embedder_list"].append([{}, []]),
        "embedder_list is ",
    ),
    "a list for a mapping": (
        "slat_decoder_gs_4.yaml",
        lambda d: d.update(representation_config=[]),
        r"representation_config is \[\], known is a mapping with lr, ",
    ),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_value_that_is_not_known_is_refused(folder, name):
    file, change, message = UNKNOWN[name]
    change_yaml(folder / file, change)
    with pytest.raises(CheckpointError, match=message) as error:
        read_folder(folder, CONFIG)
    assert str(folder / file) in str(error.value)
    assert "\n" not in str(error.value)


def test_what_matters_to_training_or_to_a_gpu_may_be_anything(folder):
    change_yaml(
        folder / "pipeline.yaml",
        lambda d: d.update(dtype="float16", compile_model=True, depth_model={"_target_": "x"}),
    )
    change_yaml(folder / "ss_generator.yaml", lambda d: network(d).update(use_fp16=True))
    change_yaml(folder / "slat_decoder_gs.yaml", lambda d: d.pop("attn_mode"))  # the default
    read_folder(folder, CONFIG)


@pytest.mark.parametrize(
    "name", ["pipeline.yaml", "ss_decoder.yaml", "slat_decoder_gs_4.ckpt", "ss_generator.ckpt"]
)
def test_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(CheckpointError, match=f"the checkpoint folder lacks .*{name}"):
        read_folder(folder, CONFIG)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match="there is no checkpoint folder"):
        read_folder(tmp_path / "none", CONFIG)


@pytest.mark.parametrize("text", ["a: [", "\0", "- 1\n- 2\n"])
def test_damaged_yaml_is_refused(folder, text):
    (folder / "pipeline.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=r"is no YAML file|the file is \[1, 2\]"):
        read_folder(folder, CONFIG)


@pytest.mark.parametrize("name", ["../ss_decoder.ckpt", "/etc/passwd"])
def test_file_outside_the_folder_is_refused(folder, name):
    change_yaml(folder / "pipeline.yaml", lambda p: p.update(ss_decoder_ckpt_path=name))
    with pytest.raises(CheckpointError, match="which is not in its folder"):
        read_folder(folder, CONFIG)


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


def test_pickle_that_would_run_code_is_refused_and_does_not(folder, tmp_path):
    torch.save(
        {"state_dict": {}, "extra": RunsCode(tmp_path / "trace")}, folder / "ss_generator.ckpt"
    )
    module = build_component("ss_generator", CONFIG)
    with pytest.raises(CheckpointError, match="is refused: it holds Python objects"):
        read_folder(folder, CONFIG).load("ss_generator", module)
    assert not (tmp_path / "trace").exists()


MISFITS = {
    "missing": (lambda s: s.pop(f"{NETWORK}input_layer.weight"), "1 key missing: "),
    "unexpected": (lambda s: s.update({f"{NETWORK}extra": torch.ones(1)}), "1 key unexpected: "),
    "mis-shaped": (
        lambda s: s.update({f"{NETWORK}input_layer.weight": torch.ones(2, 2)}),
        r"1 key of another shape: .*input_layer.weight \(expected \(32, 8\), got \(2, 2\)\)",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfit_is_described_and_leaves_the_network_alone(folder, name):
    change, message = MISFITS[name]
    change_weights(folder / "slat_generator.ckpt", lambda content: change(content["state_dict"]))
    module = build_component("slat_generator", CONFIG)
    for parameter in module.parameters():
        parameter.zero_()
    with pytest.raises(CheckpointError, match=message):
        read_folder(folder, CONFIG).load("slat_generator", module)
    assert not any(parameter.any() for parameter in module.parameters())


def test_entries_of_other_networks_are_counted(folder):
    extra = {"_base_models.teacher.weight": torch.ones(1), "loss.weight": torch.ones(1)}
    change_weights(folder / "ss_generator.ckpt", lambda c: c["state_dict"].update(extra))
    module = build_component("ss_generator", CONFIG)
    ignored = read_folder(folder, CONFIG).load("ss_generator", module)
    assert ignored == {"_base_models.teacher": 1, "loss.weight": 1}


def test_generator_without_a_state_dict_is_refused(folder):
    torch.save({"weights": {}}, folder / "ss_generator.ckpt")
    module = build_component("ss_generator", CONFIG)
    with pytest.raises(CheckpointError, match="has no 'state_dict' with the weights"):
        read_folder(folder, CONFIG).load("ss_generator", module)


def test_identity_changes_with_each_file_and_with_the_seed(folder):
    before = weights_identity(TINY, folder)
    assert weights_identity(TINY, folder) == before
    assert weights_info(TINY, folder).source == "hf"
    change_weights(folder / "ss_decoder.ckpt", lambda c: c["input_layer.bias"].add_(1))
    changed = weights_identity(TINY, folder)
    change_yaml(folder / "pipeline.yaml", lambda p: p.update(slat_cfg_strength=3))
    again = weights_identity(TINY, folder)
    random = [weights_identity(TINY, seed=seed) for seed in (0, 1)]
    assert len({before, changed, again, *random}) == 5
    hashes = [weights_info(TINY, seed=seed).sha256 for seed in (0, 1)]
    assert len(set(hashes)) == 2 and all(len(value) == 64 for value in hashes)
