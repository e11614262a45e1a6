"""`manifest.json`: what a bundle holds, and proof that it is whole.

The manifest names each file with its size and SHA-256, each function with its tensors, and carries
the SHA-256 of its own text, so that no byte of a bundle can change unnoticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sam_tvm.runtime.errors import BundleError
from sam_tvm.runtime.instructions import Requirements
from sam_tvm.runtime.reconstruction.settings import ReconstructionSettings
from sam_tvm.runtime.storage import REMEDY, Archive, FileSpec, Folder, open_storage

MANIFEST = "manifest.json"
FORMAT_VERSION = 2
FILES = ("library", "weights", "tokenizer")
RECONSTRUCTOR = "sam3d"
RECONSTRUCTOR_FILES = ("library", "weights", "flexicubes")
_OWN_HASH = "manifest_sha256"


@dataclass(frozen=True)
class TensorSpec:
    """A function's input or output; dimensions are sizes, or names of what varies."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class FunctionSpec:
    """A function of the library: it takes the inputs, then the parameters, in this order."""

    name: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    params: tuple[str, ...]


@dataclass(frozen=True)
class Manifest:
    """A manifest whose fields have been checked.

    Attributes:
        folder: where it lies: a folder, or an archive.
        model: ``sam3`` or ``sam3d``.
        preset: the model's size.
        target: what the library is built for.
        precision: of products and attention.
        cpu: what the library asks of the machine.
        image_size: side of the square picture that the model takes, pixels.
        image_mean, image_std: its normalisation; empty where the library does it.
        context_length: tokens of a text; 0 where the model takes none.
        files: by what they are.
        functions: by name.
        raw: the JSON object itself.
        reconstruction: how SAM-3D-Objects is run; None of another model.

    """

    folder: Path
    model: str
    preset: str
    target: str
    precision: str
    cpu: Requirements
    image_size: int
    image_mean: tuple[float, ...]
    image_std: tuple[float, ...]
    context_length: int
    files: dict[str, FileSpec]
    functions: dict[str, FunctionSpec]
    raw: dict[str, Any]
    reconstruction: ReconstructionSettings | None = None

    @property
    def target_options(self) -> dict[str, Any]:
        """The target as TVM's options (kind, mcpu, ...): it is written as TVM's JSON or by name."""
        if self.target.startswith("{"):
            return dict(json.loads(self.target))
        kind, *options = self.target.split()
        pairs = (option.lstrip("-").partition("=") for option in options)
        return {"kind": kind} | {key: value for key, _, value in pairs}


def seal(manifest: dict[str, Any]) -> dict[str, Any]:
    """Add the hash of a manifest's own content, which `read_manifest` asks for.

    The file is then written as `render` writes it.
    """
    content = {key: value for key, value in manifest.items() if key != _OWN_HASH}
    digest = hashlib.sha256(render(content).encode("utf-8")).hexdigest()
    return {**content, _OWN_HASH: digest}


def render(manifest: dict[str, Any]) -> str:
    """Return the one text of a manifest: a file with other white space is not accepted."""
    return json.dumps(manifest, indent=2) + "\n"


def read_manifest(folder: str | Path) -> Manifest:
    """Read and check `manifest.json`; the files that it names are not opened.

    Args:
        folder: the bundle: its folder, or its archive.

    Raises:
        BundleError: no such folder or file, an archive that is none or cut off, damaged or altered
            text, an unknown format version, a key that is missing or of the wrong kind.

    """
    folder = Path(folder)
    storage = open_storage(folder)
    path = storage.place_of(MANIFEST)
    try:
        text = storage.read(MANIFEST).decode("utf-8")
        raw = json.loads(text)
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: it has no {MANIFEST}") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BundleError(f"{path} is damaged (no valid JSON: {error}); {REMEDY}") from None
    if not isinstance(raw, dict):
        raise BundleError(f"{path} is damaged (no JSON object); {REMEDY}")
    if raw.get("format_version") != FORMAT_VERSION:
        raise BundleError(
            f"{folder} has bundle format {raw.get('format_version')!r}, this version of sam-tvm "
            f"reads format {FORMAT_VERSION}: bundle the model again or update sam-tvm"
        )
    if _OWN_HASH not in raw:
        raise BundleError(f"{path} has no {_OWN_HASH}, which proves it whole; {REMEDY}")
    if text != render(seal(raw)):
        raise BundleError(f"{path} is damaged or was edited (wrong SHA-256); {REMEDY}")
    try:
        return _parse(storage, raw)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path} lacks what a manifest needs: {error!r}; {REMEDY}") from error


def check_sizes(manifest: Manifest) -> None:
    """Compare every file with its size.

    Raises:
        BundleError: naming the first file that is missing, too short or too long.

    """
    for file in manifest.files.values():
        if file.offset is not None:
            continue  # an archive was checked when it was opened
        try:
            size = file.path.stat().st_size
        except FileNotFoundError:
            raise BundleError(f"the bundle lacks {file.path}; {REMEDY}") from None
        if size != file.bytes:
            raise BundleError(f"{file.path} has {size} bytes, expected {file.bytes}; {REMEDY}")


def verify_files(manifest: Manifest) -> None:
    """Compare every file with its size and SHA-256.

    Raises:
        BundleError: naming the first file that is missing, too short, too long or altered.

    """
    check_sizes(manifest)
    for file in manifest.files.values():
        file.verify()


def _parse(storage: Folder | Archive, raw: dict[str, Any]) -> Manifest:
    names, own = _own_parts(raw)
    return Manifest(
        folder=storage.path,
        model=str(raw["model"]),
        preset=str(raw["preset"]),
        target=str(raw["target"]),
        precision=str(raw["precision"]),
        cpu=Requirements.from_json(raw["cpu"]),
        files={name: storage.file(raw["files"][name]) for name in names},
        functions={name: _function(name, entry) for name, entry in raw["functions"].items()},
        raw=raw,
        **own,
    )


def _own_parts(raw: dict[str, Any]) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return which files a bundle of the model has, and the manifest's fields of its own."""
    if raw["model"] == RECONSTRUCTOR:
        settings = ReconstructionSettings.from_json(raw["reconstruction"])
        return RECONSTRUCTOR_FILES, {
            "image_size": settings.preprocess.size,
            "image_mean": (),
            "image_std": (),
            "context_length": 0,
            "reconstruction": settings,
        }
    image, text = raw["image"], raw["text"]
    return FILES, {
        "image_size": int(image["size"]),
        "image_mean": _three(image["mean"]),
        "image_std": _three(image["std"]),
        "context_length": int(text["context_length"]),
    }


def _three(values: list[float]) -> tuple[float, ...]:
    if len(values) != 3:
        raise ValueError(f"three channels expected, got {values}")
    return tuple(float(value) for value in values)


def _function(name: str, entry: dict[str, Any]) -> FunctionSpec:
    return FunctionSpec(
        name=name,
        inputs=tuple(_tensor(tensor) for tensor in entry["inputs"]),
        outputs=tuple(_tensor(tensor) for tensor in entry["outputs"]),
        params=tuple(str(param) for param in entry["params"]),
    )


def _tensor(entry: dict[str, Any]) -> TensorSpec:
    shape = tuple(size if isinstance(size, int) else str(size) for size in entry["shape"])
    return TensorSpec(str(entry["name"]), str(entry["dtype"]), shape)
