"""Finding a file of a folder by the end of a path that was written elsewhere."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from llaso_data.formats.files.file_tree import ListedFile


class SuffixIndex:
    """The files of a folder, by the ends of their paths.

    It takes 16 bytes a file beside the list of them, and 16 more once a path shares no folder's name with any file.

    Args:
        files: In the order of their paths.
    """

    def __init__(self, files: Sequence[ListedFile]) -> None:
        self._files = files
        self._hashes: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]] = {}

    def find(self, path: str) -> ListedFile | None:
        """The file of this path, else the one whose path ends in most of its last parts.

        Args:
            path: With ``/``.

        Returns:
            Of several files with the same end the one with the shortest path, and of those the first. None: no file
            has the name.
        """
        at = bisect_left(self._files, (path,))
        if at < len(self._files) and self._files[at].path == path:
            return self._files[at]
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for depth in (2, 1):
            candidates = self._ending(parts, depth)
            if candidates:
                return min(candidates, key=lambda file: (-_shared(parts, file.path), len(file.path), file.path))
        return None

    def _ending(self, parts: Sequence[str], depth: int) -> list[ListedFile]:
        end = "/".join(parts[-depth:])
        if not end or len(parts) < depth:
            return []
        if depth not in self._hashes:
            self._hashes[depth] = self._hashed(depth)
        hashes, order = self._hashes[depth]
        first, last = np.searchsorted(hashes, hash(end), "left"), np.searchsorted(hashes, hash(end), "right")
        files = (self._files[number] for number in order[first:last])
        return [file for file in files if file.path == end or file.path.endswith(f"/{end}")]

    def _hashed(self, depth: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        ends = (hash("/".join(file.path.rsplit("/", depth)[-depth:])) for file in self._files)
        hashes = np.fromiter(ends, np.int64, len(self._files))
        order = np.argsort(hashes, kind="stable")
        return hashes[order], order


def _shared(parts: Sequence[str], path: str) -> int:
    """How many of the last parts of two paths are the same."""
    count = 0
    for one, other in zip(reversed(parts), reversed(path.split("/")), strict=False):
        if one != other:
            break
        count += 1
    return count
