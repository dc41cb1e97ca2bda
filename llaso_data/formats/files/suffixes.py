"""Finding a file by the end of a path that was written elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

DEPTHS = (2, 1)
"""By so many of their last parts paths are looked up: by the file's name with its folder, else by the name."""


def path_parts(path: str) -> list[str]:
    """The folders and the name of a path: ``/`` and ``\\`` are between them, ``.`` and ``..`` are none."""
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def closeness(parts: Sequence[str], path: str) -> tuple[int, int, str]:
    """How close a file's path is to the one that is looked for; of several files the least is taken.

    That is the one with most of the last parts in common, of those the one with the shortest path, and of those the
    first by its path.

    Args:
        parts: Of the path that is looked for, as :func:`path_parts` gives them.
        path: Of a file, with ``/``.
    """
    shared = 0
    for one, other in zip(reversed(parts), reversed(path.split("/")), strict=False):
        if one != other:
            break
        shared += 1
    return -shared, len(path), path


class SuffixIndex:
    """Paths by their ends. It takes 12 bytes a path, and 12 more once one is looked for that shares no folder's name.

    Args:
        paths: All paths, with ``/``; called once for each depth.
        count: How many they are.
        path: The path of a number, counted from 0 in the order of ``paths``.
    """

    def __init__(self, paths: Callable[[], Iterable[str]], count: int, path: Callable[[int], str]) -> None:
        self._paths, self._count, self._path = paths, count, path
        self._hashes: dict[int, tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]] = {}

    def find(self, path: str) -> tuple[int, int] | None:
        """The number of the path that ends in most of the last parts of this one.

        Args:
            path: What is looked for.

        Returns:
            The number, of several that of the path that :func:`closeness` takes, and of equal ones the first; and by
            which of :data:`DEPTHS` it was found, 1 where no more than the file's name is the same. None: no path has
            the name.
        """
        parts = path_parts(path)
        for depth in DEPTHS:
            candidates = self._ending(parts, depth)
            if len(candidates) > 1:
                return min(candidates, key=lambda number: (closeness(parts, candidates[number]), number)), depth
            if candidates:
                return next(iter(candidates)), depth
        return None

    def _ending(self, parts: Sequence[str], depth: int) -> dict[int, str]:
        """The paths that end in the last parts, by their numbers."""
        if len(parts) < depth:
            return {}
        end = "/".join(parts[-depth:])
        if depth not in self._hashes:
            self._hashes[depth] = self._hashed(depth)
        hashes, order = self._hashes[depth]
        wanted, found = hash(end), {}
        at = int(hashes.searchsorted(wanted))
        while at < self._count and hashes[at] == wanted:
            number = int(order[at])
            path = self._path(number)
            if path == end or path.endswith(f"/{end}"):
                found[number] = path
            at += 1
        return found

    def _hashed(self, depth: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        ends = (hash("/".join(path.rsplit("/", depth)[-depth:])) for path in self._paths())
        hashes = np.fromiter(ends, np.int64, self._count)
        order = np.argsort(hashes, kind="stable").astype(np.uint32)
        return hashes[order], order
