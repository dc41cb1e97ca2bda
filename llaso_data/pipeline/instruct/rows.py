"""The rows of a source of any kind: a corpus, conversations, texts, shards, or the output of build-align."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice

from llaso_data import formats
from llaso_data.formats.rows.head import first_rows
from llaso_data.formats.texts import SPLIT
from llaso_data.instruct.fields import label_fields
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import Tasks
from llaso_data.io import storage
from llaso_data.pipeline.convert.samples import ALIGN, OpenSamples, accepted, open_samples, samples_of
from llaso_data.pipeline.instruct.corpus_rows import corpus_row, text_row, utterance_row
from llaso_data.pipeline.instruct.label_kinds import LabelKinds
from llaso_data.pipeline.instruct.sample_rows import sample_rows
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Failure, canonical, digest
from llaso_data.uris import escaped, masked

DUPLICATE = "duplicate"
"""The reason of a row that a source has twice."""
_AT_ONCE = 512  # ids that are looked up together


@dataclass(frozen=True)
class OpenRows:
    """A source whose kind is known.

    Attributes:
        opened: The source; it has the layout, and why it is taken for that.
        tasks: Whose fields are labels.
    """

    opened: OpenSamples
    tasks: Tasks

    @property
    def spec(self) -> SourceSpec:
        """The source, as a recipe names it."""
        return self.opened.spec

    @property
    def layout(self) -> str:
        """Name of the layout by which the source is read: also ``align`` and ``shards``."""
        return self.opened.kind or (self.opened.source.recognition.layout.name if self.opened.source else "")

    @property
    def evidence(self) -> str:
        """Why the source is taken for that, in words that follow the layout's name."""
        return self.opened.source.recognition.evidence if self.opened.source else "its manifest.json says so"

    @property
    def root(self) -> str:
        """URI of the folder that places of rows are relative to."""
        listed = self.opened.source
        root = storage.absolute(self.spec.path) if listed is None else listed.tree.root
        return root.rpartition("/")[0] if listed is not None and listed.tree.is_file else root

    @cached_property
    def corpus(self) -> str:
        """The name of the corpus."""
        return self.spec.corpus or formats.corpus_name(self.spec.path)


def rows_of(spec: SourceSpec, tasks: Tasks, notes: Counter[str]) -> Iterator[InstructRow | Failure]:
    """Every row of a source. Args and errors are those of :func:`open_rows`, the answer :func:`rows_in`'s."""
    return rows_in(open_rows(spec, tasks, notes))


def open_rows(spec: SourceSpec, tasks: Tasks, notes: Counter[str]) -> OpenRows:
    """Find out what a source is, and list its files.

    Args:
        spec: The source, as a recipe names it. Its map may give every field that a task names.
        tasks: Their fields are labels.
        notes: Counts what is to be said of the source besides its rows: columns that are labels, and that are not used.

    Raises:
        LLaSOError: The source is not there, no layout reads it, or its map is not understood.
    """
    return OpenRows(open_samples(spec, Convert(), notes, label_fields(tasks) | {SPLIT}), tasks)


def rows_in(source: OpenRows) -> Iterator[InstructRow | Failure]:
    """Every row of an open source, at most ``spec.limit`` of what it lists.

    Returns:
        The rows, in the order of the source; those of samples, where an utterance may stand in several, in the order of
        their ids. A failure stands for what gives no row (``bad_row``, ``not_a_row``, and the failures of sources), and
        ``duplicate`` for a row whose id came before. Failures name their place.
    """
    return _once(_rows(source), source.root)


def _rows(source: OpenRows) -> Iterator[InstructRow | Failure]:
    opened, spec = source.opened, source.spec
    if opened.kind == ALIGN:
        found = islice(accepted(storage.absolute(spec.path)), spec.limit)
        return (utterance_row(utterance, source.layout) for utterance in first_rows(found))
    listed = opened.source
    if listed is None or listed.holds_conversations:
        samples = first_rows(samples_of(opened, Convert()))
        return sample_rows(samples, source.corpus, source.tasks, opened.notes)
    kinds = LabelKinds.of(source.tasks, opened.notes)
    if listed.recognition.layout.read_texts is not None:
        texts = formats.text_rows(listed)
        return (text_row(row, spec, source.corpus, source.layout, source.root, kinds) for row in texts)
    rows = formats.corpus_rows(listed)
    return told_apart(corpus_row(row, one, spec, source.corpus, source.layout, kinds) for row, one in rows)


def told_apart(rows: Iterable[InstructRow | Failure]) -> Iterator[InstructRow | Failure]:
    """Rows of a corpus, of which those with the same audio follow each other, each with an id of its own.

    The first row of an audio has the audio's id. Further ones, with other labels, have digests; one with the same
    labels is a failure.
    """
    first: InstructRow | None = None
    known: set[str] = set()
    for row in rows:
        if isinstance(row, Failure) or row.audio is None:
            yield row
            continue
        if first is None or first.audio is None or row.audio.id != first.audio.id:
            first, known = row, set()
            yield row
            continue
        known = known or {_key(first)}
        key = _key(row)
        if key in known:
            yield Failure(DUPLICATE, f"{row.where}: the same audio and labels as in an earlier row")
            continue
        known.add(key)
        yield replace(row, id=digest(row.id, key))


def _key(row: InstructRow) -> str:
    return digest(canonical(row.labels), *(one.id for one in (row.second, row.target) if one is not None))


def _once(rows: Iterable[InstructRow | Failure], root: str) -> Iterator[InstructRow | Failure]:
    """The rows, with a failure for each whose id came before. ``root`` is what places of rows are relative to."""
    seen = SeenIds()
    rows = iter(rows)
    while block := list(islice(rows, _AT_ONCE)):
        known = iter(seen.add([row.id for row in block if isinstance(row, InstructRow)]))
        for row in block:
            if isinstance(row, InstructRow) and next(known):
                is_whole = row.where.startswith("/") or not storage.is_local(row.where)
                where = row.where if is_whole else storage.join(root, row.where)
                yield Failure(DUPLICATE, f"{escaped(masked(where))}: the source has this row already")
            else:
                yield row
