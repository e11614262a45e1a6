"""Manifests: a bundle in which a byte is wrong is refused, in one clear line."""

import json

import pytest

from sam_tvm.runtime.bundle import Bundle
from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.info import describe
from sam_tvm.runtime.manifest import read_manifest, render, seal

FILES = ("manifest.json", "lib.so", "weights.safetensors", "tokenizer.json")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.999])
def test_a_flipped_byte_is_refused(affine_bundle, name, share):
    path = affine_bundle / name
    data = bytearray(path.read_bytes())
    data[int(share * len(data))] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError):
        Bundle.load(affine_bundle)


def test_a_flipped_byte_anywhere_in_the_manifest_is_refused(affine_bundle):
    path = affine_bundle / "manifest.json"
    data = path.read_bytes()
    for index in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[index] ^= 1 << (index % 8)
        path.write_bytes(flipped)
        with pytest.raises(BundleError):
            read_manifest(affine_bundle)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("size", [0, 100])
def test_a_truncated_file_is_refused(affine_bundle, name, size):
    path = affine_bundle / name
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(BundleError):
        Bundle.load(affine_bundle)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(affine_bundle, name):
    (affine_bundle / name).unlink()
    with pytest.raises(BundleError, match=name):
        Bundle.load(affine_bundle)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BundleError, match=r"no bundle folder at .*nowhere"):
        Bundle.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format_version": 1}, "format 1, .* bundle the model again"),
        ({"format_version": 99}, "format 99"),
        ({"format_version": None}, "format None"),
        ({"functions": None}, "functions"),
        ({"image": {"size": 28}}, "mean"),
        ({"target": "cuda"}, "cuda"),
        ({"cpu": None}, "cpu"),
        ({"cpu": {"architecture": "x86_64"}}, "instructions"),
    ],
)
def test_a_manifest_of_another_kind_is_refused(affine_bundle, rewrite_manifest, changes, message):
    rewrite_manifest(affine_bundle, changes)
    with pytest.raises(BundleError, match=message):
        Bundle.load(affine_bundle)


def test_an_unsealed_manifest_is_refused(affine_bundle):
    path = affine_bundle / "manifest.json"
    raw = json.loads(path.read_text())
    del raw["manifest_sha256"]
    path.write_text(render(raw))
    with pytest.raises(BundleError, match="manifest_sha256"):
        read_manifest(affine_bundle)


def test_a_path_outside_the_bundle_is_refused(affine_bundle):
    path = affine_bundle / "manifest.json"
    raw = json.loads(path.read_text())
    raw["files"]["weights"]["path"] = "../weights.safetensors"
    path.write_text(render(seal(raw)))
    with pytest.raises(BundleError, match="outside the bundle"):
        read_manifest(affine_bundle)


def test_target_is_understood_by_name_and_as_tvm_writes_it(affine_bundle, rewrite_manifest):
    for target in ("llvm -mcpu=haswell", '{"kind":"llvm","mcpu":"haswell"}'):
        rewrite_manifest(affine_bundle, {"target": target})
        manifest = read_manifest(affine_bundle)
        assert manifest.target_options == {"kind": "llvm", "mcpu": "haswell"}
        assert "llvm -mcpu=haswell, float32" in describe(manifest)


def test_description_names_what_a_virtual_machine_hides(affine_bundle, rewrite_manifest):
    target = '{"kind":"llvm","mcpu":"skylake-avx512","mattr":["-avx512f","-avx512vl"]}'
    rewrite_manifest(affine_bundle, {"target": target})
    text = describe(read_manifest(affine_bundle))
    assert "llvm -mcpu=skylake-avx512 -mattr=-avx512f,-avx512vl, float32" in text


def test_description_names_cpu_functions_files_and_versions(affine_bundle, rewrite_manifest):
    needs = {"architecture": "x86_64", "instructions": ["avx", "avx2"]}
    rewrite_manifest(affine_bundle, {"cpu": needs})
    text = describe(read_manifest(affine_bundle))
    assert "x86_64 avx avx2" in text
    for part in ("affine, 2 parameters", "x float32 (n, 4)", "lib.so", "apache-tvm 0.27.0"):
        assert part in text
