"""Layouts of corpora, a module each: how it is recognised, read and written.

:data:`LAYOUTS` is the table of them, :func:`read` the way in. Every module of this package registers its layout
there. What their readers share lies in rooms: ``files`` (the tree of a source, text of any encoding), ``rows``
(what a
reader yields), ``tables`` (JSON, CSV, TSV, Parquet, and what columns mean), ``beside_audio`` (transcripts),
``writing``.
``docs/sources.md`` describes the layouts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, file_ending, open_tree
from llaso_data.formats.registry import AUTO, LAYOUTS, Layout, LayoutTable, Recognition
from llaso_data.formats.rows.conversation import SourceConversation, SourceSample, to_sample
from llaso_data.formats.rows.head import first_rows
from llaso_data.formats.rows.mapping import RowMap, compile_map
from llaso_data.formats.rows.source_row import BAD_ROW, AudioKey, SourceRow, describe_error, failed_row
from llaso_data.formats.rows.text_row import TextRow
from llaso_data.formats.rows.to_input import check_spec, to_input
from llaso_data.formats.rows.unnamed_audio import noting_unnamed_audio
from llaso_data.formats.tables.columns import ROWS_FOR_COLUMNS
from llaso_data.formats.tables.no_audio import names_no_audio
from llaso_data.io import hugging_face, storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Input, Sample

__all__ = [
    "AUTO",
    "LAYOUTS",
    "Layout",
    "LayoutTable",
    "OpenSource",
    "Recognition",
    "conversation_samples",
    "corpus_rows",
    "holds_conversations",
    "open_source",
    "read",
    "read_samples",
    "recognise",
    "text_rows",
]


def read(spec: SourceSpec, notes: Counter[str] | None = None) -> Iterator[Input]:
    """Every input of a source.

    Args:
        spec: The source, as a recipe names it.
        notes: Counts, while the inputs are read, what is to be said of the source besides them: columns that are not
            used, transcripts that are not read.

    Returns:
        The inputs, in the order of their paths, at most ``spec.limit``. What cannot be used is an input too, with a
        ``failure``: ``bad_row`` (file and line in its detail), ``bad_text``, ``bad_name``, ``bad_language``, or a
        broken archive's ``truncated``, ``unreadable`` and ``empty``.

    Raises:
        LLaSOError: At the call, where the path does not exist or holds no audio, and where the recipe's values for
            the source are not understood.
    """
    return (one for _, one in corpus_rows(open_source(spec, notes)))


@dataclass(frozen=True, slots=True)
class OpenSource:
    """A source whose files are listed and whose layout is known, so that neither is asked for again."""

    spec: SourceSpec
    tree: FileTree
    recognition: Recognition

    @property
    def holds_conversations(self) -> bool:
        """Whether :func:`conversation_samples` reads it; else :func:`corpus_rows`."""
        layout = self.recognition.layout
        if layout.read is None or layout.holds_conversations is None:
            return layout.read_conversations is not None
        return layout.holds_conversations(self.spec, self.tree)


def open_source(
    spec: SourceSpec,
    notes: Counter[str] | None = None,
    tree: FileTree | None = None,
    labels: frozenset[str] = frozenset(),
) -> OpenSource:
    """List a source's files and recognise its layout.

    Args:
        spec: As of :func:`read`.
        notes: As of :func:`read`.
        tree: The files, where they are listed already.
        labels: Further targets of a map. Rows have what the map says of them, and what columns of these names hold, as
            :attr:`~llaso_data.formats.rows.source_row.SourceRow.labels`.

    Raises:
        LLaSOError: As :func:`read`.
    """
    check_spec(spec)
    tree = tree or open_tree(spec.path, LAYOUTS.endings())
    if notes is not None:
        tree = replace(tree, notes=notes)
    if labels:
        tree = replace(tree, labels=labels)
    return OpenSource(spec, tree, _recognised(spec, tree))


def corpus_rows(source: OpenSource) -> Iterator[tuple[SourceRow, Input]]:
    """Every row of a corpus as its reader yields it, with the source's map applied, and the input that it becomes.

    Order and errors are those of :func:`read`.
    """
    spec, tree, layout = source.spec, source.tree, source.recognition.layout
    if layout.read_texts is not None:
        raise LLaSOError(
            f"{spec.path}: {layout.title} hold texts and no audio; `llaso-data build-instruct` makes instructions of "
            "them. Where a column names audio, `--map 'audio={COLUMN}'` of `llaso-data convert` says which"
        )
    if layout.read is None or source.holds_conversations:
        raise LLaSOError(
            f"{spec.path}: {layout.title} hold conversations, and no corpus to transcribe; "
            "`llaso-data convert` makes shards of them"
        )
    rows = noting_unnamed_audio(layout.read(spec, tree), tree, spec.pattern)
    if (row_map := compile_map(spec.map, tree.labels)) is not None:
        rows = _all_mapped(rows, row_map, tree)
    corpus = spec.corpus or corpus_name(spec.path)
    # With labels the same audio may be asked about in several rows.
    rows = rows if tree.labels else _without_repeats(rows)
    return ((row, _input(row, spec, corpus)) for row in islice(rows, spec.limit))


def text_rows(source: OpenSource) -> Iterator[TextRow | Failure]:
    """Every row of an open source whose layout holds texts without audio, at most ``spec.limit``.

    Raises:
        LLaSOError: The layout holds audio; or as of :func:`read`.
    """
    layout = source.recognition.layout
    if layout.read_texts is None:
        raise LLaSOError(f"{source.spec.path}: {layout.title} hold more than texts")
    return islice(first_rows(layout.read_texts(source.spec, source.tree)), source.spec.limit)


def read_samples(spec: SourceSpec, notes: Counter[str] | None = None) -> Iterator[SourceSample | Failure]:
    """Every conversation of a source whose layout holds conversations.

    Args:
        spec: The source, as a recipe names it.
        notes: As of :func:`read`.

    Returns:
        The samples, in the order of the source's files and rows, at most ``spec.limit``, with pointers to their audios.
        What cannot be used is a failure, with file and line in its detail.

    Raises:
        LLaSOError: As of :func:`read`; and where the layout holds a corpus.
    """
    return conversation_samples(open_source(spec, notes))


def conversation_samples(source: OpenSource) -> Iterator[SourceSample | Failure]:
    """Every conversation of an open source, as :func:`read_samples` gives them."""
    spec, tree, layout = source.spec, source.tree, source.recognition.layout
    if layout.read_conversations is None or not source.holds_conversations:
        raise LLaSOError(f"{spec.path}: {layout.title} hold no conversations")
    rows = layout.read_conversations(spec, tree)
    corpus = spec.corpus or corpus_name(spec.path)
    return (_sample(row, spec, corpus, layout.name) for row in first_rows(islice(rows, spec.limit)))


def _sample(
    row: SourceConversation | Sample | Failure, spec: SourceSpec, corpus: str, layout: str
) -> SourceSample | Failure:
    if isinstance(row, SourceConversation):
        return to_sample(row, spec, corpus, layout)
    return SourceSample(row, "") if isinstance(row, Sample) else row


def holds_conversations(spec: SourceSpec) -> bool:
    """Whether a source is read by :func:`read_samples`; else by :func:`read`.

    Raises:
        LLaSOError: As of :func:`recognise`.
    """
    return open_source(spec).holds_conversations


def recognise(spec: SourceSpec) -> Recognition:
    """The layout that a source is read as, and why.

    Raises:
        LLaSOError: The path does not exist, or is a file that no layout reads.
    """
    return _recognised(spec, open_tree(spec.path, LAYOUTS.endings()))


def _recognised(spec: SourceSpec, tree: FileTree) -> Recognition:
    if spec.type != AUTO:
        return Recognition(LAYOUTS[spec.type], "its `type` says so")
    recognition = LAYOUTS.recognise(tree)
    if recognition is None:
        kinds = ", ".join(sorted(LAYOUTS.endings() - LAYOUTS["folder"].endings))
        raise LLaSOError(
            f"{tree.root}: not a folder, a manifest, a tar ({kinds}) or audio; give `type` if it is one of them"
        )
    return _as_mapped(spec, tree, recognition)


def _as_mapped(spec: SourceSpec, tree: FileTree, recognition: Recognition) -> Recognition:
    """A table in whose rows a map names audio is a manifest; one that names none is texts, where a map gives labels."""
    layout = recognition.layout
    if layout.read_texts is not None and "audio" in spec.map:
        return Recognition(LAYOUTS["manifest"], "its map says where the audio is")
    gives_labels = bool(tree.labels & spec.map.keys()) and "audio" not in spec.map
    if layout.name == "manifest" and gives_labels and names_no_audio(tree):
        return Recognition(LAYOUTS["texts"], "its rows name no audio")
    return recognition


def corpus_name(path: str) -> str:
    """The name of a corpus where the recipe gives none: the path's last part, of a file without its extension."""
    if storage.scheme(path) == "hf":
        place = hugging_face.parse(path)
        return (place.folder or place.repo).rpartition("/")[2]
    name = storage.absolute(path).rpartition("/")[2]
    ending = file_ending(name, LAYOUTS.endings())
    return name[: -len(ending) - 1] if ending else name


