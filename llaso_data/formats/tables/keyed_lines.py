"""Tables of lines ``KEY VALUE`` that belong together by their keys, as Kaldi has them: joined while they are read.

Kaldi keeps such tables sorted by the bytes of their keys, so that a join needs no memory. A table that is not sorted is
sorted in memory, up to :data:`MOST_UNSORTED` lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.files.text import TOO_LONG, numbered_lines, open_text
from llaso_data.io import storage

_SPACE = re.compile(r"[ \t]+")
MOST_UNSORTED = 1_000_000
"""The most lines of a table that is not sorted."""


class KeyedLine(NamedTuple):
    """One line: its key, what follows it, and its place (``text:12``, relative to the tree)."""

    key: str
    value: str
    where: str

    @property
    def order(self) -> bytes:
        """What tables are sorted by."""
        return self.key.encode("utf-8", "surrogateescape")


class BrokenLine(NamedTuple):
    """A line that is none: its place, and what is wrong with it."""

    where: str
    wrong: str


def keyed_lines(tree: FileTree, path: str) -> Iterator[KeyedLine | BrokenLine]:
    """The lines of a table as they stand; empty ones are passed over.

    Raises:
        LLaSOError: The table cannot be read.
    """
    uri = tree.uri(path)
    try:
        with storage.open_read(uri) as file:
            for number, line in numbered_lines(open_text(file)):
                where = f"{path}:{number}"
                if line is None:
                    yield BrokenLine(where, f"a line {TOO_LONG}")
                    continue
                key, *value = _SPACE.split(line.strip(" \t\r\n\ufeff"), maxsplit=1)
                if key:
                    yield KeyedLine(key, value[0] if value else "", where)
    except (OSError, UnicodeDecodeError) as error:
        raise LLaSOError(f"{uri}: cannot be read ({getattr(error, 'strerror', None) or error})") from error


def sorted_lines(tree: FileTree, path: str, broken: list[BrokenLine]) -> Iterator[KeyedLine]:
    """The lines of a table in the order of their keys.

    Args:
        tree: The folder that the table lies in.
        path: Of the table, relative to the tree.
        broken: Takes the lines that are none.

    Raises:
        LLaSOError: The table cannot be read, or is neither sorted nor small.
    """
    lines = _lines(tree, path, broken)
    if _is_sorted(tree, path):
        return lines
    some = list(islice(lines, MOST_UNSORTED + 1))
    if len(some) > MOST_UNSORTED:
        name = path.rpartition("/")[2]
        raise LLaSOError(
            f"{tree.uri(path)}: its lines are not in the order of their keys, as Kaldi wants them; "
            f"run `LC_ALL=C sort -o {name} {name}` beside it"
        )
    return iter(sorted(some, key=lambda line: line.order))


def _lines(tree: FileTree, path: str, broken: list[BrokenLine]) -> Iterator[KeyedLine]:
    for line in keyed_lines(tree, path):
        if isinstance(line, BrokenLine):
            broken.append(line)
        else:
            yield line


def _is_sorted(tree: FileTree, path: str) -> bool:
    last = b""
    for line in _lines(tree, path, []):
        if line.order < last:
            return False
        last = line.order
    return True


class Joined:
    """A sorted table that is asked for the lines of ascending keys."""

    def __init__(self, lines: Iterator[KeyedLine]) -> None:
        self._lines = lines
        self._next = next(lines, None)

    def line(self, key: bytes, unasked: list[KeyedLine]) -> KeyedLine | None:
        """The line of a key that is not before the last one asked for; None where there is none.

        Args:
            key: As :attr:`KeyedLine.order` has it.
            unasked: Takes the lines before it that nobody asked for: unknown keys, and repeated ones.
        """
        while self._next is not None and self._next.order < key:
            unasked.append(self._next)
            self._next = next(self._lines, None)
        if self._next is None or self._next.order != key:
            return None
        found, self._next = self._next, next(self._lines, None)
        return found

    def rest(self) -> Iterator[KeyedLine]:
        """The lines after the last key that was asked for."""
        while self._next is not None:
            line, self._next = self._next, next(self._lines, None)
            yield line
