"""A bundle as one file, which the runtime reads and maps where it lies (`runtime.storage`)."""

from __future__ import annotations

import tarfile
from pathlib import Path

from sam_tvm.runtime.manifest import MANIFEST


def write_archive(folder: Path, path: Path) -> None:
    """Write the bundle in `folder` to `path` (which the caller renames into place).

    An uncompressed tar, the manifest first; equal bundles make equal bytes.
    """
    names = sorted(file.name for file in folder.iterdir())
    names.sort(key=lambda name: name != MANIFEST)
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = (folder / name).stat().st_size, 0o644
            with (folder / name).open("rb") as file:
                archive.addfile(entry, file)
