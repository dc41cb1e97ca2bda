"""A row of a corpus in the records' vocabulary: an :class:`~llaso_data.records.Input` of the pipeline."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields, replace
from functools import lru_cache
from operator import attrgetter

from llaso_data import languages
from llaso_data.errors import LLaSOError
from llaso_data.formats.rows import vocabulary
from llaso_data.formats.rows.source_row import SourceMetadata, SourceRow
from llaso_data.recipe import SourceSpec
from llaso_data.records import (
    GIVEN,
    UNKNOWN,
    Attribute,
    Failure,
    Input,
    Source,
    Speaker,
    Utterance,
    utterance_id,
)
from llaso_data.uris import escaped, masked

_PCM_BYTES_PER_S = 32_000  # 16 kHz, 16 bits
_UNSTORABLE = re.compile("[\ud800-\udfff\x00]")
_UNSAID, _NOBODY = Attribute(), Speaker()  # one for all rows: a million rows are quicker to make and to pickle
_FIELDS = tuple(one.name for one in fields(SourceMetadata))
_values_of = attrgetter(*_FIELDS)


def check_spec(spec: SourceSpec) -> None:
    """Check what the recipe says of all rows of a source.

    Raises:
        LLaSOError: Its language, gender or age is none that the records' vocabulary has.
    """
    _recipe_language(spec)
    if spec.gender is not None and vocabulary.gender(spec.gender) == UNKNOWN:
        choices = ", ".join(vocabulary.GENDERS[:-1])
        raise LLaSOError(f"{spec.path}: gender {spec.gender!r} is not known; give one of {choices}")
    if spec.age is not None and vocabulary.age_range(spec.age) == UNKNOWN:
        raise LLaSOError(f"{spec.path}: age {spec.age!r} is not known; give years (34) or a decade (30-39)")


def to_input(row: SourceRow, spec: SourceSpec, corpus: str) -> Input:
    """The row as an input of the pipeline.

    Args:
        row: What a reader yields.
        spec: The source in the recipe; it fills what the row does not say.
        corpus: Name of the corpus; a part of the id.

    Returns:
        The input, with the row's failure, or with one of its own: ``bad_language``, ``bad_name``, ``bad_text``.
    """
    row, failure = _storable(row)
    metadata = row.metadata
    language, language_failure = _language(row, spec)
    failure = failure or language_failure
    channels = metadata.channels or ()
    selected = channels[0] if len(channels) == 1 else None
    averaged = channels if len(channels) > 1 else None
    channel = averaged if selected is None else selected
    id = utterance_id(corpus, row.path, row.id_member, row.start_s, row.end_s, channel=channel)
    if row.is_bad_row:
        id = utterance_id(corpus, f"{row.path}#{row.where}", row.id_member)
    utterance = Utterance(
        id=id,
        recording=id,
        source=Source(
            corpus=corpus,
            uri=row.uri,
            member=row.member,
            start_s=row.start_s,
            end_s=row.end_s,
            channels=metadata.channel_count,
            channel=selected,
            averaged=averaged,
            license=metadata.license or spec.license,
            consent=metadata.consent or spec.consent,
        ),
        language=language,
        language_origin=GIVEN if language else UNKNOWN,
        text=metadata.text,
        text_origin=GIVEN if metadata.text else UNKNOWN,
        words=metadata.words or (),
        speaker=_speaker(metadata, spec),
        environment=_attribute(metadata.environment, spec.environment, vocabulary.environment),
        failure=failure,
    )
    size_bytes = row.size_bytes
    if row.end_s is not None:  # many rows may share one long file
        size_bytes = min(size_bytes, round((row.end_s - (row.start_s or 0.0)) * _PCM_BYTES_PER_S))
    return Input(utterance=utterance, container=row.container, size_bytes=size_bytes, version=row.version)


def _recipe_language(spec: SourceSpec) -> str | None:
    """The recipe's language as a code. Raises LLaSOError where it is none."""
    if spec.language is None:
        return None
    code = languages.language(spec.language)
    if code is None:
        raise LLaSOError(f"{spec.path}: {_no_language(spec.language)}")
    return code


def _no_language(word: str) -> str:
    return f"{word[:80]!r} is no language; write one, as its code (en, zh, hsb, nan-TW) or its English name"


def _language(row: SourceRow, spec: SourceSpec) -> tuple[str | None, Failure | None]:
    """The language that the row states, else the recipe's; a word that is none fails, and is never replaced."""
    stated = row.metadata.language
    if stated is None or languages.is_unsaid(stated):
        return _recipe_language(spec), None
    code = languages.language(stated)
    return code, None if code else Failure("bad_language", f"{escaped(row.location)}: {_no_language(stated)}")


def _speaker(metadata: SourceMetadata, spec: SourceSpec) -> Speaker:
    said = (
        _attribute(metadata.speaker, spec.speaker, str.strip),
        _attribute(metadata.gender, spec.gender, vocabulary.gender),
        _attribute(metadata.age, spec.age, vocabulary.age_range),
        _attribute(metadata.accent, spec.accent, vocabulary.accent),
    )
    return _NOBODY if all(attribute is _UNSAID for attribute in said) else Speaker(*said)


def _attribute(of_row: str | None, of_recipe: str | None, to_value: Callable[[str], str]) -> Attribute:
    if of_row is None and of_recipe is None:
        return _UNSAID
    for stated in (of_row, of_recipe):
        if stated is not None and (known := _given(stated, to_value)) is not _UNSAID:
            return known
    return _UNSAID


@lru_cache(4096)
def _given(stated: str, to_value: Callable[[str], str]) -> Attribute:
    value = to_value(stated) or UNKNOWN
    return _UNSAID if value == UNKNOWN else Attribute(value, GIVEN)


def is_unstorable(text: str) -> bool:
    """Whether UTF-8 cannot hold a text, or a table no NUL in it."""
    return "\0" in text or (not text.isascii() and _UNSTORABLE.search(text) is not None)


def _storable(row: SourceRow) -> tuple[SourceRow, Failure | None]:
    """The row with nothing that UTF-8 cannot hold: names and texts may carry stray bytes, a record may not."""
    failure = row.failure
    uri, member, container = escaped(row.uri), row.member and escaped(row.member), escaped(row.container)
    if (uri, member, container) != (row.uri, row.member, row.container):
        name = uri if member is None else f"{uri}!{member}"
        failure = failure or Failure("bad_name", f"{name}: not UTF-8; rename it")
        row = replace(row, uri=uri, member=member, container=container)
    metadata = row.metadata
    if metadata.words and any(is_unstorable(word.text) for word in metadata.words):
        row = replace(row, metadata=replace(metadata, words=None))
        metadata = row.metadata
    values = _values_of(metadata)
    if is_unstorable("".join([value for value in values if type(value) is str])):  # one look, as nearly none is
        bad = [name for name, value in zip(_FIELDS, values, strict=True) if type(value) is str and is_unstorable(value)]
        detail = f"{escaped(row.location)}: {', '.join(bad)} is not UTF-8 text; save it as UTF-8"
        failure = failure or Failure("bad_text", detail)
        row = replace(row, metadata=replace(metadata, **dict.fromkeys(bad)))
    return row, failure and Failure(failure.reason, escaped(masked(failure.detail)))
