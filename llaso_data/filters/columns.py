"""Observations as arrays: reads only the Parquet columns that the rules need and derives the flags they look at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.filters.border_limits import Limits
from llaso_data.filters.confidence import CJK
from llaso_data.filters.consistency import MARKUP, PHRASE, SCRIPT_MISMATCH
from llaso_data.filters.duplicates import Hashes
from llaso_data.filters.group_thresholds import NO_FITS, GroupThresholds
from llaso_data.filters.rules import FLAGS, GROUP, STANDS_OUT, UNHEARD, Columns
from llaso_data.io import sealed
from llaso_data.io.checksums import DamagedError
from llaso_data.records import GIVEN, GIVEN_UNMATCHED, NO_SPEECH, NOT_SCORED, UNJUDGED, UNKNOWN, Utterance, schema

_ALWAYS = ("id", "recording", "audio_id", "source.corpus", "duration_s", "language", "failure.reason")
_DERIVED_FROM = (
    "source.taken",
    "decoding",
    "text",
    "text_origin",
    "scores.min_word_logprob",
    "scores.eot_logprob",
    "scores.cer",
    "scores.extra",
)
EXTRA = (NO_SPEECH, GIVEN_UNMATCHED, MARKUP, SCRIPT_MISMATCH, PHRASE, UNJUDGED, NOT_SCORED)
"""What the observer stores under ``scores.extra`` for the rules, 0 or 1."""

_right: dict[tuple[type, tuple[str, ...]], pa.Schema] = {}
"""The last schema that passed :func:`check`, by record and columns: a run has thousands of files of one schema."""

_HEX_VALUE = np.full(256, 255, np.uint8)
_HEX_VALUE[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16, dtype=np.uint8)


def stored(needed: Collection[str]) -> list[str]:
    """The Parquet columns behind the columns that rules need."""
    scores = [f"scores.{name}" for name in needed if name not in FLAGS and name not in EXTRA and name != "duration_s"]
    return sorted({*_ALWAYS, *_DERIVED_FROM, *scores})


def read(uri: str, columns: Sequence[str]) -> pa.Table:
    """Reads columns of one observation file.

    Args:
        uri: The file.
        columns: Names of columns; dots lead into records.

    Returns:
        A table of these columns, nested ones flattened to dotted names.

    Raises:
        LLaSOError: The file is missing, damaged, or another program's.
    """
    return nested(uri, columns).flatten().select(list(columns))


def nested(uri: str, columns: Sequence[str]) -> pa.Table:
    """As :func:`read`, with nested columns as they are stored. A field that the file's version lacks is null."""
    with reading(uri) as file:
        parquet = pq.ParquetFile(file)
        check(uri, parquet.schema_arrow, Utterance, columns)
        table = parquet.read(columns=list(columns), use_threads=False)
        table.validate(full=True)
        return records.completed(table, Utterance, columns)


def check(uri: str, file_schema: pa.Schema, record: type, columns: Sequence[str]) -> None:
    """Raises LLaSOError where a column, or the dotted part of one, does not have the type that the record declares.

    A field that came after the first format may be missing: the file is of an earlier version.
    """
    key = (record, tuple(columns))
    if key in _right and file_schema.equals(_right[key]):
        return
    for name in columns:
        actual, expected = _field(file_schema, name), _field(schema(record), name)
        if actual is None and expected is not None and _may_lack(expected):
            continue
        if actual is None or expected is None or not _like(actual, expected):
            wrong = f"has no column {name}" if actual is None else f"its column {name} is {actual.type}, not {expected}"
            raise LLaSOError(f"{uri}: {wrong}; it was not written by this version of build-align")
    _right[key] = file_schema


def _field(file_schema: pa.Schema, name: str) -> pa.Field | None:
    column_name, _, subfield = name.partition(".")
    if file_schema.names.count(column_name) != 1:
        return None
    field = file_schema.field(column_name)
    if not subfield:
        return field
    position = field.type.get_field_index(subfield) if pa.types.is_struct(field.type) else -1
    return field.type.field(position) if position >= 0 else None


