"""What flows through LLaSO: one :class:`Utterance` per stretch of speech.

Every record is a frozen dataclass and the Arrow schema is derived from the dataclasses, so a field is
declared once. Audio is never in a record: ``source`` is a pointer (URI, member, start, end).
``docs/records.md`` explains every field.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import types
import typing
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any, TypeVar

import pyarrow as pa

FORMAT_VERSION = 1
"""Raised when the meaning of a stored field changes; part of every block's digest."""

UNKNOWN = "unknown"
GIVEN = "given"
ASR = "asr"

SCORE_DECIMALS = 4
TIME_DECIMALS = 3

FIRST_FORMAT: dict[str, frozenset[str]] = {
    name: frozenset(fields.split())
    for name, fields in {
        "Attribute": "value origin",
        "Source": "corpus uri member start_s end_s sampling_rate_hz channels",
        "Word": "text start_s end_s logprob",
        "Speaker": "id gender age_range accent",
        "Scores": "avg_logprob min_token_logprob no_speech_prob language_prob compression_ratio chars_per_s "
        "min_word_logprob mean_word_logprob eot_logprob llr cer wer surplus repetition lm_logprob lm_delta "
        "speech_ratio rms_dbfs clipped_ratio border_db extra",
        "Failure": "reason detail",
        "Utterance": "id recording source audio_id duration_s language language_origin text text_origin hypothesis "
        "words speaker environment decoding scores failure",
        "Verdict": "id verdict rule value threshold duplicate_of audited",
    }.items()
}
"""The fields that records had at first, by record. Nothing is added here.

A field that came later is None where it says nothing. It then appears in no JSON, id or name of a block, and it may
be missing in files that people have: so it renames nothing, and nothing is observed again for it.
"""

