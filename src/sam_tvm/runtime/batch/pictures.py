"""Which pictures a batch is about: of folders, patterns, lists and single files."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sam_tvm.runtime.errors import ImageError

LIST_SUFFIX = ".txt"


@dataclass(frozen=True)
class Picture:
    """A picture of a batch.

    Attributes:
        name: its path below the folder that all pictures of the batch have in common, with
            slashes; its results are named after it.
        path: the file.

    """

    name: str
    path: Path


def is_batch(inputs: Sequence[str]) -> bool:
    """Tell whether the command line names more than one picture file."""
    if len(inputs) > 1:
        return True
    path = Path(inputs[0])
    return path.is_dir() or path.suffix == LIST_SUFFIX or _is_pattern(inputs[0])


def find_pictures(inputs: Sequence[str], results: Path) -> list[Picture]:
    """Find the pictures, each once, in the order of their names.

    Args:
        inputs: each a folder (searched with its subfolders for files that are named like
            pictures), a pattern (``*``, ``?``, ``[..]``; ``**`` for any folders), a list (a .txt
            file with a path a line, relative to it; ``#`` begins a comment) or a picture.
        results: what lies in this folder is left out of folders and patterns.

    Raises:
        ImageError: there are none, or a list cannot be read. A picture that is missing is none:
            that is found out when it is read.

    """
    paths: dict[Path, None] = {}
    for given in inputs:
        paths.update(dict.fromkeys(_absolute(path) for path in _expand(given, _absolute(results))))
    if not paths:
        raise ImageError(f"no pictures in {', '.join(inputs)}")
    common = _root(inputs, list(paths))
    pictures = (Picture(path.relative_to(common).as_posix(), path) for path in paths)
    return sorted(pictures, key=lambda picture: picture.name)


def _expand(given: str, results: Path) -> Iterable[Path]:
    path = Path(given)
    if path.is_dir():
        known = Image.registered_extensions()
        found = (file for file in path.rglob("*") if file.suffix.lower() in known)
        return [file for file in found if _is_wanted(file, results) and not _is_hidden(file, path)]
    if path.suffix == LIST_SUFFIX:
        return _listed(path)
    if _is_pattern(given):
        found = (Path(name) for name in glob.iglob(given, recursive=True))  # noqa: PTH207 (may be absolute)
        return [file for file in found if _is_wanted(file, results)]
    return [path]


def _listed(path: Path) -> list[Path]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ImageError(f"no list of pictures at {path}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} cannot be read as a list of pictures: {error}") from None
    names = (line.strip() for line in lines)
    return [path.parent / name for name in names if name and not name.startswith("#")]


def _root(inputs: Sequence[str], paths: list[Path]) -> Path:
    """Return the folder that the names are relative to: of a single folder or list it is theirs."""
    given = Path(inputs[0])
    if len(inputs) == 1 and (given.is_dir() or given.suffix == LIST_SUFFIX):
        root = _absolute(given if given.is_dir() else given.parent)
        if all(path.is_relative_to(root) for path in paths):
            return root
    return Path(os.path.commonpath([path.parent for path in paths]))


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not Path(text).exists()


def _is_wanted(file: Path, results: Path) -> bool:
    return file.is_file() and not _absolute(file).is_relative_to(results)


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)


def _absolute(path: Path) -> Path:
    """Return the path from the root, without dots; links stay."""
    return Path(os.path.normpath(path.absolute()))
