"""A source opened: the files by which its layout is recognised, and from which it is read."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.braces import with_braces
from llaso_data.io import storage
from llaso_data.uris import escaped, extension


class ListedFile(NamedTuple):
    """A file of a folder. ``path`` is relative to the folder, with ``/``; ``version`` changes with the bytes."""

    path: str
    size_bytes: int
    version: str


path_of = attrgetter("path")
"""By this the files of a folder are sorted."""


@dataclass(frozen=True)
class FileTree:
    """What a layout is recognised by and read from.

    Attributes:
        root: Absolute URI of the folder; where ``is_file``, of the one file, or a pattern of tars (``a-{00..09}.tar``).
        is_file: Whether the source is one file or pattern, not a folder.
        files: The folder's files at any depth, in the order of their paths, without names that begin with a dot.
        notes: Counts what a reader wants said of the source at the end of a run, besides its rows.
        labels: Names of fields that are asked for besides what is known of audio: a map may give them, and columns of
            these names are theirs.
    """

    root: str
    is_file: bool = False
    files: tuple[ListedFile, ...] = ()
    notes: Counter[str] = field(default_factory=Counter, compare=False)
    labels: frozenset[str] = field(default=frozenset(), compare=False)

    @cached_property
    def extensions(self) -> Counter[str]:
        """How many files of the folder have each extension, in small letters and without the dot."""
        return Counter(extension(file.path) for file in self.files)

    @cached_property
    def not_audio(self) -> tuple[ListedFile, ...]:
        """The folder's files without an extension of audio: lists, tables, transcripts."""
        return tuple(file for file in self.files if extension(file.path) not in AUDIO_EXTENSIONS)

    def below(self, folder: str) -> Iterator[ListedFile]:
        """The files in a folder of the tree, at any depth, in the order of their paths; all files for ``""``."""
        prefix = f"{folder}/" if folder else ""
        place = bisect_left(self.files, prefix, key=path_of)
        while place < len(self.files) and self.files[place].path.startswith(prefix):
            yield self.files[place]
            place += 1

    def uri(self, path: str) -> str:
        """The URI of a path of the folder."""
        return storage.join(self.root, path)

    def audio_files(self, pattern: str) -> list[ListedFile]:
        """The folder's files that have an extension of audio and match a glob (:func:`compile_glob`)."""
        matches = compile_glob(pattern).fullmatch
        return [file for file in self.files if extension(file.path) in AUDIO_EXTENSIONS and matches(file.path)]

    def note(self, what: str, count: int) -> None:
        """Add ``count`` to a note; nothing where it is 0."""
        if count:
            self.notes[what] += count

    def note_example(self, kind: str, example: str) -> None:
        """Count one more of a kind of thing. The note names the first example that it gets."""
        known = next((note for note in self.notes if note.startswith(f"{kind}: ")), f"{kind}: {escaped(example)}")
        self.notes[known] += 1


def table_inside(tree: FileTree, *names: str) -> FileTree:
    """The table of a set, where its folder is named instead of it.

    Args:
        tree: What the user named.
        names: What the table may be called.

    Returns:
        The first file of these names at the top of the folder, as a source of its own; else the tree as it is.
    """
    if tree.is_file:
        return tree
    present = {file.path for file in tree.files if "/" not in file.path}
    name = next((name for name in names if name in present), None)
    return tree if name is None else FileTree(tree.uri(name), is_file=True, notes=tree.notes, labels=tree.labels)


def open_tree(path: str, endings: Collection[str]) -> FileTree:
    """The files of a folder, or a single file or pattern of tars as it is.

    Args:
        path: What the user named: a folder, a file, a URI, or a pattern with braces.
        endings: Extensions of files that a layout reads as a source of their own. On a store a name that ends so is a
            file where it exists: asking HTTP for the folder of a tar would fetch the tar.

    Raises:
        LLaSOError: Nothing is there.
    """
    root = storage.absolute(path)
    if with_braces(root) != root and not storage.exists(root):
        root = with_braces(root)
    if "{" in root and not storage.exists(root):
        return FileTree(root, is_file=True)
    named_as_file = not storage.is_local(root) and file_ending(root, endings) and storage.exists(root)
    if named_as_file or storage.is_file(root):
        return FileTree(root, is_file=True)
    listing = storage.listing(root)
    files = tuple(
        ListedFile(row["path"], row["size"], row["version"])
        for row in listing
        if not any(part.startswith(".") for part in row["path"].split("/"))
    )
    if not listing and not storage.exists(root):
        raise LLaSOError(f"{path}: no such file or folder; check the path of this source")
    return FileTree(root, files=files)


def file_ending(path: str, endings: Collection[str]) -> str:
    """The longest of ``endings`` (``tar``, ``jsonl.gz``) that a file's name has; empty where it has none."""
    name = path.rpartition("/")[2].lower()[1:]
    return max((ending for ending in endings if name.endswith(f".{ending}")), key=len, default="")


def compile_glob(pattern: str) -> re.Pattern[str]:
    """A glob on paths with ``/`` as a regular expression.

    ``*`` and ``?`` stay inside a folder, ``**/`` is any depth, also none, and ``[…]`` is one of a set.

    Raises:
        LLaSOError: The pattern is no glob.
    """
    plain = re.sub(r"(\*\*/)+", "**/", re.sub(r"\*{2,}", "**", pattern))  # runs of stars would search for ever
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", plain)
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    try:
        return re.compile("".join(special.get(piece) or _literal_or_set(piece) for piece in pieces), re.DOTALL)
    except re.error as error:
        raise LLaSOError(f"pattern {pattern!r}: {error}") from error


def escaped_glob(path: str) -> str:
    """The glob that matches this path alone."""
    return re.sub(r"[*?\[]", r"[\g<0>]", path)


def _literal_or_set(piece: str) -> str:
    if not (piece.startswith("[") and piece.endswith("]")):
        return re.escape(piece)
    inside = re.sub(r"[\\[&~|]", r"\\\g<0>", piece[1:-1])
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
