"""The members of many zips in little memory: their names, their sizes, and which of them cannot be had."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llaso_data.formats.files.file_tree import ListedFile
from llaso_data.formats.files.suffixes import path_parts
from llaso_data.io.zip_directory import ZipDirectory


class ZippedMember(NamedTuple):
    """A member of a zip of a folder.

    Attributes:
        file: The zip.
        member: Its name as stored.
        size_bytes: Its own size.
        broken: Why its content cannot be had; None: it can.
    """

    file: ListedFile
    member: str
    size_bytes: int
    broken: str | None


class ZippedNames:
    """The members of zips, numbered from 0 in the order of the zips. A member takes its name and 8 bytes.

    A member has the path that it would have if its zip were unpacked where it lies: ``\\`` is ``/``, and ``..`` and a
    root lead nowhere. Names that begin with a dot are left out, as a folder's are.
    """

    def __init__(self) -> None:
        self._zips: list[_Names] = []
        self._firsts: list[int] = [0]

    def __len__(self) -> int:
        return self._firsts[-1]

    def add(self, file: ListedFile, directory: ZipDirectory) -> None:
        """Take up the members of one more zip, those that cannot be had after the others."""
        names, sizes = bytearray(), array("Q")
        ends, broken = array("I"), {}
        with_problems = ((name, 0, why) for name, why in directory.broken.items())
        for name, size_bytes, why in chain(((*one, None) for one in directory.sizes()), with_problems):
            if _is_hidden(name):
                continue
            if why is not None:
                broken[len(ends)] = why
            names += name.encode("utf-8", "surrogateescape")
            ends.append(len(names))
            sizes.append(size_bytes)
        self._zips.append(_Names(file, bytes(names), np.array(ends, np.uint32), _compact(sizes), broken))
        self._firsts.append(self._firsts[-1] + len(ends))

    def paths(self) -> Iterator[str]:
        """The path of every member, in their order."""
        return (path for one in self._zips for path in one.paths())

    def path(self, number: int) -> str:
        """The path of a member."""
        one, place = self._placed(number)
        return one.path(one.name(place))

    def member(self, number: int) -> ZippedMember:
        """A member by its number."""
        one, place = self._placed(number)
        return ZippedMember(one.file, one.name(place), int(one.sizes[place]), one.broken.get(place))

    def _placed(self, number: int) -> tuple[_Names, int]:
        zip_number = bisect_right(self._firsts, number) - 1
        return self._zips[zip_number], number - self._firsts[zip_number]


class _Names(NamedTuple):
    """The members of one zip: all names joined, where each ends, the sizes, and by number why one cannot be had."""

    file: ListedFile
    names: bytes
    ends: npt.NDArray[np.uint32]
    sizes: npt.NDArray[np.unsignedinteger[Any]]
    broken: dict[int, str]

    def name(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return _text(self.names[start : int(self.ends[number])])

    def path(self, name: str) -> str:
        folder = self.file.path.rpartition("/")[0]
        return "/".join([folder, *path_parts(name)] if folder else path_parts(name))

    def paths(self) -> Iterator[str]:
        start = 0
        for end in self.ends.tolist():
            yield self.path(_text(self.names[start:end]))
            start = end


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _compact(sizes: array[int]) -> npt.NDArray[np.unsignedinteger[Any]]:
    """The sizes in 4 bytes each, where all are below 4 GiB."""
    values = np.array(sizes, np.uint64)
    return values.astype(np.uint32) if not len(values) or values.max() < 1 << 32 else values


def _is_hidden(name: str) -> bool:
    return "." in name and any(part.startswith(".") for part in path_parts(name))
