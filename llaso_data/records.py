"""What flows through LLaSO: one :class:`Utterance` per stretch of speech.

Every record is a frozen dataclass and the Arrow schema is derived from the dataclasses, so a field is
declared once. Audio is never in a record: ``source`` is a pointer (URI, member, start, end).
``docs/records.md`` explains every field.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pyarrow as pa

FORMAT_VERSION = 1
"""Raised when the meaning of a stored field changes; part of every block's digest."""

UNKNOWN = "unknown"
GIVEN = "given"
ASR = "asr"

SCORE_DECIMALS = 4
TIME_DECIMALS = 3


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value and where it comes from: ``given`` by the corpus, ``unknown``, or a user stage's name."""

    value: str = UNKNOWN
    origin: str = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the audio lies: a file or a member of an archive, and optionally a span of it.

    ``start_s`` and ``end_s`` are seconds from the start of the decoded file; None means its border.
    ``sampling_rate_hz`` and ``channels`` are those of the original, None until it was probed.
    """

    corpus: str
    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    sampling_rate_hz: int | None = None
    channels: int | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """One word of ``text``; times in seconds from the start of the utterance."""

    text: str
    start_s: float
    end_s: float
    logprob: float | None = None


@dataclass(frozen=True, slots=True)
class Speaker:
    id: Attribute = Attribute()
    gender: Attribute = Attribute()
    age_range: Attribute = Attribute()
    accent: Attribute = Attribute()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Every number that a filter may use; None where the stage that gives it did not run.

    Log-probabilities are natural logarithms. *Forward* is free decoding, *backward* the text
    teacher-forced over the same encoder states.
    """

    avg_logprob: float | None = None  # forward: mean over the hypothesis's tokens
    min_token_logprob: float | None = None  # forward: the least likely token
    no_speech_prob: float | None = None  # Whisper's <|nospeech|>; null for packed clips, whose window holds others
    language_prob: float | None = None  # probability of `language`; 1 where it was given
    compression_ratio: float | None = None  # UTF-8 bytes of the hypothesis / zlib-compressed bytes
    chars_per_s: float | None = None  # letters of `text` per second of utterance
    min_word_logprob: float | None = None  # backward: lowest mean token log-probability of a word of `text`
    mean_word_logprob: float | None = None  # backward: mean over the words of `text`
    eot_logprob: float | None = None  # backward: log-probability that the text ends where it ends
    llr: float | None = (
        None  # backward: log-likelihood ratio of `text` to `hypothesis` where they differ most; given text
    )
    cer: float | None = None  # normalised character error rate of `text` against `hypothesis`; given text only
    wer: float | None = None  # the same for words
    surplus: float | None = None  # share of `text` that is more than was heard, in words or letters, whichever is less
    repetition: float | None = None  # share of the text covered by its most repeated n-gram
    lm_logprob: float | None = None  # causal LM: mean token log-probability of `text`
    lm_delta: float | None = None  # causal LM: `text` minus `hypothesis`, mean token log-probability
    speech_ratio: float | None = None  # share of frames that voice activity detection calls speech
    rms_dbfs: float | None = None  # level
    clipped_ratio: float | None = None  # share of samples at full scale
    border_db: float | None = None  # level of the first or last 20 ms, the louder, against the clip's loud speech
    extra: dict[str, float] = field(default_factory=dict)  # a user's stages


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an input could not be observed. ``reason`` is a stable name, ``detail`` says where and what."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One stretch of speech and all that is known of it (see ``docs/records.md``)."""

    id: str
    recording: str  # id of the input that it was cut from; its own id where nothing was cut
    source: Source
    audio_id: str | None = None
    duration_s: float | None = None
    language: str | None = None
    language_origin: str = UNKNOWN  # given | asr | unknown
    text: str | None = None
    text_origin: str = UNKNOWN  # given | asr | unknown
    hypothesis: str | None = None
    words: tuple[Word, ...] = ()
    speaker: Speaker = Speaker()
    environment: Attribute = Attribute()
    decoding: str | None = None  # packed | solo: how the hypothesis was decoded
    scores: Scores = Scores()
    failure: Failure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """What a source yields: an utterance not yet observed, and what the planner needs to cut blocks.

    ``container`` is the folder, archive or manifest that it belongs to; blocks never cross containers.
    ``size_bytes`` estimates the work; ``version`` changes when the audio does (size and mtime, or ETag).
    """

    utterance: Utterance
    container: str
    size_bytes: int = 0
    version: str = ""