def _input(row: SourceRow, spec: SourceSpec, corpus: str) -> Input:
    """The row as an input; one that cannot be made into a record is an input that failed."""
    try:
        return to_input(row, spec, corpus)
    except Exception as error:
        where = row.where or row.path
        return to_input(failed_row(row.root, row.container, where, describe_error(error)), spec, corpus)


def _all_mapped(rows: Iterator[SourceRow], row_map: RowMap, tree: FileTree) -> Iterator[SourceRow]:
    """The rows with what the map says; the first ones say which columns there are."""
    first: list[SourceRow] = []
    if row_map.named:
        first = list(islice(rows, ROWS_FOR_COLUMNS))
        row_map, remarks = row_map.looked_at(first)
        for remark in remarks:
            tree.note(f"{tree.root}: {remark}", 1)
    for row in chain(first, rows):
        yield _mapped(row, row_map)


def _mapped(row: SourceRow, row_map: RowMap) -> SourceRow:
    """The row with what the map says; a failed one where it cannot be mapped."""
    if row.failure is not None:
        return row
    try:
        return row_map.applied(row)
    except Exception as error:
        return failed_row(row.root, row.container, row.where or row.path, describe_error(error))


def _without_repeats(rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    """Rows come sorted, so rows of the same audio follow each other; all but the first are bad rows."""
    last: SourceRow | None = None
    last_key: AudioKey | None = None
    for row in rows:
        key = None if row.is_bad_row else row.audio_key()
        if last is not None and key is not None and key == last_key:
            detail = f"{row.location}: the same audio and span as {last.where}; take one out"
            yield replace(row, failure=Failure(BAD_ROW, detail))
            continue
        yield row
        if key is not None:
            last, last_key = row, key
