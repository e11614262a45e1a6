import importlib

import numpy as np
import pytest

from sam_tvm import components
from sam_tvm.components.base import Case, Component
from sam_tvm.components.graph import Call
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.presets import PRESETS, get_preset
from sam_tvm.runtime.errors import UnknownNameError

ALL = components.components()
PRESET = get_preset("tiny")
TINY = PRESET.sam3


def ids(component):
    return component.name


def config_of(component):
    return components.config_of(component.model, PRESET)


def test_every_component_of_the_image_model_is_declared():
    assert {component.name for component in components.components("sam3")} == {
        "vision_backbone",
        "text_encoder",
        "geometry_encoder",
        "transformer_encoder",
        "transformer_decoder",
        "segmentation_head",
        "scoring_head",
    }


def test_every_component_of_sam_3d_objects_is_declared():
    assert {component.name for component in components.components("sam3d")} == {
        "ss_condition_embedder",
        "slat_condition_embedder",
        "ss_generator",
        "ss_decoder",
        "slat_generator",
        "gs_decoder",
        "gs_decoder_4",
        "mesh_decoder",
    }


def test_model_without_a_graph_has_no_composed_functions():
    assert components.functions("sam3d", PRESET) == ()
    assert len(components.functions("sam3", PRESET)) == 3


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(UnknownNameError, match="vision_backbone"):
        components.select(["vision"])


def test_selection_keeps_order_and_drops_repeats():
    names = [c.name for c in components.select(["text_encoder", "scoring_head", "text_encoder"])]
    assert names == ["text_encoder", "scoring_head"]


@pytest.mark.parametrize("component", ALL, ids=ids)
def test_dynamic_component_has_two_cases_and_an_example_without_ones(component):
    symbols = component.signature(config_of(component)).symbols
    if component.inputs is None:
        assert all(set(case.sizes) == set(symbols) for case in component.cases)
    if symbols:
        assert len(component.cases) >= 2
        assert min(component.cases[0].sizes.values()) > 1
    if symbols and component.inputs is None:
        assert any(1 in case.sizes.values() for case in component.cases)


@pytest.mark.parametrize("component", ALL, ids=ids)
def test_declared_patches_exist(component):
    for name in component.patches:
        assert importlib.import_module(f"sam_tvm.patches.model.{name}").PATCH.name == name


@pytest.mark.parametrize("component", ALL, ids=ids)
def test_inputs_have_the_declared_shapes_and_repeat(component):
    signature = component.signature(config_of(component))
    for case in component.cases:
        first, second = (make_inputs(component, config_of(component), case) for _ in range(2))
        assert list(first) == [spec.name for spec in signature.inputs]
        sizes = dict(case.sizes)
        for spec in signature.inputs:
            for size, wanted in zip(first[spec.name].shape, spec.shape, strict=True):
                # The sizes of plans follow from the voxels; a case gives what is chosen.
                assert size == (
                    sizes.setdefault(wanted, size) if isinstance(wanted, str) else wanted
                )
            assert first[spec.name].dtype.name == spec.dtype
            np.testing.assert_array_equal(first[spec.name], second[spec.name])


def test_cases_differ_in_their_inputs():
    encoder = components.select(["text_encoder"])[0]
    two, one = (make_inputs(encoder, TINY, case) for case in encoder.cases[:2])
    assert (two["token_ids"][:1] != one["token_ids"]).any()


def test_repeated_case_name_is_refused():
    with pytest.raises(ValueError, match="repeat"):
        Component("x", "sam3", "a.B", (), print, print, (Case("a"), Case("a")))


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_graph_calls_every_component_with_its_declared_inputs(preset):
    declared = {component.name: component for component in components.components("sam3")}
    called = {}
    for function in components.functions("sam3", preset):
        for step in function.steps:
            if isinstance(step, Call):
                signature = declared[step.component].signature(preset.sam3)
                assert len(step.inputs) == len(signature.inputs)
                assert len(step.outputs) == len(signature.outputs)
                called[step.component] = True
    assert called.keys() == declared.keys()
