"""Where relative paths of a manifest begin: tools write them relative to the folder that they ran in."""

from __future__ import annotations

from collections.abc import Iterable

from llaso_data.io import storage

_FOLDERS = 8
"""Of the manifest's own folder and those above it, how many are tried."""


def base_of(folder: str, names: Iterable[str]) -> str:
    """The folder that relative paths begin in: the manifest's own, or the nearest above it in which one of them exists.

    Args:
        folder: URI of the manifest's folder.
        names: Some of the paths that it names; absolute ones and addresses do not count.

    Returns:
        The URI of a folder; the manifest's own where no path exists below any.
    """
    relative = [name for name in names if name and not name.startswith("/") and "://" not in name and "\0" not in name]
    base = folder
    for _ in range(_FOLDERS if relative else 0):
        if any(storage.exists(storage.join(base, name)) for name in relative):
            return base
        above = base.rpartition("/")[0]
        if not above or above.endswith(("/", ":")):
            break
        base = above
    return folder
