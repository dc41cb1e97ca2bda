"""The audio of a folder, looked up by the paths that a corpus's lists give, and what no list names."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob, path_of


class AudioFiles:
    """The audio files that a source's pattern matches.

    They are looked up in the sorted list that the tree has anyway: a corpus of ten million files needs no second index.
    """

    def __init__(self, tree: FileTree, pattern: str) -> None:
        """Take the audio files of a folder that match a glob (:func:`~.file_tree.compile_glob`)."""
        self._files = tree.audio_files(pattern)
        self._taken = bytearray(len(self._files))
        self.matches = compile_glob(pattern).fullmatch
        """Whether a path is one that the source's pattern asks for."""

    def take(self, path: str) -> ListedFile | None:
        """The file of a path; None where it is not there."""
        place = bisect_left(self._files, path, key=path_of)
        if place == len(self._files) or self._files[place].path != path:
            return None
        self._taken[place] = True
        return self._files[place]

    def take_stem(self, stem: str) -> ListedFile | None:
        """The first file whose path is ``stem`` and an extension of audio; None where there is none."""
        prefix = f"{stem}."
        for place in range(bisect_left(self._files, prefix, key=path_of), len(self._files)):
            file = self._files[place]
            if not file.path.startswith(prefix):
                return None
            if file.path.rpartition(".")[0] == stem:
                self._taken[place] = True
                return file
        return None

    def untaken(self) -> Iterator[ListedFile]:
        """The files that nothing looked up so far, in the order of their paths."""
        return (file for file, taken in zip(self._files, self._taken, strict=True) if not taken)
