"""The bundle of SAM-3D-Objects: a function for each component, and how they are run."""

import json

import numpy as np
import pytest

from sam_tvm import components
from sam_tvm.components.inputs import make_inputs
from sam_tvm.models.sam3d.bundled import reconstruction_settings
from sam_tvm.models.sam3d.settings import RunSettings
from sam_tvm.pipeline.library import Library
from sam_tvm.runtime import Segmenter
from sam_tvm.runtime.bundle import Bundle
from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.flexicubes import tables
from sam_tvm.runtime.info import describe

COMPONENTS = components.components("sam3d")


@pytest.fixture(scope="module")
def bundle(ported):
    return Bundle.load(ported.bundle_folder("sam3d"))


def test_every_component_is_a_function_with_its_signature(bundle, ported):
    functions = bundle.manifest.functions
    assert functions.keys() == {component.name for component in COMPONENTS}
    for component in COMPONENTS:
        signature = component.signature(ported.config(component))
        for ours, specs in (
            (functions[component.name].inputs, signature.inputs),
            (functions[component.name].outputs, signature.outputs),
        ):
            assert [(t.name, t.dtype, t.shape) for t in ours] == [
                (spec.name, spec.dtype, spec.shape) for spec in specs
            ]


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_function_equals_the_components_own_library(bundle, ported, component):
    inputs = make_inputs(component, ported.config(component), component.cases[-1])
    outputs = bundle.call(component.name, inputs)
    expected = Library(ported, component)(inputs)
    assert len(outputs) == len(expected)
    for name, value in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(outputs[name], value, rtol=1e-5, atol=1e-5, err_msg=name)


def test_weights_are_those_of_the_functions_and_no_name_is_shared(bundle):
    from safetensors import safe_open

    with safe_open(bundle.manifest.files["weights"].path, framework="np") as weights:
        names = list(weights.keys())
    used = [name for f in bundle.manifest.functions.values() for name in f.params]
    assert set(used) == set(names)
    # The two Gaussian decoders have parameters of the same names, each below its own.
    for component in COMPONENTS:
        own = [name for name in names if name.startswith(f"{component.name}.")]
        assert set(own) <= set(bundle.manifest.functions[component.name].params)


def test_manifest_says_how_the_model_is_run(bundle, ported):
    expected = reconstruction_settings(ported.preset.sam3d, RunSettings())
    assert bundle.manifest.reconstruction == expected
    manifest = json.loads((bundle.manifest.folder / "manifest.json").read_text())
    assert {"sam3d", "spconv"} <= manifest["versions"].keys()
    assert manifest["weights"]["source"] == "random, seed 0"
    assert "image" not in manifest


def test_mesh_tables_are_the_references(bundle):
    from sam_tvm.patches.environment import reference_environment
    from sam_tvm.pipeline.bundle_contents import MESH_TABLES

    ours = tables.load(bundle.manifest.files["flexicubes"].path)
    with reference_environment("sam3d"):
        import importlib

        theirs = importlib.import_module(MESH_TABLES)
    np.testing.assert_array_equal(ours.dmc_table, np.asarray(theirs.dmc_table))


def test_a_bundle_that_takes_no_text_says_so(bundle):
    with pytest.raises(BundleError, match="sam3d takes no text"):
        _ = bundle.tokenizer
    text = describe(bundle.manifest)
    assert "sam3d, preset tiny" in text
    assert "tokens, start and end" not in text


def test_the_segmenter_refuses_it(ported):
    with pytest.raises(BundleError):
        Segmenter.load(ported.bundle_folder("sam3d"))
