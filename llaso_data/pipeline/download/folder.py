"""What a download keeps in its output beside the files: parts of files, and which files were compared when.

All of it lies in one hidden folder, under hidden names: nothing that reads a corpus takes it for a part.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from llaso_data.io import checksums, storage
from llaso_data.io.hub_files import HubFile, HubTree

HIDDEN = ".llaso-download"
SUMMARY = ".summary.json"
_NOTES = ".verified.json"
_PART = re.compile(r"\.[0-9a-f]{32}\.part")
_SAVE_EVERY_S = 30.0


class Notes:
    """Which files of an output had which sum, while they have the size and the version of then.

    They are written every half minute: a run that is killed compares again what came since.
    """

    def __init__(self, out: str) -> None:
        self._uri = storage.join(out, HIDDEN, _NOTES)
        self._lock = threading.Lock()
        self._saved_s = time.monotonic()
        self._files: dict[str, list[Any]] = {}
        with suppress(
            FileNotFoundError, ValueError, KeyError, TypeError, checksums.DamagedError
        ):  # then all is compared again
            self._files = dict(checksums.read_json(self._uri)["files"])

    def has(self, file: HubFile, status: Mapping[str, Any]) -> bool:
        """Whether a file with this status (:func:`llaso_data.io.storage.stat`) was compared with its sum."""
        return self._files.get(file.path) == [file.sum, status["size"], status["version"]]

    def add(self, file: HubFile, status: Mapping[str, Any]) -> None:
        """Note that a file was compared, from any thread."""
        with self._lock:
            self._files[file.path] = [file.sum, status["size"], status["version"]]
            if time.monotonic() - self._saved_s > _SAVE_EVERY_S:
                self._save()

    def save(self) -> None:
        """Write them."""
        with self._lock:
            self._save()

    def _save(self) -> None:
        checksums.write_json(self._uri, {"files": self._files})
        self._saved_s = time.monotonic()


def part_path(out: str, tree: HubTree, file: HubFile) -> str:
    """Where a file lies on a disk while it comes; the name says which content of which file it will have."""
    return storage.join(out, HIDDEN, _part_name(tree, file))


def sweep_parts(out: str, tree: HubTree) -> None:
    """Remove parts of files, or of contents, that the repository no longer has."""
    folder = storage.join(out, HIDDEN)
    if not storage.is_local(out) or not os.path.isdir(folder):
        return
    with storage.writing(folder):
        for name in _stale(os.listdir(folder), tree):
            os.remove(os.path.join(folder, name))


def _stale(names: Iterable[str], tree: HubTree) -> list[str]:
    wanted = {_part_name(tree, file) for file in tree.files}
    return [name for name in names if _PART.fullmatch(name) and name not in wanted]


def _part_name(tree: HubTree, file: HubFile) -> str:
    key = "\0".join((tree.hub, tree.kind, tree.repo, file.path, file.sum, str(file.size_bytes)))
    return f".{hashlib.sha256(key.encode()).hexdigest()[:32]}.part"