LATER = b"llaso.later"
"""Marks such a field in the Arrow schema."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """A value and where it comes from: ``given`` by the corpus, ``unknown``, or a user stage's name."""

    value: str = UNKNOWN
    origin: str = UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where the audio lies: a file or a member of an archive, and optionally a span of it and some of its channels.

    ``start_s`` and ``end_s`` are seconds from the start of the decoded file; None means its border.
    ``sampling_rate_hz`` and ``channels`` are those of the original, None until it was probed; before, ``channels`` may
    be the number that the corpus states. ``channel`` is the one that is selected, counted from 0, ``averaged`` several;
    where neither is set all are averaged. ``taken`` is the one that is heard because an average cancels.
    """

    corpus: str
    uri: str
    member: str | None = None
    start_s: float | None = None
    end_s: float | None = None
    sampling_rate_hz: int | None = None
    channels: int | None = None
    channel: int | None = None
    averaged: tuple[int, ...] | None = None
    taken: int | None = None

    @property
    def chosen(self) -> tuple[int, ...] | None:
        """The channels that are averaged, for the decoder; None: all."""
        one = self.channel if self.taken is None else self.taken
        return self.averaged if one is None else (one,)

    @property
    def is_probed(self) -> bool:
        """Whether the audio was decoded: what ``taken`` says is then known."""
        return self.sampling_rate_hz is not None


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
    border_db: float | None = None  # level of the speech at the first or last 20 ms, the louder, less what noise takes
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
    text_given: str | None = None  # what the corpus says, where `text` is not the same
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
    corpus: str,
    path: str,
    member: str | None = None,
    start_s: float | None = None,
    end_s: float | None = None,
    *,
    channel: int | tuple[int, ...] | None = None,
) -> str:
    """The id of (corpus, path, member, span), and of the channel where one is selected.

    It needs no decoding, so even what cannot be decoded has one, and no library upgrade changes it. Without a selected
    channel there is no part for it in the digest, so that ids which were given before channels existed stay.

    Args:
        corpus: The corpus's name.
        path: Of the file, relative to the source's root.
        member: Of an archive.
        start_s: Where the span begins, seconds; None: at the file's start.
        end_s: Where it ends, seconds; None: at the file's end.
        channel: The selected channel, counted from 0, or those that are averaged; None: none was selected.

    Returns:
        32 hexadecimal digits.
    """
    span = None
    if start_s is not None or end_s is not None:
        span = f"{start_s or 0.0:.3f}-" + ("" if end_s is None else f"{end_s:.3f}")
    if channel is None:
        return digest(corpus, path, member, span)
    chosen = (channel,) if isinstance(channel, int) else channel
    return digest(corpus, path, member, span, f"channel {'+'.join(map(str, chosen))}")


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
        later = {LATER: b""} if is_later(record, item.name) else None
        columns.append(pa.field(item.name, kind, nullable=nullable, metadata=later))
    return pa.schema(columns)


def to_table(records: Sequence[Any], record: type) -> pa.Table:
    """An Arrow table of records; :func:`from_table` is its inverse."""
    rows = [_plain(item) for item in records]
    return pa.Table.from_pylist(rows, schema=schema(record))


def from_table(table: pa.Table, record: type[T]) -> list[T]:
    """The records of a table that :func:`to_table` made."""
    return [_build(row, record) for row in table.to_pylist()]


def completed(table: pa.Table, record: type, columns: Sequence[str]) -> pa.Table:
    """A table of such records that an earlier version wrote, with nulls where it did not have a field yet.

    Args:
        table: Some columns of a table of :func:`to_table`, as Parquet gives them.
        record: The record's class.
        columns: Which are wanted; a dotted name is one field of a column.
    """
    parts: dict[str, set[str]] = {}
    for name in columns:
        first, _, rest = name.partition(".")
        parts.setdefault(first, set()).add(rest)
    for name, wanted in parts.items():
        column = schema(record).field(name)
        if "" not in wanted:
            column = column.with_type(pa.struct([part for part in column.type if part.name in wanted]))
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(column.with_nullable(True), pa.nulls(len(table), column.type))
        elif table.schema.field(place).type != column.type:
            table = table.set_column(place, column, table[name].cast(column.type))
    return table


def to_dict(record: Any) -> dict[str, Any]:
    """A record as plain JSON-ready Python.

    A field that came after :data:`FIRST_FORMAT` is left out where it is None, so that it changes no sample that people
    have.
    """
    plain: dict[str, Any] = _told(record)
    return plain


def _told(value: Any) -> Any:
    kind = type(value)
    if dataclasses.is_dataclass(kind):
        items = ((name, getattr(value, name)) for name in _names(kind))
        return {name: _told(inner) for name, inner in items if inner is not None or not is_later(kind, name)}
    if kind is tuple or kind is list:
        return [_told(item) for item in value]
    if kind is dict:
        return {name: _told(inner) for name, inner in value.items()}
    return value


@functools.cache
def _names(record: type) -> tuple[str, ...]:
    return tuple(sorted(field.name for field in dataclasses.fields(record)))


@functools.cache
def is_later(record: type, name: str) -> bool:
    """Whether a field came after the first format (:data:`FIRST_FORMAT`)."""
    return not any(name in FIRST_FORMAT.get(base.__name__, ()) for base in record.__mro__)


def canonical(value: Any) -> str:
    """The names and values of what a record says, as JSON in ASCII with sorted keys: a digest of it is its name.

    Fields that are None are left out, so that a new field renames nothing. ASCII, because which characters are
    printable differs between versions of Python. Millions of these are made, hence not by way of ``json.dumps``.

    Raises:
        TypeError: A value is neither text, number, record, sequence nor mapping.
    """
    kind = type(value)
    if kind is str:
        return encode_basestring_ascii(value)
    if kind is int or kind is float or kind is bool:
        return json.dumps(value)
    if kind is Speaker or kind is Attribute:
        return _canonical_again(value)
    if dataclasses.is_dataclass(kind):
        return _canonical_record(value)
    if kind is tuple or kind is list:
        return "[" + ",".join([canonical(item) for item in value]) + "]"
    if kind is dict:
        pairs = [f"{encode_basestring_ascii(name)}:{canonical(inner)}" for name, inner in sorted(value.items())]
        return "{" + ",".join(pairs) + "}"
    if value is None:  # in a sequence or mapping
        return "null"
    raise TypeError(f"{kind.__name__} has no canonical form")


def _canonical_record(record: Any) -> str:
    kind: type = type(record)
    items = ((name, getattr(record, name)) for name in _names(kind))
    return "{" + ",".join([f'"{name}":{canonical(inner)}' for name, inner in items if inner is not None]) + "}"


_canonical_again = functools.lru_cache(4096)(_canonical_record)
"""The same for what many records of a corpus share."""


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