ACCEPTED = "accepted"
REJECTED = "rejected"
DUPLICATE = "duplicate"
FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The judgement of one utterance: accepted, or by which rule it was not."""

    id: str
    verdict: str  # accepted | rejected | duplicate | failed
    rule: str | None = None  # e.g. confidence.avg_logprob, duplicates.audio, failed.decode
    value: float | None = None  # the score that the rule looked at
    threshold: float | None = None
    duplicate_of: str | None = None
    audited: bool = False  # drawn for tier 3


def digest(*parts: Any, length: int = 32) -> str:
    """Hex BLAKE2b of the parts' text, each with its length, so that no two lists of parts collide."""
    state = hashlib.blake2b(digest_size=length // 2)
    for part in parts:
        data = part if isinstance(part, bytes) else ("" if part is None else str(part)).encode("utf-8", "surrogatepass")
        state.update(b"%d:" % len(data) if part is not None else b"-:")
        state.update(data)
    return state.hexdigest()


def utterance_id(
    corpus: str, path: str, member: str | None = None, start_s: float | None = None, end_s: float | None = None
) -> str:
    """The 32-digit id of (corpus, path relative to the source's root, member, span).

    It needs no decoding, so even what cannot be decoded has one, and no library upgrade changes it.
    """
    span = None
    if start_s is not None or end_s is not None:
        span = f"{start_s or 0.0:.3f}-" + ("" if end_s is None else f"{end_s:.3f}")
    return digest(corpus, path, member, span)


T = TypeVar("T")
_ARROW: dict[type, pa.DataType] = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a record's annotation, and whether it may be null."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [a for a in typing.get_args(hint) if a is not type(None)]
        return arrow_type(inner[0])[0], True
    if typing.get_origin(hint) is tuple:
        item, nullable = arrow_type(typing.get_args(hint)[0])
        return pa.list_(pa.field("item", item, nullable=nullable)), False
    if typing.get_origin(hint) is dict:
        key, value = typing.get_args(hint)
        return pa.map_(arrow_type(key)[0], arrow_type(value)[0]), False
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(schema(typing.cast(type, hint)))), False
    return _ARROW[hint], False


@functools.cache  # reading hints is slow
def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record class, one column per field in the order of declaration."""
    hints = typing.get_type_hints(record)
    columns = []
    for item in dataclasses.fields(record):
        kind, nullable = arrow_type(hints[item.name])
        columns.append(pa.field(item.name, kind, nullable=nullable))
    return pa.schema(columns)


def to_table(records: Sequence[Any], record: type) -> pa.Table:
    """An Arrow table of records; :func:`from_table` is its inverse."""
    rows = [_plain(item) for item in records]
    return pa.Table.from_pylist(rows, schema=schema(record))


def from_table(table: pa.Table, record: type[T]) -> list[T]:
    """The records of a table that :func:`to_table` made."""
    return [_build(row, record) for row in table.to_pylist()]


def to_dict(record: Any) -> dict[str, Any]:
    """A record as plain JSON-ready Python."""
    plain: dict[str, Any] = dataclasses.asdict(record)
    return plain


def from_dict(row: dict[str, Any], record: type[T]) -> T:
    """The inverse of :func:`to_dict`."""
    return _build(row, record)


def rounded(utterance: Utterance) -> Utterance:
    """The utterance as it is stored: scores to 4 decimals, times to 3, the same on every platform."""
    scores = dataclasses.asdict(utterance.scores)
    extra = {name: _round(value, SCORE_DECIMALS) for name, value in sorted(scores.pop("extra").items())}
    words = tuple(
        Word(
            w.text,
            _round(w.start_s, TIME_DECIMALS),
            _round(w.end_s, TIME_DECIMALS),
            None if w.logprob is None else _round(w.logprob, SCORE_DECIMALS),
        )
        for w in utterance.words
    )
    kept = {name: None if value is None else _round(value, SCORE_DECIMALS) for name, value in scores.items()}
    return dataclasses.replace(utterance, words=words, scores=Scores(**kept, extra=extra))


def failed(utterance: Utterance, reason: str, detail: str = "") -> Utterance:
    """The utterance with a failure, which the judge counts under ``failed.<reason>``."""
    return dataclasses.replace(utterance, failure=Failure(reason, detail))


def _round(value: float, decimals: int) -> float:
    return round(float(value), decimals) + 0.0  # + 0.0 turns -0.0 into 0.0


def _plain(item: Any) -> dict[str, Any]:
    row: dict[str, Any] = dataclasses.asdict(item)
    return {name: _maps_to_pairs(value) for name, value in row.items()}


def _maps_to_pairs(value: Any) -> Any:
    """Arrow wants a map as a list of pairs; the only map in a record is ``scores.extra``."""
    if isinstance(value, dict) and "extra" in value:
        return {**value, "extra": sorted(value["extra"].items())}
    return value


def _build(row: dict[str, Any], record: type[T]) -> T:
    values = {}
    for name, convert in _converters(typing.cast(type, record)):
        if name in row:
            value = row[name]
            values[name] = value if convert is None or value is None else convert(value)
    return record(**values)


@functools.cache
def _converters(record: type) -> tuple[tuple[str, Callable[[Any], Any] | None], ...]:
    """Of every field, what makes its value from plain Python; None where it is the same. Reading hints is slow."""
    hints = typing.get_type_hints(record)
    return tuple((item.name, _converter(hints[item.name])) for item in dataclasses.fields(record))


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return _converter(next(a for a in typing.get_args(hint) if a is not type(None)))
    if typing.get_origin(hint) is tuple:
        convert = _converter(typing.get_args(hint)[0])
        return tuple if convert is None else lambda items: tuple(map(convert, items))
    if typing.get_origin(hint) is dict:
        return dict
    if dataclasses.is_dataclass(hint):
        return functools.partial(_build, record=typing.cast(type, hint))
    return None


def ids(utterances: Iterable[Utterance]) -> list[str]:
    return [utterance.id for utterance in utterances]
