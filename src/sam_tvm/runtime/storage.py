"""Where a bundle's files lie: in a folder, or one after another in an archive.

An archive is an uncompressed tar, which any tar unpacks to the folder. Its members start at
multiples of 512 bytes, so that the weights are aligned and can be mapped where they lie.
"""

from __future__ import annotations

import builtins
import hashlib
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from sam_tvm.runtime.errors import BundleError

_CHUNK = 1 << 22
REMEDY = "build or copy the bundle again"


@dataclass(frozen=True)
class FileSpec:
    """A file of a bundle.

    Attributes:
        name: within the bundle.
        path: where it lies; the archive, if it lies in one.
        bytes: its size as the manifest says.
        sha256: its hash in hexadecimal.
        offset: where it begins in the archive; None if it is a file of its own.

    """

    name: str
    path: Path
    bytes: int
    sha256: str
    offset: int | None = None

    def __str__(self) -> str:
        return str(self.path) if self.offset is None else f"{self.name} in {self.path}"

    def read(self) -> builtins.bytes:
        """Return what it holds."""
        with self.path.open("rb") as file:
            file.seek(self.offset or 0)
            return file.read(self.bytes)

    def verify(self) -> None:
        """Compare it with its SHA-256.

        Raises:
            BundleError: it has changed.

        """
        if sha256_of(self.path, self.offset or 0, self.bytes) != self.sha256:
            raise BundleError(f"{self} is damaged (wrong SHA-256); {REMEDY}")


def sha256_of(path: Path, offset: int = 0, size: int | None = None) -> str:
    """Return the SHA-256 of a file, or of `size` bytes of it from `offset` on, in hexadecimal."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_CHUNK))
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        rest = path.stat().st_size - offset if size is None else size
        while rest and (count := file.readinto(buffer[: min(rest, _CHUNK)])):
            digest.update(buffer[:count])
            rest -= count
    return digest.hexdigest()


class Folder:
    """A bundle's files in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def place_of(self, name: str) -> str:
        """Return where a file lies, for a message."""
        return str(self.path / name)

    def read(self, name: str) -> bytes:
        """Return what a file holds; FileNotFoundError if there is none."""
        return (self.path / name).read_bytes()

    def file(self, entry: dict[str, Any]) -> FileSpec:
        """Return a file that the manifest describes; see `check_sizes` for whether it is there."""
        name = _relative(entry["path"])
        return FileSpec(name, self.path / name, int(entry["bytes"]), str(entry["sha256"]))


class Archive:
    """A bundle's files in an uncompressed tar.

    Raises:
        BundleError: it is none, or it is cut off.

    """

    def __init__(self, path: Path) -> None:
        self.path = path
        size = path.stat().st_size
        try:
            with tarfile.open(path, "r:") as archive:
                members = {member.name: member for member in archive if member.isreg()}
        except tarfile.TarError as error:
            raise BundleError(
                f"{path} is no bundle: a bundle is a folder or an uncompressed tar ({error})"
            ) from None
        self._members = {name: (m.offset_data, m.size) for name, m in members.items()}
        for name, (offset, length) in self._members.items():
            if offset + length > size:
                raise BundleError(f"{path} is cut off inside of {name}; {REMEDY}")

    def place_of(self, name: str) -> str:
        """Return where a file lies, for a message."""
        return f"{name} in {self.path}"

    def read(self, name: str) -> bytes:
        """Return what a file holds; FileNotFoundError if there is none."""
        if name not in self._members:
            raise FileNotFoundError(name)
        offset, size = self._members[name]
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def file(self, entry: dict[str, Any]) -> FileSpec:
        """Return a file that the manifest describes.

        Raises:
            BundleError: the archive lacks it, or has it at another size.

        """
        name, expected = _relative(entry["path"]), int(entry["bytes"])
        if name not in self._members:
            raise BundleError(f"the bundle lacks {self.place_of(name)}; {REMEDY}")
        offset, size = self._members[name]
        if size != expected:
            raise BundleError(
                f"{self.place_of(name)} has {size} bytes, expected {expected}; {REMEDY}"
            )
        return FileSpec(name, self.path, expected, str(entry["sha256"]), offset)


def open_storage(path: Path) -> Folder | Archive:
    """Return a bundle's files.

    Raises:
        BundleError: there is neither a folder nor an archive, or the archive is damaged.

    """
    if path.is_file():
        return Archive(path)
    if not path.is_dir():
        raise BundleError(f"no bundle folder at {path}")
    return Folder(path)


def _relative(text: str) -> str:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"path outside the bundle: {path}")
    return str(path)
