"""What a reader of a layout of conversations yields, and how it becomes a sample."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.formats.rows.source_row import BAD_ROW, SourceRow, describe_error
from llaso_data.formats.rows.to_input import to_input
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Message, Provenance, Sample
from llaso_data.uris import escaped, masked

UNNAMED_TASK = "conversation"
"""The task of a conversation of which nothing says what it asks for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConversation:
    """One conversation as its file has it.

    Attributes:
        root: URI that ``where`` is relative to.
        where: The place: ``train.json:12``.
        messages: What is said by whom; audios are numbers into ``audios``.
        audios: The audios in the order in which the messages name them, each a row of its own: a pointer, with what the
            file says of it.
        task: Name of the task; None: nothing says it.
        language: The language of the conversation, in any spelling; None: that of its audios, where they agree.
        split: ``train``, ``validation`` or ``test``.
        file: The file, relative to ``root``; None: unknown.
        row: The line or row in the file, counted from 1.
        kept: Fields of the row that have no place in a sample, by name.
    """

    root: str
    where: str
    messages: tuple[Message, ...]
    audios: tuple[SourceRow, ...] = ()
    task: str | None = None
    language: str | None = None
    split: str | None = None
    file: str | None = None
    row: int | None = None
    kept: Mapping[str, Any] | None = None


def bad_conversation(root: str, where: str, detail: str, reason: str = BAD_ROW) -> Failure:
    """A row of which no conversation can be made; it is counted.

    Args:
        root: URI that ``where`` is relative to.
        where: The place: ``train.json:12``.
        detail: What is wrong and what to do, without the place.
        reason: Name of the failure.
    """
    return Failure(reason, escaped(masked(f"{storage.join(root, where)}: {detail}")))


class SourceSample(NamedTuple):
    """A sample of a source, what changes with the bytes of its audios, and how long the source says that they are."""

    sample: Sample
    version: str
    stated_s: tuple[float | None, ...] = ()


def to_sample(row: SourceConversation, spec: SourceSpec, corpus: str, layout: str) -> SourceSample | Failure:
    """The conversation in the records' vocabulary.

    Args:
        row: What a reader yields.
        spec: The source in the recipe; it fills what the row does not say.
        corpus: Name of the corpus; a part of the audios' ids.
        layout: Name of the layout, for the sample's provenance.

    Returns:
        The sample; its audios are pointers that nobody has heard yet. A failure where one of its audios has one, or
        where its messages and audios do not fit together.
    """
    try:
        audios = tuple(to_input(audio, spec, corpus).utterance for audio in row.audios)
        failure = next((audio.failure for audio in audios if audio.failure is not None), None)
        if failure is not None:
            return failure
        sample = Sample(
            task=row.task or UNNAMED_TASK,
            messages=row.messages,
            audios=audios,
            language=_language(row, spec, [audio.language for audio in audios]),
            split=row.split,
            provenance=Provenance(
                layout=layout, file=row.file, row=row.row, kept=None if row.kept is None else dict(row.kept)
            ),
        )
        version = " ".join(audio.version for audio in row.audios)
        return SourceSample(sample, version, tuple(audio.stated_s for audio in row.audios))
    except Exception as error:
        return bad_conversation(row.root, row.where, describe_error(error))


def _language(row: SourceConversation, spec: SourceSpec, of_audios: list[str | None]) -> str | None:
    stated = row.language
    if stated is None or languages.is_unsaid(stated):
        return of_audios[0] if len(set(of_audios)) == 1 else spec.language and languages.language(spec.language)
    code = languages.language(stated)
    if code is None:
        raise LLaSOError(f"{stated[:80]!r} is no language; write one as its code (en, zh) or its English name")
    return code