def _like(actual: pa.Field, expected: pa.Field) -> bool:
    """Whether the types agree, and no field is nullable that may not be. Names of list elements are not compared."""
    if actual.type.id != expected.type.id or (actual.nullable and not expected.nullable):
        return False
    if pa.types.is_struct(expected.type):
        present = {part.name: part for part in actual.type}
        if len(present) != actual.type.num_fields or not present.keys() <= {part.name for part in expected.type}:
            return False
        return all(_like(present[p.name], p) if p.name in present else _may_lack(p) for p in expected.type)
    inner = range(expected.type.num_fields if pa.types.is_nested(expected.type) else 0)
    return all(_like(actual.type.field(n), expected.type.field(n)) for n in inner)


def _may_lack(expected: pa.Field) -> bool:
    return expected.nullable and records.LATER in (expected.metadata or {})


@contextmanager
def reading(uri: str) -> Iterator[Any]:
    """Opens one of build-align's own files for pyarrow, after comparing its checksum.

    Raises:
        LLaSOError: The file is missing, damaged or cannot be read; the error names it.
    """
    try:
        with sealed.read_parquet(uri) as file:
            yield file
    except FileNotFoundError as error:
        raise LLaSOError(f"{uri} is gone; run `llaso-data build-align` again to make it") from error
    except DamagedError as error:
        raise DamagedError(f"{error}; remove it and run `llaso-data build-align` again") from error
    except (OSError, pa.ArrowException, ValueError, KeyError) as error:
        raise LLaSOError(f"{uri} cannot be read ({error}); remove it and run `llaso-data build-align` again") from error


def derive(
    table: pa.Table,
    needed: Collection[str],
    phrases: Mapping[str, Sequence[str]],
    limits: Limits | None = None,
    fitted: GroupThresholds = NO_FITS,
) -> Columns:
    """The arrays that the rules look at.

    Args:
        table: What :func:`read` gave.
        needed: Scores and flags that rules need.
        phrases: Texts to reject, by language; they add to what the observer found.
        limits: Which borders stand out; None: all do.
        fitted: The thresholds that groups of corpus and language have of their own.

    Returns:
        Arrays (rows,) by name: scores as float64, NaN for null, flags as bool, and the number of the row's group.
    """
    scores = [name for name in needed if name not in FLAGS and name not in EXTRA]
    columns: dict[str, npt.NDArray[Any]] = {name: floats(table[_stored_name(name)]) for name in scores}
    for name in EXTRA:
        columns[name] = extra(table["scores.extra"], name)
    if phrases:
        is_listed = is_phrase(table["text"], table["language"], phrases)
        columns[PHRASE] = np.where(is_listed, 1.0, columns[PHRASE])
    unscored = pc.and_(pc.is_null(table["scores.min_word_logprob"]), pc.is_null(table["scores.eot_logprob"]))
    columns["unscored"] = flags(unscored) & ~(columns[UNJUDGED] > 0) & ~(columns[NOT_SCORED] > 0)
    columns["given"] = flags(pc.equal(table["text_origin"], GIVEN))
    columns[UNHEARD] = columns["given"] & (floats(table["scores.cer"]) != 0.0)
    columns["packed"] = flags(pc.equal(table["decoding"], "packed"))
    columns["cjk"] = flags(pc.is_in(table["language"], value_set=pa.array(sorted(CJK))))
    # Where a transcript could not be matched there is no text either; tier 2 names that more exactly.
    unmatched = columns[GIVEN_UNMATCHED] > 0
    columns["no_text"] = ~flags(pc.match_substring_regex(table["text"], r"[\pL\pN]")) & ~unmatched
    columns[STANDS_OUT] = np.ones(len(table), bool)
    languages = pc.fill_null(table["language"], UNKNOWN)
    columns[GROUP] = fitted.numbers(table["source.corpus"], languages)
    for (corpus, language), limit_db in (limits or {}).items() if "border_db" in columns else ():
        is_stratum = flags(pc.and_(pc.equal(table["source.corpus"], corpus), pc.equal(languages, language)))
        columns[STANDS_OUT] &= ~is_stratum | (columns["border_db"] > limit_db)
    columns["not_a_number"] = not_a_number([table[_stored_name(name)] for name in scores], len(table))
    return columns


def notes(table: pa.Table, columns: Columns) -> dict[str, int]:
    """Utterances that are counted besides their verdicts, by sentence."""
    unjudged = columns[UNJUDGED] > 0
    has_transcript = columns["given"] & unjudged
    return {
        "not judged by Whisper, which has no token of their language": int(has_transcript.sum()),
        "not scored, because observe.align is null": int((columns[NOT_SCORED] > 0).sum()),
        "heard by one channel, because the channels cancel": len(table["source.taken"].drop_null()),
        "without a transcript, in a language that Whisper has no token of": int((unjudged & ~has_transcript).sum()),
    }


