"""The index of shards: one row per sample, Arrow IPC without compression, so that it is read by mapping it.

A *sidecar* lies beside each tar and is written after it: it is the shard's commit. ``index.arrow`` holds the rows
of all shards. Both have the columns of :data:`SCHEMA`; in ``index.arrow`` a column ``shard`` comes first. Both carry a
checksum of their bytes.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice, repeat
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llaso_data.io import sealed, storage
from llaso_data.io.checksums import DamagedError
from llaso_data.shards import columns
from llaso_data.shards.layout import FORMAT_VERSION, EncodedSample
from llaso_data.shards.tar import ShardError

PART = pa.struct(
    [
        pa.field("ext", pa.string(), nullable=False),
        pa.field("offset", pa.int64(), nullable=False),  # of the content, bytes from the start of the tar
        pa.field("size", pa.int64(), nullable=False),
        pa.field("crc32", pa.uint32(), nullable=False),
    ]
)
SCHEMA = pa.schema(
    [
        pa.field("key", pa.string(), nullable=False),
        pa.field("parts", pa.list_(pa.field("item", PART, nullable=False)), nullable=False),
        pa.field("duration_s", pa.float64(), nullable=False),
        pa.field("text_bytes", pa.int64(), nullable=False),
        pa.field("task", pa.string()),
        pa.field("language", pa.string()),
        pa.field("modality", pa.string(), nullable=False),
    ]
)
LATER = pa.schema({name: pa.string() for name in ("split", "license", "consent", "content")})
"""Columns that follow those of :data:`SCHEMA` where any sample has a value in them. ``content`` is the JSON of a sample
whose container holds none: of sets that are indexed in place."""
SHARD_COLUMN = pa.field("shard", pa.int32(), nullable=False)
BATCH_ROWS = 65_536
_READERS = 4  # threads that read and check sidecars
_KINDS = {"halffloat": "f2", "float": "f4", "double": "f8"}  # what NumPy calls otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo:
    """What a sidecar says of its tar, in the Arrow schema's metadata."""

    path: str  # of the tar: relative to the dataset's folder, or a URI
    sha256: str
    bytes: int
    samples: int
    duration_s: float
    digest: str  # of what the shard was made from: equal digests need no second writing
    dataset: str  # digest of the set of shards that it belongs to
    columns: tuple[str, ...] = ()  # of LATER, those that its index has


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part as the index stores it."""

    ext: str
    offset: int
    size: int
    crc32: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexRow:
    """One sample as the index stores it."""

    key: str
    parts: tuple[PartRow, ...]
    duration_s: float
    text_bytes: int
    task: str | None
    language: str | None
    modality: str
    split: str | None = None
    license: str | None = None
    consent: str | None = None
    content: str | None = None

    @classmethod
    def of(cls, sample: EncodedSample, parts: Sequence[PartRow]) -> IndexRow:
        """The row of a sample whose parts lie at these places."""
        return cls(
            key=sample.key,
            parts=tuple(parts),
            duration_s=sample.duration_s,
            text_bytes=sample.text_bytes,
            task=sample.task,
            language=sample.language,
            modality=sample.modality,
            split=sample.split,
            license=sample.license,
            consent=sample.consent,
        )

    def to_dict(self) -> dict[str, Any]:
        """The row as plain Python, as a table of :data:`SCHEMA` gives it; of :data:`LATER`, what says something."""
        parts = [{"ext": p.ext, "offset": p.offset, "size": p.size, "crc32": p.crc32} for p in self.parts]
        return {
            "key": self.key,
            "parts": parts,
            "duration_s": self.duration_s,
            "text_bytes": self.text_bytes,
            "task": self.task,
            "language": self.language,
            "modality": self.modality,
            **{name: value for name in LATER.names if (value := getattr(self, name)) is not None},
        }


def write_sidecar(
    uri: str, rows: Sequence[IndexRow] | pa.Table, info: ShardInfo, more: Mapping[str, str] | None = None
) -> None:
    """Write one shard's index, whole or not at all.

    Args:
        uri: Where.
        rows: In the order of the tar.
        info: What the schema's metadata says of the tar.
        more: What else goes into the metadata.
    """
    values = {
        **(more or {}),
        "llaso.format_version": str(FORMAT_VERSION),
        "llaso.path": info.path,
        "llaso.sha256": info.sha256,
        "llaso.bytes": str(info.bytes),
        "llaso.samples": str(info.samples),
        "llaso.duration_s": repr(info.duration_s),
        "llaso.digest": info.digest,
        "llaso.dataset": info.dataset,
    }
    table = rows if isinstance(rows, pa.Table) else to_table(rows)
    _write(uri, _schema(info.columns).with_metadata(values), [table])


def to_table(rows: Sequence[IndexRow]) -> pa.Table:
    """The columns of :data:`SCHEMA`, and those of :data:`LATER` in which a row has a value."""
    schema = _schema(later_columns(rows))
    arrays = [
        _parts_column(rows) if field.name == "parts" else columns.column([getattr(r, field.name) for r in rows], field)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def _parts_column(rows: Sequence[IndexRow]) -> pa.Array:
    parts = [part for row in rows for part in row.parts]
    fields = [columns.column([getattr(part, field.name) for part in parts], field) for field in PART]
    return columns.lists(SCHEMA.field("parts").type, [len(row.parts) for row in rows], columns.structs(PART, fields))


def later_columns(rows: Sequence[IndexRow]) -> tuple[str, ...]:
    """Those of :data:`LATER` in which a row has a value."""
    return tuple(name for name in LATER.names if any(getattr(row, name) is not None for row in rows))


def _schema(later: Collection[str]) -> pa.Schema:
    return pa.schema([*SCHEMA, *(field for field in LATER if field.name in later)])


def sidecar_info(uri: str) -> ShardInfo | None:
    """What a sidecar says of its tar; None where there is no sidecar or it is not one of ours."""
    try:
        table = open_arrow(uri)
        values = stated(table, uri)
    except (FileNotFoundError, ShardError):
        return None
    if values.get("llaso.format_version") != str(FORMAT_VERSION):
        return None
    try:
        return ShardInfo(
            path=values["llaso.path"],
            sha256=values["llaso.sha256"],
            bytes=int(values["llaso.bytes"]),
            samples=int(values["llaso.samples"]),
            duration_s=float(values["llaso.duration_s"]),
            digest=values["llaso.digest"],
            dataset=values["llaso.dataset"],
            columns=tuple(name for name in LATER.names if name in table.schema.names),
        )
    except (KeyError, ValueError):
        return None


def write_index(uri: str, sidecars: Iterable[tuple[str, str]], digest: str, later: Collection[str] = ()) -> None:
    """Join sidecars into one index.

    Args:
        uri: Where.
        sidecars: (URI of the sidecar, path of its tar) in the order of the manifest. The column ``shard`` is the place
            in that order, and the schema's metadata repeats the paths.
        digest: Of the set of shards.
        later: Columns of :data:`LATER` that any of the sidecars has.
    """
    sidecars = list(sidecars)
    values = {
        "llaso.format_version": str(FORMAT_VERSION),
        "llaso.dataset": digest,
        "llaso.shards": json.dumps([path for _, path in sidecars], ensure_ascii=False),
    }
    bare = _schema(later)
    schema = pa.schema([SHARD_COLUMN, *bare], metadata=values)
    with ThreadPoolExecutor(_READERS) as pool:
        reads = (partial(pool.submit, _numbered, sidecar, number, bare) for number, (sidecar, _) in enumerate(sidecars))
        _write(uri, schema, _ahead(reads))


def _ahead(starts: Iterator[Callable[[], Future[pa.Table]]]) -> Iterator[pa.Table]:
    """Tables in their order, of which a few are read while one is written."""
    running = deque(start() for start in islice(starts, 2 * _READERS))
    while running:
        yield running.popleft().result()
        running.extend(start() for start in islice(starts, 1))


def write_again(uri: str, table: pa.Table) -> None:
    """Write an index anew with some of its rows; what its metadata says stays."""
    kept = {name: value for name, value in stated(table, uri).items() if name != "llaso.checksum"}
    schema = table.schema.with_metadata(kept)
    _write(uri, schema, [table.replace_schema_metadata(None).combine_chunks()])


def is_index(uri: str) -> bool:
    """Whether a file is an index that :func:`write_index` made."""
    try:
        return "llaso.shards" in stated(open_arrow(uri, whole=False, trusted=True), uri)
    except (FileNotFoundError, ShardError):
        return False


def dataset_of(uri: str) -> str | None:
    """The digest of the set of shards that an index is of; None where it is none."""
    try:
        return stated(open_arrow(uri, whole=False, trusted=True), uri).get("llaso.dataset")
    except (FileNotFoundError, ShardError):
        return None


def open_arrow(uri: str, whole: bool = True, trusted: bool = False) -> pa.Table:
    """The table of an index: mapped where it is local, else read.

    Args:
        uri: An ``index.arrow`` or a sidecar.
        whole: Look at every value. Unchecked, a wrong offset would be read wherever it points, which ends the process.
            Without it only the structure of the table is looked at, for those who check every row that they read.
        trusted: Do not compare its checksum; it was compared before.

    Raises:
        FileNotFoundError: There is none.
        ShardError: It is damaged, or not a complete Arrow file with the columns of an index.
    """
    try:
        source = _source(uri)
        if not trusted:
            sealed.check(source, uri, sealed.ARROW)
        table = pa.ipc.open_file(source).read_all()
        table.validate(full=whole)
    except FileNotFoundError:
        raise
    except DamagedError as error:
        raise ShardError(f"{error}; build the index again") from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise ShardError(f"{uri} is not a complete Arrow file ({error}); build the index again") from error
    wrong = [field.name for field in SCHEMA if table.schema.get_all_field_indices(field.name) == []]
    wrong = wrong or [field.name for field in SCHEMA if table.schema.field(field.name).type != field.type]
    wrong = wrong or [field.name for field in SCHEMA if not field.nullable and table[field.name].null_count]
    wrong = wrong or [part.name for chunk in table["parts"].chunks for part in PART if _lacks(chunk.values, part.name)]
    if wrong:
        raise ShardError(f"{uri} is no index: {', '.join(wrong)} is missing or of another type; build the index again")
    return table


def has_checksum(table: pa.Table) -> bool:
    """Whether the index that this table was read from carries a checksum; those of earlier versions have none."""
    return sealed.FIELD.encode() in (table.schema.metadata or {})


def _source(uri: str) -> pa.NativeFile:
    return (
        pa.memory_map(storage.absolute(uri), "r") if storage.is_local(uri) else pa.BufferReader(storage.read_bytes(uri))
    )


def _lacks(parts: pa.StructArray, name: str) -> bool:
    return bool(parts.null_count or parts.field(name).null_count)


def numbers(array: pa.Array) -> npt.NDArray[Any]:
    """An array of numbers without nulls as NumPy sees its buffer; pyarrow's own way imports pandas where there is one.

    Raises:
        pa.ArrowInvalid: It is anything else.
    """
    kind = _KINDS.get(str(array.type), str(array.type))
    if array.null_count or not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise pa.ArrowInvalid(f"{array.type} with {array.null_count} nulls")
    if not len(array):
        return np.zeros(0, kind)
    return np.frombuffer(array.buffers()[1], kind, array.offset + len(array))[array.offset :]


def stated(table: pa.Table, uri: str) -> dict[str, str]:
    """What the schema's metadata says, as text.

    Raises:
        ShardError: It is not text.
    """
    try:
        return {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
    except UnicodeDecodeError as error:
        raise ShardError(f"{uri}: its metadata is damaged ({error}); build the index again") from error


def _numbered(uri: str, number: int, schema: pa.Schema) -> pa.Table:
    table = open_arrow(uri)
    for name in schema.names:
        if name not in table.schema.names:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
    table = table.select(schema.names)
    shard = columns.numbers(repeat(number, len(table)), SHARD_COLUMN.type, len(table))
    return table.add_column(0, SHARD_COLUMN, shard)


def _write(uri: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    """Batches of about :data:`BATCH_ROWS` rows, whatever the sizes of the tables."""
    schema = schema.with_metadata({**schema.metadata, sealed.FIELD: sealed.BLANK})
    with storage.whole(uri) as path:
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            _write_batches(writer, schema, tables)
        sealed.seal(path, sealed.ARROW)


def _write_batches(writer: pa.ipc.RecordBatchFileWriter, schema: pa.Schema, tables: Iterable[pa.Table]) -> None:
    bare = schema.remove_metadata()
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table.cast(bare).replace_schema_metadata(schema.metadata))
        if sum(item.num_rows for item in waiting) >= BATCH_ROWS:
            writer.write_table(pa.concat_tables(waiting).combine_chunks())
            waiting = []
    if waiting:
        writer.write_table(pa.concat_tables(waiting).combine_chunks())
