"""Bundles as one file: mapped where they lie, refused where a byte is wrong or missing."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest

from sam_tvm.pipeline.archive import write_archive
from sam_tvm.runtime.bundle import Bundle
from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.info import describe
from sam_tvm.runtime.manifest import read_manifest, verify_files


@pytest.fixture
def archive(affine_bundle, tmp_path) -> Path:
    path = tmp_path / "affine.tar"
    write_archive(affine_bundle, path)
    shutil.rmtree(affine_bundle)
    return path


def call(bundle: Bundle) -> np.ndarray:
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    return bundle.call("affine", {"x": x, "flags": np.ones(3, bool)})["y"]


def test_an_archive_computes_what_its_folder_does(affine_bundle, tmp_path):
    write_archive(affine_bundle, tmp_path / "affine.tar")
    expected = call(Bundle.load(affine_bundle))
    bundle = Bundle.load(tmp_path / "affine.tar")
    np.testing.assert_array_equal(call(bundle), expected)
    np.testing.assert_array_equal(
        bundle.tokenizer(["a cat"]), Bundle.load(affine_bundle).tokenizer(["a cat"])
    )


def test_weights_are_aligned_and_mapped_from_the_archive(archive):
    bundle = Bundle.load(archive)
    stored = bundle.manifest.files["weights"]
    assert stored.path == archive
    assert stored.offset % 64 == 0
    lines = Path("/proc/self/maps").read_text().splitlines()
    ranges = [line.split()[0].split("-") for line in lines if line.endswith(str(archive))]
    for weight in bundle._params["affine"]:
        address = np.from_dlpack(weight).ctypes.data
        assert any(int(low, 16) <= address < int(high, 16) for low, high in ranges)


def test_a_bundle_outlives_its_archive(archive):
    bundle = Bundle.load(archive)
    expected = call(bundle)
    archive.unlink()
    np.testing.assert_array_equal(call(bundle), expected)


def test_equal_bundles_make_equal_archives_that_any_tar_unpacks(affine_bundle, tmp_path):
    paths = [tmp_path / name for name in ("one.tar", "two.tar")]
    for path in paths:
        write_archive(affine_bundle, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "xf", paths[0], "-C", tmp_path / "unpacked"], check=True)
    verify_files(read_manifest(tmp_path / "unpacked"))
    with tarfile.open(paths[0]) as held:
        assert held.getnames()[0] == "manifest.json"


def test_an_archive_cut_off_anywhere_is_refused(archive):
    data = archive.read_bytes()
    with tarfile.open(archive) as held:
        end = max(member.offset_data + member.size for member in held)
    for size in (0, 100, 512, 700, *range(5000, end, end // 9), end - 1):
        archive.write_bytes(data[:size])
        with pytest.raises(BundleError) as caught:
            Bundle.load(archive)
        assert "\n" not in str(caught.value)


def test_a_flipped_byte_of_any_member_is_refused(archive):
    data = archive.read_bytes()
    with tarfile.open(archive) as held:
        members = held.getmembers()
    assert {member.name for member in members} == {
        "manifest.json",
        "lib.so",
        "weights.safetensors",
        "tokenizer.json",
    }
    for member in members:
        for at in (member.offset, member.offset_data, member.offset_data + member.size - 1):
            flipped = bytearray(data)
            flipped[at] ^= 1
            archive.write_bytes(flipped)
            with pytest.raises(BundleError):
                Bundle.load(archive)


@pytest.mark.parametrize("mode", ["w:gz", "w:xz"])
def test_a_compressed_tar_is_refused(affine_bundle, tmp_path, mode):
    with tarfile.open(tmp_path / "bundle.tar", mode) as held:
        held.add(affine_bundle / "manifest.json", "manifest.json")
    with pytest.raises(BundleError, match="a folder or an uncompressed tar"):
        read_manifest(tmp_path / "bundle.tar")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8 no archive" * 100)
    with pytest.raises(BundleError, match=r"photo\.jpg is no bundle"):
        read_manifest(tmp_path / "photo.jpg")


def test_a_missing_member_is_named(affine_bundle, tmp_path):
    (affine_bundle / "weights.safetensors").unlink()
    write_archive(affine_bundle, tmp_path / "affine.tar")
    with pytest.raises(BundleError, match=r"lacks weights\.safetensors in .*affine\.tar"):
        read_manifest(tmp_path / "affine.tar")


def test_description_names_the_members(archive):
    text = describe(read_manifest(archive))
    assert str(archive) in text
    assert "weights.safetensors, " in text
