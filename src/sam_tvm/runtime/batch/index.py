"""What a batch has done: one line a picture, added when its results are in place.

The first line of ``index.jsonl`` says with which bundle, prompts and threshold; a run with others
may not add to it. A line that a killed run left unfinished is dropped. The file is locked while a
run writes to it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import IO, Any

from sam_tvm.runtime.batch.pictures import Picture
from sam_tvm.runtime.errors import UserError

NAME = "index.jsonl"
DONE, FAILED = "done", "failed"

Entry = dict[str, Any]


class Index:
    """The index of a folder of results, open for adding to it.

    Attributes:
        entries: by picture, the last of each.

    Raises:
        UserError: the folder's results are of other settings, another run is writing them, or the
            file is no index.

    """

    def __init__(self, folder: Path, settings: dict[str, Any], overwrite: bool = False) -> None:
        self._path = folder / NAME
        folder.mkdir(parents=True, exist_ok=True)
        self._stream: IO[bytes] = self._path.open("ab+")
        try:
            _lock(self._stream, folder)
            lines = self._read(overwrite)
            if lines:
                _compare(lines[0], settings, folder)
            else:
                self._write(settings)
            self.entries: dict[str, Entry] = {line["name"]: line for line in lines[1:]}
        except BaseException:
            self._stream.close()
            raise

    def is_done(self, picture: Picture) -> bool:
        """Tell whether the picture's results are there and were made from the file as it is."""
        entry = self.entries.get(picture.name)
        if entry is None or entry["status"] != DONE:
            return False
        try:
            return bool(entry["source"] == source_of(picture))
        except OSError:
            return False

    def add(self, picture: Picture, status: str, **facts: Any) -> None:
        """Note what came of a picture; nothing is written that is known already."""
        try:
            source = source_of(picture)
        except OSError:
            source = {"path": str(picture.path)}
        entry = {"name": picture.name, "status": status, "source": source, **facts}
        if self.entries.get(picture.name) != entry:
            self.entries[picture.name] = entry
            self._write(entry)

    def close(self) -> None:
        """Let other runs write."""
        self._stream.close()

    def _read(self, overwrite: bool) -> list[Entry]:
        """Return the lines that are whole; the others, or all of them, are cut off."""
        self._stream.seek(0)
        data = b"" if overwrite else self._stream.read()
        data = data[: data.rfind(b"\n") + 1]
        try:
            lines = [json.loads(line) for line in data.splitlines()]
            if not all(isinstance(line, dict) for line in lines):
                raise ValueError
            if not all({"name", "status", "source"} <= line.keys() for line in lines[1:]):
                raise ValueError
        except ValueError:
            raise UserError(
                f"{self._path} is damaged: delete it, or start anew with --overwrite"
            ) from None
        self._stream.truncate(len(data))
        return lines

    def _write(self, entry: Entry) -> None:
        self._stream.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())
        self._stream.flush()


def source_of(picture: Picture) -> Entry:
    """Return what tells a picture's file from another, or from what it was before."""
    stat = picture.path.stat()
    return {"path": str(picture.path), "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _compare(former: Entry, settings: dict[str, Any], folder: Path) -> None:
    for name, value in settings.items():
        if former.get(name) != value:
            raise UserError(
                f"the results in {folder} were made with {name} {json.dumps(former.get(name))}, "
                f"not {json.dumps(value)}: give another --out, or --overwrite"
            )


def _lock(stream: IO[bytes], folder: Path) -> None:
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise UserError(f"another run is writing to {folder}: wait for it to end") from None
