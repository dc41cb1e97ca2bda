"""What a reader of a layout yields: a :class:`SourceRow` for each utterance, and a failed one for each broken row."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from llaso_data.errors import OF_THE_MACHINE, LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.io import storage
from llaso_data.records import Failure, Word
from llaso_data.uris import masked

BAD_ROW = "bad_row"
"""The reason of a row that names no usable input. Its location, not its audio, makes its id."""
_MESSAGE_CHARACTERS = 1000  # errors may quote the row

AudioKey = tuple[str, str, float, float, tuple[int, ...]]
"""Path, member, start and end in seconds, channels: what makes an id, in an order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceMetadata:
    """What a corpus says of an utterance, in its own words; None where it says nothing.

    Attributes:
        channels: Channels of the file to average, counted from 0; None: all.
        channel_count: How many channels the file is said to have.
        words: The words of the text with times from the start of the utterance.
        more: What else is said, by name, of a layout without columns where labels are asked for.
    """

    text: str | None = None
    language: str | None = None
    speaker: str | None = None
    gender: str | None = None
    age: str | None = None
    accent: str | None = None
    environment: str | None = None
    license: str | None = None
    consent: str | None = None
    channels: tuple[int, ...] | None = None
    channel_count: int | None = None
    words: tuple[Word, ...] | None = None
    more: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRow:
    """One utterance as its corpus describes it.

    Attributes:
        path: The audio file relative to ``root``, with ``/``. With ``member``, span and channels it makes the id.
            Where not ``member_in_id``, it is the name that the corpus has for the audio, wherever that lies.
        uri: The audio file.
        root: URI that ``path`` and ``where`` are relative to.
        container: URI of the folder, table or tar that the row belongs to. Blocks of work never cross containers.
        member: Name of the audio inside the file at ``uri``, where that is an archive.
        member_in_id: Whether ``member`` is a part of the id. Where it is not, an audio has the same id in an archive
            and unpacked.
        start_s: Start of the utterance in the audio, seconds; None: from the beginning.
        end_s: End of the utterance in the audio, seconds; None: to the end.
        metadata: What the corpus says of the utterance.
        size_bytes: Size of the audio; 0 where it is not known.
        version: Changes with the bytes of the audio; empty where it is not known.
        failure: Why the utterance cannot be used.
        where: The place that says all this, relative to ``root``: ``validated.tsv:12``, ``a.tar!b.txt``.
        stated_s: How long the utterance is, as its corpus says, seconds. It is believed only where nothing is decoded.
        fields: All columns of the row, by name, where the source has a map and its layout has columns; else None. Where
            labels are asked for and there is no map, the columns of their names.
        asked: What the source or a map says of the sample that is made of the row
            (:data:`~.mapping.SAMPLE_TARGETS`).
        labels: What the source or a map says besides, by the names of fields that tasks have, where these are asked for
            (:attr:`~llaso_data.formats.files.file_tree.FileTree.labels`).
    """

    path: str
    uri: str
    root: str
    container: str
    member: str | None = None
    member_in_id: bool = True
    start_s: float | None = None
    end_s: float | None = None
    metadata: SourceMetadata = SourceMetadata()
    size_bytes: int = 0
    version: str = ""
    failure: Failure | None = None
    where: str = ""
    stated_s: float | None = None
    fields: Mapping[str, Any] | None = None
    asked: Mapping[str, str] | None = None
    labels: Mapping[str, Any] | None = None

    @property
    def location(self) -> str:
        """``where`` as a URI, for messages."""
        return storage.join(self.root, self.where) if self.where else self.uri

    @property
    def is_bad_row(self) -> bool:
        """Whether the row names no usable input."""
        return self.failure is not None and self.failure.reason == BAD_ROW

    @property
    def id_member(self) -> str | None:
        """What the id has of ``member``."""
        return self.member if self.member_in_id else None

    def audio_key(self) -> AudioKey:
        """What makes the id. Two rows of one source with the same key are one row too many."""
        end_s = math.inf if self.end_s is None else self.end_s
        return self.path, self.id_member or "", self.start_s or 0.0, end_s, self.metadata.channels or ()

    def sort_key(self) -> tuple[AudioKey, str]:
        """The order in which a reader yields its rows."""
        return self.audio_key(), self.where


class RowError(Exception):
    """What is wrong with a row, in words for the user. :func:`row_or_failure` makes a failed row of it."""


def file_row(
    tree: FileTree,
    file: ListedFile,
    metadata: SourceMetadata,
    *,
    container: str | None = None,
    failure: Failure | None = None,
    where: str = "",
) -> SourceRow:
    """The row of a whole audio file of a folder.

    Args:
        tree: The folder.
        file: The audio file; one that is not there has size 0 and no version.
        metadata: What the corpus says of it.
        container: URI of the folder, table or tar that the row belongs to; None: the folder.
        failure: Why it cannot be used.
        where: The place that says all this, relative to the folder.
    """
    return SourceRow(
        path=file.path,
        uri=tree.uri(file.path),
        root=tree.root,
        container=tree.root if container is None else container,
        metadata=metadata,
        size_bytes=file.size_bytes,
        version=file.version,
        failure=failure,
        where=where,
    )


def failed_row(root: str, container: str, where: str, detail: str, reason: str = BAD_ROW) -> SourceRow:
    """A row, file or member that gives no utterance; it is counted as failed.

    Args:
        root: URI that ``where`` is relative to.
        container: URI of the folder, table or tar.
        where: The place: ``validated.tsv:12``.
        detail: What is wrong and what to do, without the place.
        reason: Name of the failure (``docs/sources.md`` lists them).
    """
    failure = Failure(reason, f"{storage.join(root, where)}: {detail}")
    return SourceRow(path=where, uri=container, root=root, container=container, where=where, failure=failure)


def row_or_failure(make: Callable[[], SourceRow], root: str, container: str, where: str) -> SourceRow:
    """The row that ``make`` gives; where it raises, a failed row that says what is wrong.

    Args:
        make: Reads one row, file or member; it may raise anything that a broken one makes it raise.
        root: URI that ``where`` is relative to.
        container: URI of the folder, table or tar.
        where: The place: ``validated.tsv:12``.

    Raises:
        Exception: What is not the row's fault, as :func:`describe_error` says.
    """
    try:
        return make()
    except Exception as error:
        return failed_row(root, container, where, describe_error(error))


def describe_error(error: Exception) -> str:
    """What is wrong with a row, by the exception that reading it ended in; on one line, passwords masked.

    Raises:
        Exception: ``error`` itself, where it is not the row's fault: a store or disk that failed, a package that is
            missing, memory that is not there.
    """
    not_the_rows = isinstance(error, (storage.StoreError, MemoryError, ImportError))
    if not_the_rows or isinstance(error.__cause__, ImportError) or getattr(error, "errno", None) in OF_THE_MACHINE:
        raise error
    message = str(error)
    if not isinstance(error, (RowError, LLaSOError)):
        message = f"it cannot be read ({type(error).__name__}: {message})"
    return " ".join(masked(message).split())[:_MESSAGE_CHARACTERS]


def is_empty(value: Any) -> bool:
    """Whether a cell says nothing: None, an empty text, a gap in a column of numbers."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or value == ""
