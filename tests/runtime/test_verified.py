"""A bundle is hashed once, and again when a file of it has changed."""

import os
import time
from pathlib import Path

import pytest

from sam_tvm.runtime import verified
from sam_tvm.runtime.bundle import Bundle
from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.manifest import read_manifest
from sam_tvm.runtime.verified import VARIABLE, verify_once


@pytest.fixture
def hashed(monkeypatch, tmp_path) -> list[str]:
    """The bundles that are hashed, in order; notes go to a folder of the test."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(verified, "_SETTLED_SECONDS", -1)  # the bundle was made just now
    found: list[str] = []
    whole = verified.verify_files

    def verify(manifest) -> None:
        found.append(manifest.folder.name)
        whole(manifest)

    monkeypatch.setattr(verified, "verify_files", verify)
    return found


def flip(path: Path) -> None:
    """Change a byte and leave size and time of modification as they were."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.seek(stat.st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 4]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_bundle_is_hashed_at_its_first_load_alone(affine_bundle, hashed):
    for _ in range(3):
        Bundle.load(affine_bundle)
    assert hashed == [affine_bundle.name]


@pytest.mark.parametrize("name", ["weights.safetensors", "lib.so", "tokenizer.json"])
def test_a_byte_that_changes_afterwards_is_found(affine_bundle, hashed, name):
    Bundle.load(affine_bundle)
    time.sleep(0.02)  # the file system counts time in steps
    flip(affine_bundle / name)
    with pytest.raises(BundleError, match="wrong SHA-256"):
        Bundle.load(affine_bundle)
    with pytest.raises(BundleError, match="wrong SHA-256"):
        Bundle.load(affine_bundle)  # a failure is not remembered as a success


def test_a_bundle_made_just_now_is_not_trusted_yet(affine_bundle, hashed, monkeypatch):
    monkeypatch.setattr(verified, "_SETTLED_SECONDS", 60)
    for _ in range(2):
        verify_once(read_manifest(affine_bundle))
    assert len(hashed) == 2


def test_it_is_hashed_on_request_and_not_at_all_on_request(affine_bundle, hashed, monkeypatch):
    Bundle.load(affine_bundle)
    time.sleep(0.02)
    flip(affine_bundle / "weights.safetensors")
    Bundle.load(affine_bundle, verify=False)
    with pytest.raises(BundleError, match="wrong SHA-256"):
        Bundle.load(affine_bundle, verify=True)


def test_without_a_place_for_notes_it_is_hashed_each_time(
    affine_bundle, hashed, monkeypatch, tmp_path
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv(VARIABLE, str(tmp_path / "file"))
    for _ in range(2):
        Bundle.load(affine_bundle)
    assert len(hashed) == 2


def test_a_damaged_note_is_ignored(affine_bundle, hashed, tmp_path):
    Bundle.load(affine_bundle)
    for note in (tmp_path / "cache").iterdir():
        note.write_text("{")
    Bundle.load(affine_bundle)
    assert len(hashed) == 2
