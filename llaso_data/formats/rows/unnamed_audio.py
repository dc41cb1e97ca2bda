"""Audio in the folder of a corpus that no row of it names: it is not read, and that is said."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from llaso_data.formats.files.file_tree import FileTree, path_of
from llaso_data.formats.rows.source_row import SourceRow


def noting_unnamed_audio(rows: Iterable[SourceRow], tree: FileTree, pattern: str) -> Iterator[SourceRow]:
    """The rows as they come. When all are read, the audio that none of them named becomes a note.

    Args:
        rows: Of the corpus.
        tree: The source, which takes the note; a source that is one file has none.
        pattern: Glob of the files that are asked for.
    """
    files = [] if tree.is_file else tree.audio_files(pattern)
    prefix = f"{tree.root}/"
    is_named = bytearray(len(files))  # a set of their paths would need a hundred times the memory
    for row in rows:
        if files and row.uri.startswith(prefix):
            path = row.uri[len(prefix) :]
            place = bisect_left(files, path, key=path_of)
            if place < len(files) and files[place].path == path:
                is_named[place] = 1
        yield row
    if (count := is_named.count(0)) > 0:
        tree.note(f"not read: audio that no row names: {files[is_named.index(0)].path}", count)
