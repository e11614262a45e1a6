"""Bundles: loaded, called, refused where library and weights do not fit the manifest."""

import json

import numpy as np
import pytest

from sam_tvm.runtime import bundle as bundle_module
from sam_tvm.runtime import instructions
from sam_tvm.runtime.bundle import Bundle, release_workspace
from sam_tvm.runtime.errors import BundleError, UnknownNameError
from sam_tvm.runtime.instructions import architecture
from sam_tvm.runtime.manifest import render, seal


def inputs(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {
        "x": rng.standard_normal((n, 4)).astype(np.float32),
        "flags": rng.integers(0, 2, n).astype(bool),
    }


@pytest.mark.parametrize("n", [1, 7])
def test_call_computes_with_the_weights_of_the_file(affine_bundle, affine_weights, n):
    weight, bias = affine_weights
    given = inputs(n)
    outputs = Bundle.load(affine_bundle).call("affine", given)
    expected = given["x"].astype(np.float64) @ weight + bias.astype(np.float64).sum()
    np.testing.assert_allclose(outputs["y"], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(outputs["inverted"], ~given["flags"])


def test_call_takes_arrays_of_any_layout_and_leaves_them_unchanged(affine_bundle):
    bundle = Bundle.load(affine_bundle)
    given = inputs(6)
    expected = bundle.call("affine", given)["y"].copy()
    strided = {**given, "x": np.asfortranarray(given["x"])}
    strided["x"].flags.writeable = False
    np.testing.assert_array_equal(bundle.call("affine", strided)["y"], expected)
    np.testing.assert_array_equal(strided["x"], given["x"])


def test_outputs_outlive_the_bundle_and_later_calls(affine_bundle):
    bundle = Bundle.load(affine_bundle)
    first = bundle.call("affine", inputs(7))["y"]
    kept = first.copy()
    bundle.call("affine", inputs(7) | {"x": np.zeros((7, 4), np.float32)})
    del bundle
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": None}, "takes"),
        ({"extra": np.zeros(1)}, "takes"),
        ({"x": np.zeros((3, 4))}, "must be float32"),
        ({"x": np.zeros((3, 5), np.float32)}, "shape"),
        ({"x": np.zeros((3, 4, 1), np.float32)}, "shape"),
        ({"x": np.zeros((2, 4), np.float32)}, "where {'n': 2}"),
    ],
)
def test_call_refuses_wrong_inputs(affine_bundle, changes, message):
    given = {**inputs(3), **changes}
    given = {name: array for name, array in given.items() if array is not None}
    with pytest.raises(ValueError, match=message):
        Bundle.load(affine_bundle).call("affine", given)


def test_call_names_the_functions_that_exist(affine_bundle):
    with pytest.raises(UnknownNameError, match="affine"):
        Bundle.load(affine_bundle).call("detect", {})


def test_a_bundle_for_another_architecture_is_refused(affine_bundle, rewrite_manifest):
    rewrite_manifest(affine_bundle, {"cpu": {"architecture": "pdp11", "instructions": []}})
    with pytest.raises(BundleError, match=f"{affine_bundle} is built for pdp11, this CPU is "):
        Bundle.load(affine_bundle)


@pytest.mark.parametrize("verify", [True, False])
def test_a_bundle_for_a_cpu_with_more_instructions_is_refused_before_it_is_loaded(
    affine_bundle, rewrite_manifest, monkeypatch, verify
):
    needs = {"architecture": architecture(), "instructions": ["avx512f", "nonsuch"]}
    rewrite_manifest(affine_bundle, {"cpu": needs})
    monkeypatch.setattr(instructions, "host_instructions", lambda: frozenset({"avx2"}))
    monkeypatch.setattr(bundle_module, "_load_library", None)  # raises where it is called
    message = f"{affine_bundle} is built for a CPU with avx512f, nonsuch, which this one lacks: "
    with pytest.raises(BundleError, match=message) as caught:
        Bundle.load(affine_bundle, verify)
    assert "--target llvm" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bundle_for_a_cpu_with_fewer_instructions_runs(affine_bundle, rewrite_manifest):
    few = sorted(instructions.host_instructions())[:3]
    rewrite_manifest(affine_bundle, {"cpu": {"architecture": architecture(), "instructions": few}})
    assert Bundle.load(affine_bundle).call("affine", inputs(2))["y"].shape == (2, 16)


def test_released_workspace_leaves_outputs_as_they_are(affine_bundle):
    bundle = Bundle.load(affine_bundle)
    first = bundle.call("affine", inputs(7))["y"]
    kept = first.copy()
    release_workspace()
    bundle.call("affine", inputs(7) | {"x": np.zeros((7, 4), np.float32)})
    np.testing.assert_array_equal(first, kept)


def test_parameters_that_the_weights_lack_are_named(affine_bundle):
    path = affine_bundle / "manifest.json"
    raw = json.loads(path.read_text())
    raw["functions"]["affine"]["params"][0] = "layer.wieght"
    path.write_text(render(seal(raw)))
    with pytest.raises(BundleError, match=r"layer\.wieght"):
        Bundle.load(affine_bundle)


def test_a_function_that_the_library_lacks_is_named(affine_bundle):
    path = affine_bundle / "manifest.json"
    raw = json.loads(path.read_text())
    raw["functions"]["linear"] = raw["functions"].pop("affine")
    path.write_text(render(seal(raw)))
    with pytest.raises(BundleError, match="linear"):
        Bundle.load(affine_bundle)


def test_errors_are_one_line(affine_bundle, rewrite_manifest):
    (affine_bundle / "lib.so").write_bytes(b"no library")
    rewrite_manifest(affine_bundle, {})
    with pytest.raises(BundleError, match="cannot be loaded") as caught:
        Bundle.load(affine_bundle)
    assert "\n" not in str(caught.value)


def test_a_bundle_for_a_device_that_is_not_here_says_so(affine_bundle, rewrite_manifest):
    rewrite_manifest(affine_bundle, {"target": '{"kind": "metal"}'})
    with pytest.raises(BundleError, match="is built for metal: no metal device runs here"):
        Bundle.load(affine_bundle)
