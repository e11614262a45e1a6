"""Which bundles this machine has verified: hashing gigabytes at each start would take seconds.

When every file of a bundle has had its SHA-256, that is noted in the user's cache folder, with
what the system says of each file: size, times of its last change, place on the disk. While all of
that is the same the files have not been written to, and are not hashed again.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from sam_tvm.runtime.manifest import Manifest, check_sizes, verify_files
from sam_tvm.runtime.replacing import replacing

VARIABLE = "SAM_TVM_CACHE"
# Files that changed so lately could change again without a new time: systems count it in steps.
_SETTLED_SECONDS = 2


def verify_once(manifest: Manifest) -> None:
    """Compare every file with its SHA-256, unless that was done before and nothing has changed.

    Raises:
        BundleError: naming the first file that is missing, too short, too long or altered.

    """
    check_sizes(manifest)
    seen = _state(manifest)
    note = _folder() / f"{hashlib.sha256(str(manifest.folder.resolve()).encode()).hexdigest()}.json"
    with suppress(OSError, ValueError):
        if json.loads(note.read_text(encoding="utf-8")) == seen:
            return
    started = time.time()
    verify_files(manifest)
    newest = max(file.path.stat().st_ctime for file in manifest.files.values())
    if newest < started - _SETTLED_SECONDS and _state(manifest) == seen:
        # Without a cache folder it is hashed again, nothing worse.
        with suppress(OSError), replacing(note) as stream:
            stream.write(json.dumps(seen))


def _folder() -> Path:
    """Return where the notes lie: $SAM_TVM_CACHE, or the user's cache folder."""
    if given := os.environ.get(VARIABLE):
        return Path(given)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "sam-tvm"
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "sam-tvm"


def _state(manifest: Manifest) -> dict[str, object]:
    """Return what would be different if a file had been replaced or written to."""
    paths = dict.fromkeys(file.path for file in manifest.files.values())
    stats = [path.stat() for path in paths]
    return {
        "manifest": manifest.raw["manifest_sha256"],
        "files": [[s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns] for s in stats],
    }
