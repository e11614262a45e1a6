"""One component's folder of artifacts and its manifest: what was made, from what, is it current.

The folder is a cache. A stage's record holds the key that its outputs were made from (a hash of
inputs, patches, sources and versions) and each file's size and SHA-256; a stage whose key is
unchanged is skipped, and a file is checked against its hash before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sam_tvm.pipeline import files
from sam_tvm.runtime.errors import UserError

MANIFEST = "manifest.json"
# What the user gave, or what the system refuses (no permission, a full disk, no memory): no
# component's own failure, and not mended by trying the next one.
OUTSIDE_ERRORS = (UserError, OSError, MemoryError)


class ArtifactError(UserError):
    """An artifact is missing or is not what its manifest says."""


class MissingArtifactError(ArtifactError):
    """An earlier stage has not made (or could not make) what a stage needs."""


class Store:
    """The artifacts of one component (or of a model's end-to-end module)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def manifest(self) -> dict[str, Any]:
        """The manifest, empty where there is none yet or it cannot be read."""
        try:
            return json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # no JSON, or no text at all
            return {}

    def record(self, stage: str) -> dict[str, Any] | None:
        """What the manifest says of `stage`."""
        return self.manifest.get("stages", {}).get(stage)

    def is_current(self, stage: str, key: str) -> bool:
        """Whether the outputs of `stage` were made from `key` and are there at their sizes."""
        record = self.record(stage)
        return bool(record) and record["key"] == key and self._is_whole(record)

    def _is_whole(self, record: Mapping[str, Any]) -> bool:
        return all(
            description.get("dropped")
            or (
                (self.folder / name).is_file()
                and (self.folder / name).stat().st_size == description["bytes"]
            )
            for name, description in record["files"].items()
        )

    def file(self, stage: str, name: str, made_by: str) -> Path:
        """Path of an output of `stage`, checked against its hash.

        Args:
            stage: the stage that made it.
            name: its name as the stage recorded it.
            made_by: the script that makes it, for the message.

        Raises:
            ArtifactError: if it was never made, was dropped, or its bytes have changed.
        """
        record = self.record(stage)
        if record is None or name not in record["files"]:
            raise MissingArtifactError(f"{self.folder / name} is missing: run {made_by} first")
        path, expected = self.folder / name, record["files"][name]
        if expected.get("dropped") or not path.is_file():
            raise MissingArtifactError(f"{path} is gone: run {made_by} again")
        if files.sha256_of_file(path) != expected["sha256"]:
            raise ArtifactError(f"{path} is corrupt (its hash differs): delete it, run {made_by}")
        return path

    def commit(
        self,
        stage: str,
        key: str,
        make: Callable[[Path], Mapping[str, Any]],
        header: Mapping[str, Any],
    ) -> dict[str, Any]:
        """Run `make` in a staging folder, move what it wrote into place, record it.

        If `make` fails, the stage's former outputs, which were made from another key, and all
        that later stages made of them are removed: no report may speak of them. An interrupt and
        `OUTSIDE_ERRORS` leave them.

        Args:
            stage: the stage's name in the manifest.
            key: what the outputs are made from.
            make: writes files into the folder it is given (subfolders are kept) and returns
                facts to keep in the record.
            header: what the manifest says of the component itself.

        Returns:
            The stage's new record.
        """
        with files.staging_directory(self.folder, stage.replace("/", "-")) as staging:
            try:
                facts = make(staging)
            except OUTSIDE_ERRORS:
                raise
            except Exception:
                self._invalidate(stage)
                raise
            made = sorted(path for path in staging.rglob("*") if path.is_file())
            described = {
                path.relative_to(staging).as_posix(): files.describe(path) for path in made
            }
            self._forget(stage, keep=described)
            for path in made:
                destination = self.folder / path.relative_to(staging)
                destination.parent.mkdir(parents=True, exist_ok=True)
                path.replace(destination)
        record = {"key": key, "files": described, **facts}
        manifest = {**self.manifest, **header}
        manifest["stages"] = {**manifest.get("stages", {}), stage: record}
        files.write_json(self.folder / MANIFEST, manifest)
        return record

    def _forget(self, stage: str, keep: Mapping[str, Any]) -> None:
        """Delete a stage's former outputs, so that no file outlives its record."""
        for name in (self.record(stage) or {"files": {}})["files"]:
            if name not in keep:
                (self.folder / name).unlink(missing_ok=True)

    def _invalidate(self, stage: str) -> None:
        """Forget a stage and those made of it: after it in the manifest, and of the same build."""
        stages = self.manifest.get("stages", {})
        names = list(stages)
        after = names[names.index(stage) :] if stage in names else []
        build = _build_of(stage)
        stale = [name for name in after if not build or _build_of(name) in ("", build)]
        if not stale:
            return
        manifest = self.manifest
        manifest["stages"] = {name: stages[name] for name in names if name not in stale}
        files.write_json(self.folder / MANIFEST, manifest)
        for name in stale:
            for path in stages[name]["files"]:
                (self.folder / path).unlink(missing_ok=True)

    def drop(self, stage: str, name: str) -> None:
        """Delete an output that no later stage needs, and note that it was dropped."""
        manifest = self.manifest
        description = manifest["stages"][stage]["files"][name]
        (self.folder / name).unlink(missing_ok=True)
        description["dropped"] = True
        files.write_json(self.folder / MANIFEST, manifest)


def _build_of(stage: str) -> str:
    """The build (target, precision, pipeline) that a stage belongs to; empty if to none."""
    return stage.partition("/")[2]
