"""The cache folder: what is downloaded or made once, and used again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, checksums, flock

_NOTE = f".{checksums.FOLDER_FILE}"  # hidden, so that no reader of a corpus takes it for a part
_known_whole: set[Path] = set()


def cache_folder() -> Path:
    """``$LLASO_CACHE``, else ``$XDG_CACHE_HOME/llaso``, else ``~/.cache/llaso``.

    Raises:
        LLaSOError: where ``LLASO_CACHE`` is an address of a store.
    """
    variable = os.environ.get("LLASO_CACHE")
    if variable and "://" in variable:
        raise LLaSOError(f"LLASO_CACHE={variable}: the cache is a folder on a disk")
    if variable:
        return Path(variable)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llaso"


def cached(name: str, make: Callable[[Path], None]) -> Path:
    """Get a folder of the cache, and make it where it does not exist or is damaged.

    The folder gets its name when ``make`` has finished, so that a folder with the name is complete. A second process
    waits for the first. Each process compares the checksums of a folder when it first asks for it. A line on standard
    error tells that a damaged folder is made again.

    Args:
        name: of the folder within the cache.
        make: fills the empty folder that it is given.

    Returns:
        The folder.

    Raises:
        LLaSOError: as :func:`cache_folder` does, and what ``make`` raises.
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
    """Whether the folder exists and is not damaged. One without checksums, of an earlier version, counts as whole."""
    if folder not in _known_whole and folder.is_dir() and not checksums.faults(folder, _NOTE):
        _known_whole.add(folder)
    return folder in _known_whole and folder.is_dir()
