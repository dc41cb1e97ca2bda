"""Rows of corpora and of texts as rows that instruction data are built of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from llaso_data import languages
from llaso_data.formats.rows.conversation import bad_conversation
from llaso_data.formats.rows.source_row import RowError, SourceMetadata, SourceRow, describe_error
from llaso_data.formats.rows.text_row import TextRow
from llaso_data.formats.rows.to_input import is_unstorable, to_input
from llaso_data.formats.tables.columns import audio_location, audio_stat
from llaso_data.formats.tables.sound_rows import CELL
from llaso_data.instruct.row import TARGET_AUDIO, InstructRow
from llaso_data.instruct.tasks.build import SECOND_AUDIO
from llaso_data.io import storage
from llaso_data.pipeline.instruct.label_kinds import LabelKinds
from llaso_data.recipe import SourceSpec
from llaso_data.records import SPLITS, Failure, Input, Provenance, Utterance, canonical, digest
from llaso_data.shards.sound_spool import said_by
from llaso_data.uris import escaped

BAD_TEXT = "bad_text"
_RECORDINGS = frozenset((SECOND_AUDIO, TARGET_AUDIO))


def utterance_row(utterance: Utterance, layout: str, labels: Mapping[str, Any] | None = None) -> InstructRow | Failure:
    """The row of an utterance that is observed."""
    if utterance.failure is not None:
        return utterance.failure
    return InstructRow(
        id=utterance.id,
        labels=labels or {},
        audio=utterance,
        audio_version=utterance.audio_id or "",
        language=utterance.language,
        where=utterance.source.uri,
        provenance=Provenance(layout=layout),
    )


def corpus_row(
    row: SourceRow, one: Input, spec: SourceSpec, corpus: str, layout: str, kinds: LabelKinds
) -> InstructRow | Failure:
    """The row of a corpus's utterance.

    Args:
        row: As its reader yields it.
        one: The same as an input.
        spec: The source.
        corpus: Its name.
        layout: Name of its layout.
        kinds: What labels are.
    """
    utterance = one.utterance
    if utterance.failure is not None:
        return utterance.failure
    try:
        labels, split = kinds.read(row.labels or {})
        if (bad := unstorable(labels)) is not None:
            return said_by(row.where, Failure(BAD_TEXT, f"{escaped(row.location)}: {bad} is not UTF-8 text"))
        others: dict[str, Input] = {}
        for name in sorted(_RECORDINGS & labels.keys()):
            others[name] = other = _beside(row, labels.pop(name), one, spec, corpus)
            if other.utterance.failure is not None:
                return other.utterance.failure
    except Exception as error:
        return bad_conversation(row.root, row.where or row.path, describe_error(error))
    where, split = row.where or row.path, split or (row.asked or {}).get("split")
    return InstructRow(
        id=utterance.id,
        labels=labels,
        audio=utterance,
        audio_version=" ".join((one.version, *(others[name].version for name in sorted(others)))),
        second=others[SECOND_AUDIO].utterance if SECOND_AUDIO in others else None,
        target=others[TARGET_AUDIO].utterance if TARGET_AUDIO in others else None,
        language=utterance.language,
        split=split if split in SPLITS else None,
        where=where,
        provenance=_provenance(layout, where),
    )


def text_row(
    row: TextRow | Failure, spec: SourceSpec, corpus: str, layout: str, root: str, kinds: LabelKinds
) -> InstructRow | Failure:
    """The row of a text; as :func:`corpus_row`. ``root`` is the URI that the row's file is relative to."""
    if isinstance(row, Failure):
        return row
    labels, split = kinds.read(row.labels)
    if (bad := unstorable(labels)) is not None:
        return bad_conversation(root, row.where, f"{bad} is not UTF-8 text; save it as UTF-8", reason=BAD_TEXT)
    stated = row.language if row.language is not None and not languages.is_unsaid(row.language) else spec.language
    language = None if stated is None else languages.language(stated)
    if stated is not None and language is None:
        detail = f"{stated[:80]!r} is no language; write one as its code (en, zh) or its English name"
        return bad_conversation(root, row.where, detail, reason="bad_language")
    return InstructRow(
        id=digest(corpus, canonical(labels)),
        labels=labels,
        language=language,
        split=split or row.split,
        where=row.where,
        provenance=Provenance(layout=layout, file=escaped(row.file), row=row.row),
    )


def unstorable(labels: Mapping[str, Any]) -> str | None:
    """The name of a label that UTF-8 cannot hold; None: it can hold all."""
    return next((name for name, value in labels.items() if _is_unstorable(value)), None)


def _is_unstorable(value: Any) -> bool:
    if isinstance(value, str):
        return is_unstorable(value)
    if isinstance(value, Mapping):
        return any(_is_unstorable(name) or _is_unstorable(inner) for name, inner in value.items())
    return isinstance(value, (list, tuple)) and any(map(_is_unstorable, value))


def _beside(row: SourceRow, name: Any, one: Input, spec: SourceSpec, corpus: str) -> Input:
    """Another recording that a row names: a path relative to its table, or an address as data may name it."""
    inside = name.get(CELL) if isinstance(name, dict) and row.member is not None else None
    if isinstance(inside, str):
        other = replace(row, member=inside, metadata=SourceMetadata(language=one.utterance.language), fields=None)
        return to_input(other, SourceSpec(path=spec.path, license=one.utterance.source.license), corpus)
    if not isinstance(name, str) or "\0" in name:
        raise RowError(f"another recording is named by its path; got {type(name).__name__}")
    folder = storage.join(row.root, row.where.rpartition(":")[0]).rpartition("/")[0]
    _, uri = audio_location(name, folder)
    size_bytes, version = audio_stat(uri)
    path = uri[len(row.root) + 1 :] if uri.startswith(f"{row.root}/") else uri
    source = one.utterance.source
    said = SourceMetadata(license=source.license, consent=source.consent, language=one.utterance.language)
    beside = SourceRow(
        path=path, uri=uri, root=row.root, container=row.container, metadata=said, size_bytes=size_bytes,
        version=version, where=row.where,
    )  # fmt: skip
    plain = SourceSpec(path=spec.path, corpus=spec.corpus)
    return to_input(beside, plain, corpus)


def _provenance(layout: str, where: str) -> Provenance:
    """The file and the line that say a row: ``data.csv:12``."""
    file, colon, number = where.rpartition(":")
    if colon and number.isascii() and number.isdigit():
        return Provenance(layout=layout, file=escaped(file), row=int(number))
    return Provenance(layout=layout, file=escaped(where) or None)
