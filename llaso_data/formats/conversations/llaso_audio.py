"""The audio of a folder of LLaSO's: files as they are, and members of the zips beside them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain

import numpy as np

from llaso_data.formats.conversations.llaso_reader import FoundAudio
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.files.suffixes import SuffixIndex, path_parts
from llaso_data.formats.files.zipped_names import ZippedNames
from llaso_data.formats.rows.conversation import bad_conversation
from llaso_data.formats.rows.source_row import describe_error
from llaso_data.formats.tables.columns import audio_location, audio_stat
from llaso_data.io import storage, zip_members
from llaso_data.io.zip_directory import ZipDirectory
from llaso_data.records import Failure
from llaso_data.uris import extension

_AT_ONCE = 16  # zips of a store whose directories are asked for together


class FolderAudio:
    """The audio of a folder by the ends of paths, be it a file or a member of a zip.

    Both compete by the same rule (:func:`~llaso_data.formats.files.suffixes.closeness`), a member by the path that it
    has when its zip is unpacked where it lies. So a corpus gives the same samples unpacked and in its archives. Where a
    file and members have the same path, the file is taken, else the member of the first zip.

    Args:
        tree: The folder; it takes the notes.
        by_name: Whether audio in another folder is taken, and noted, where nothing but its name is the same.
    """

    def __init__(self, tree: FileTree, by_name: bool = True) -> None:
        self._tree, self._by_name = tree, by_name
        self._members = ZippedNames()
        self.failures: list[Failure] = []
        """The zips that cannot be read."""
        for file, directory in _directories(tree):
            if isinstance(directory, Failure):
                self.failures.append(directory)
                continue
            self._members.add(file, directory)
            if directory.repeated:
                name = f"{file.path}!{directory.repeated[0]}"
                tree.note(f"members of zips whose name came before: {name}", len(directory.repeated))
        self._index = SuffixIndex(self._paths, len(tree.files) + len(self._members), self._path)
        self._used = np.zeros(len(self._members), bool)

    def find(self, path: str) -> FoundAudio | None:
        """The audio of a path (:data:`~.llaso_reader.Find`)."""
        _, uri = audio_location(path, self._tree.root)
        if not uri.startswith(f"{self._tree.root}/"):
            size_bytes, version = audio_stat(uri)
            return FoundAudio(uri, size_bytes, version) if version or size_bytes else None
        files, number = self._tree.files, self._number(path)
        if number is None:
            return None
        if number < len(files):
            file = files[number]
            return FoundAudio(self._tree.uri(file.path), file.size_bytes, file.version)
        number -= len(files)
        self._used[number] = True
        zipped = self._members.member(number)
        uri, version = self._tree.uri(zipped.file.path), zipped.file.version
        return FoundAudio(uri, zipped.size_bytes, version, zipped.member, zipped.broken)

    def _number(self, path: str) -> int | None:
        """The number of the audio: files come first, then members."""
        at = bisect_left(self._tree.files, (path,))
        if at < len(self._tree.files) and self._tree.files[at].path == path:
            return at  # nothing is closer than that very file
        match = self._index.find(path)
        if match is None:
            return None
        number, depth = match
        if depth > 1 or not _is_in_another_folder(path, self._path(number)):
            return number
        if not self._by_name:
            return None
        kind = "audio found by its name alone, in another folder"  # that of an archive that was not fetched, perhaps
        self._tree.note_example(kind, f"{path} is taken for {self._path(number)}")
        return number

    def note_unused(self) -> None:
        """Note the members that nobody asked for."""
        unused = np.flatnonzero(~self._used)
        if len(unused):
            first = self._members.member(int(unused[0]))
            self._tree.note(f"members of zips that no row names: {first.file.path}!{first.member}", len(unused))

    def _paths(self) -> Iterator[str]:
        return chain((file.path.replace("\\", "/") for file in self._tree.files), self._members.paths())

    def _path(self, number: int) -> str:
        files = self._tree.files
        return files[number].path.replace("\\", "/") if number < len(files) else self._members.path(number - len(files))


def _is_in_another_folder(path: str, found: str) -> bool:
    folders, others = path_parts(path)[:-1], found.split("/")[:-1]
    return bool(folders and others) and folders[-1] != others[-1]


def _directories(tree: FileTree) -> Iterator[tuple[ListedFile, ZipDirectory | Failure]]:
    """The directories of the zips of a folder, in the order of their paths; a failure for one that cannot be read."""
    zips = [file for file in tree.files if extension(file.path) == "zip"]
    if storage.is_local(tree.root) or len(zips) < 2:
        yield from ((file, _directory(tree, file)) for file in zips)
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for start in range(0, len(zips), _AT_ONCE):
            some = zips[start : start + _AT_ONCE]
            yield from zip(some, pool.map(lambda file: _directory(tree, file), some), strict=True)


def _directory(tree: FileTree, file: ListedFile) -> ZipDirectory | Failure:
    uri = tree.uri(file.path)
    try:
        return zip_members.read(uri, file.size_bytes)
    except Exception as error:
        detail = describe_error(error).removeprefix(f"{uri}: ")
        return bad_conversation(tree.root, file.path, detail, reason="unreadable")