def _stored_name(name: str) -> str:
    return name if name == "duration_s" else f"scores.{name}"


def floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """Null becomes NaN."""
    values: npt.NDArray[np.float64] = column.cast(pa.float64()).to_numpy()
    return values


def flags(column: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Null becomes False."""
    mask: npt.NDArray[np.bool_] = np.asarray(pc.fill_null(column, False).to_numpy(), bool)
    return mask


def not_a_number(columns: Sequence[pa.ChunkedArray], rows: int) -> npt.NDArray[np.bool_]:
    """Rows in which a score is present and NaN."""
    mask = np.zeros(rows, bool)
    for column in columns:
        mask |= flags(pc.is_nan(column))
    return mask


def extra(column: pa.ChunkedArray, name: str) -> npt.NDArray[np.float64]:
    """One entry of every row's map ``scores.extra``; NaN where the row has none."""
    maps = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    entries = np.flatnonzero(flags(pa.chunked_array([pc.equal(maps.keys, name)])))
    rows = np.searchsorted(maps.offsets.to_numpy(), entries, side="right") - 1
    values = np.full(len(maps), np.nan)
    values[rows] = maps.items.take(pa.array(entries)).to_numpy(zero_copy_only=False)
    return values


def is_phrase(
    text: pa.ChunkedArray, language: pa.ChunkedArray, phrases: Mapping[str, Sequence[str]]
) -> npt.NDArray[np.bool_]:
    """Finds rows whose whole text is one of its language's phrases, but for case, punctuation and spaces.

    Args:
        text: (rows,) strings.
        language: (rows,) strings.
        phrases: Texts by language.

    Returns:
        (rows,) bool.
    """
    plain = _letters_only(text)
    mask = np.zeros(len(text), bool)
    for name, listed in phrases.items():
        same = pc.is_in(plain, value_set=_letters_only(pa.array(listed, pa.string())))
        mask |= flags(pc.and_(same, pc.equal(language, name)))
    return mask


def _letters_only(text: Any) -> Any:
    lower = pc.utf8_lower(pc.utf8_normalize(text, form="NFKC"))
    return pc.utf8_trim_whitespace(pc.replace_substring_regex(lower, r"[^\pL\pM\pN]+", " "))


def hashes(column: pa.ChunkedArray, name: str) -> Hashes:
    """Reads ids.

    Args:
        column: (rows,) strings of 32 hexadecimal digits, or null.
        name: How an error calls the column.

    Returns:
        (rows, 2) uint64, the high half and the low half; zeros for null.

    Raises:
        LLaSOError: A value is something else.
    """
    strings = pc.fill_null(column, "0" * 32).cast(pa.binary())
    sized = pc.equal(pc.binary_length(strings), 32)
    if not pc.all(sized).as_py() and len(strings):
        bad = column.filter(pc.invert(sized))[0].as_py()
        raise LLaSOError(f"{name} {bad!r} is not 32 hexadecimal digits; it was not written by this version")
    text = np.frombuffer(b"".join(_data(chunk) for chunk in strings.cast(pa.binary(32)).chunks), np.uint8)
    digits = _HEX_VALUE[text].reshape(-1, 16, 2)
    if digits.max(initial=0) > 15:
        raise LLaSOError(f"a value of {name} is not 32 hexadecimal digits; it was not written by this version")
    packed = np.ascontiguousarray(digits[:, :, 0] << 4 | digits[:, :, 1])
    return packed.view(">u8").astype(np.uint64)


def _data(chunk: pa.FixedSizeBinaryArray) -> memoryview:
    """The bytes of an array of 32-byte strings without nulls."""
    return memoryview(chunk.buffers()[1] or b"")[chunk.offset * 32 : (chunk.offset + len(chunk)) * 32]


def hex_strings(values: Hashes) -> pa.StringArray:
    """The inverse of :func:`hashes`."""
    octets = np.ascontiguousarray(values.astype(">u8")).view(np.uint8).reshape(len(values), 16)
    digits = np.stack([octets >> 4, octets & 15], axis=-1)
    text = np.frombuffer(b"0123456789abcdef", np.uint8)[digits].tobytes()
    offsets = np.arange(len(values) + 1, dtype=np.int32) * 32
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(text))
