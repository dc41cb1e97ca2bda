"""The cache folder: what is downloaded or made once, and used again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, checksums, flock

_NOTE = f".{checksums.FOLDER_FILE}"  # which no reader of a corpus takes for a part of it
_found_whole: set[Path] = set()


def cache_folder() -> Path:
    """``$LLASO_CACHE``, else ``$XDG_CACHE_HOME/llaso``, else ``~/.cache/llaso``."""
    named = os.environ.get("LLASO_CACHE")
    if named and "://" in named:
        raise LLaSOError(f"LLASO_CACHE={named}: the cache is a folder on a disk")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llaso"


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """The folder ``name`` of the cache, made by ``make(empty folder)`` where it does not exist.

    It appears under its name only when ``make`` has finished, so a folder that exists is complete. A second process
    waits for the first. Each process compares the checksums of a folder when it first asks for it; one that is
    damaged is made again, which is said.
    """
    folder = cache_folder() / name
    if _is_whole(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with flock.locked(folder.with_name(f".{folder.name}.lock")):
        if _is_whole(folder):
            return folder
        if folder.is_dir():
            print(f"{folder}: {checksums.faults(folder, _NOTE)[0]}; it is made again", file=sys.stderr, flush=True)
        with atomic.whole_folder(folder) as unfinished:
            make(unfinished)
            checksums.note_folder(unfinished, _NOTE)
    return folder


def _is_whole(folder: Path) -> bool:
    """Whether the folder is there and not damaged; of an earlier version's nothing can be said."""
    if folder not in _found_whole and folder.is_dir() and not checksums.faults(folder, _NOTE):
        _found_whole.add(folder)
    return folder in _found_whole and folder.is_dir()
