"""Rows of corpora that list their utterances in text files, a line for each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.audio_files import AudioFiles
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.files.text import TOO_LONG, numbered_lines, open_text
from llaso_data.formats.rows.source_row import (
    RowError,
    SourceMetadata,
    SourceRow,
    failed_row,
    file_row,
    row_or_failure,
)
from llaso_data.io import storage
from llaso_data.records import Failure
from llaso_data.uris import extension

_ABOUT = ("README", "LICEN", "COPYING")
_NO_NAMES = ("", ".", "..")


def text_lines(uri: str) -> Iterator[tuple[int, str | Failure]]:
    """Every line of a list with its number, from 1, and without its line end.

    A ``bad_text`` failure stands for a line that is too long, and for the rest of a file that cannot be read.

    Raises:
        StoreError: The store failed.
    """
    number = 0
    try:
        with storage.open_read(uri) as file:
            for number, line in numbered_lines(open_text(file)):
                yield number, Failure("bad_text", f"a line {TOO_LONG}") if line is None else line.rstrip("\r\n")
    except storage.StoreError:
        raise
    except (OSError, UnicodeDecodeError, LLaSOError) as error:
        reason = getattr(error, "strerror", None) or error
        yield number + 1, Failure("bad_text", f"the list cannot be read ({reason})")


def list_rows(
    tree: FileTree, path: str, make: Callable[[str, str], SourceRow], container: str | None = None
) -> Iterator[SourceRow]:
    """A row for every line of a list that is not blank.

    Args:
        tree: The corpus.
        path: The list, a path of the tree.
        make: Gives the row of a line and the line's place (``content.txt:7``); it may raise anything that a broken
            line makes it raise, and the row is a failed one.
        container: URI of what the rows belong to; None: the tree's root.
    """
    container = tree.root if container is None else container
    for number, line in text_lines(tree.uri(path)):
        where = f"{path}:{number}"
        if isinstance(line, Failure):
            yield failed_row(tree.root, container, where, line.detail, reason=line.reason)
        elif line.strip():
            yield row_or_failure(partial(make, line, where), tree.root, container, where)


def with_unlisted(
    tree: FileTree,
    audio: AudioFiles,
    rows: Iterable[SourceRow],
    metadata_of: Callable[[ListedFile], SourceMetadata],
) -> Iterator[SourceRow]:
    """The rows of lists that the source's pattern asks for, and then the audio files that no list names.

    Args:
        tree: The corpus.
        audio: Its audio; ``rows`` take from it what they name.
        rows: The rows of all lists.
        metadata_of: What the corpus says of a file without a line.
    """
    yield from (row for row in rows if row.failure is not None or audio.matches(row.path))
    yield from (file_row(tree, file, metadata_of(file)) for file in audio.untaken())


def note_not_read(tree: FileTree, read: Collection[str]) -> None:
    """Note the files of a corpus that are no audio and were not read, by their extensions.

    Args:
        tree: The corpus, which takes the notes.
        read: Paths of the files that are read.
    """
    for file in tree.not_audio:
        if file.path not in read and not file.path.rpartition("/")[2].upper().startswith(_ABOUT):
            tree.note_example(f"not read: .{extension(file.path)}", file.path)


def file_name(name: str) -> str:
    """A name from a list that is to be part of a path, as it is.

    Raises:
        RowError: It is no name of one file: it is empty, leads elsewhere, or holds NUL.
    """
    if name in _NO_NAMES or "/" in name or "\0" in name:
        raise RowError(f"{name[:80]!r} is no name of a file")
    return name


def cells(line: str, separator: str, names: tuple[str, ...]) -> list[str]:
    """The cells of a line, without white space around them.

    Raises:
        RowError: They are not as many as the names.
    """
    found = [cell.strip() for cell in line.split(separator)]
    if len(found) != len(names):
        shown = "tabs" if separator == "\t" else repr(separator)
        raise RowError(f"{len(found)} cells where a line has {len(names)} ({', '.join(names)}, parted by {shown})")
    return found
