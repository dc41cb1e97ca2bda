"""The first stage: the rows of one JSON file, by the name of their first audio's file, in buckets."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from llaso_data.formats.conversations.llaso_reader import voices
from llaso_data.formats.files.suffixes import path_parts
from llaso_data.formats.rows.source_row import describe_error
from llaso_data.formats.tables.columns import audio_location
from llaso_data.formats.tables.json_blocks import json_blocks
from llaso_data.pipeline.convert.by_archive import work
from llaso_data.pipeline.convert.by_archive.origin import Cost, Origin, OriginFile, Scratch, at_hand
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.records import Failure

if TYPE_CHECKING:
    from llaso_data.formats.conversations.llaso_rows import LlasoRow

ROWS = pa.schema({"file": pa.int32(), "row": pa.int64(), "path": pa.string(), "json": pa.binary()})
"""Rows of a bucket: the number of the file, the row's in it, what is searched for, and the row itself."""
OTHERS = pa.schema(
    {"file": pa.int32(), "row": pa.int64(), "path": pa.string(), "voice": pa.string(), "home": pa.int32()}
)
"""Second and further audios of rows, in the buckets of their own names: ``home`` is the bucket of the row."""

NO_BUCKET = -1
"""The bucket of rows that no archive is searched for: without an audio, or with an address of their own."""
_OTHERS_FROM = 1 << 20  # buckets of OTHERS have this added to their number
_MAY_LEAD_OUT = re.compile(r"^/|:|\.\.")  # of the folder: an absolute path, an address, a way up
_FLUSH_BYTES = 48 << 20
_ROW_BYTES = 200  # of a row beside its JSON, as Python holds it


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanTask:
    """One JSON file to scan."""

    name: str
    work: str
    origin: Origin
    file: OriginFile
    number: int
    buckets: int
    scratch: Scratch


def bucket_of(path: str, buckets: int) -> int:
    """The bucket of a path, by its last part: all that could end alike lie together."""
    return zlib.crc32(path.rpartition("/")[2].encode()) % buckets


def others_of(bucket: int) -> int:
    """The number under which a scan's file has the OTHERS of a bucket."""
    return bucket + _OTHERS_FROM


def scan(task: ScanTask) -> Cost:
    """Scan one file unless that is done."""
    cost = Cost()
    with (
        at_hand(task.origin, task.file, task.scratch, cost, task.file.size_bytes, is_table=True) as path,
        work.writing_rows(task.work, task.name) as pieces,
    ):
        state = _Scan(task, pieces)
        state.read(path)
    work.write_record(
        task.work,
        task.name,
        {
            "rows": state.rows,
            "problems": dict(state.problems.counts),
            "examples": state.problems.examples,
            "audios": {str(count): rows for count, rows in sorted(state.audios.items())},
            "others": state.other_count,
            "places": pieces.stated(),
        },
    )
    return cost


@dataclass(slots=True)
class _Columns:
    file: list[int] = field(default_factory=list)
    row: list[int] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    last: list[Any] = field(default_factory=list)  # a row's JSON; of OTHERS its voice
    home: list[int] = field(default_factory=list)


class _Scan:
    """The rows of a file on their way into buckets."""

    def __init__(self, task: ScanTask, pieces: work.Pieces) -> None:
        from llaso_data.formats.conversations.llaso_files import llaso_file
        from llaso_data.formats.conversations.llaso_reader import LlasoReader

        self._task, self._pieces = task, pieces
        uri = task.origin.uri(task.file.path)
        self._reader = LlasoReader(
            task.origin.root, task.file.path, uri, llaso_file(task.file.path), lambda path: None, None
        )
        self.rows, self.other_count = 0, 0
        self.problems = Problems()
        self.audios: Counter[int] = Counter()
        self._buckets: dict[int, _Columns] = {}
        self._others: dict[int, _Columns] = {}
        self._bytes = 0

    def read(self, path: str) -> None:
        from llaso_data.formats.conversations.llaso_rows import LlasoRow, llaso_row

        for block in json_blocks(path, LlasoRow, llaso_row):
            for number, row in enumerate(block.rows, block.first):
                self.rows += 1
                if isinstance(row, str):
                    self._broken(row, number)
                else:
                    self._add(row, number)
            if self._bytes > _FLUSH_BYTES:
                self._flush()
        self._flush()

    def _broken(self, row: str, number: int) -> None:
        failure = self._reader.conversation(row, number)
        assert isinstance(failure, Failure)
        self.problems.add(failure)

    def _add(self, row: LlasoRow, number: int) -> None:
        try:
            paths = voices(row)
            places = {path: self._place(path) for path in paths}
        except Exception as error:
            self._broken(describe_error(error), number)
            return
        home, path = places[paths[0]] if paths else (NO_BUCKET, "")
        data = encoded(row)
        columns = self._buckets.setdefault(home, _Columns())
        columns.row.append(number)
        columns.path.append(path)
        columns.last.append(data)
        self._bytes += len(data) + _ROW_BYTES
        self.audios[len(paths)] += 1
        for voice, (bucket, path) in places.items():
            if bucket != NO_BUCKET and voice != paths[0]:
                self._add_other(number, bucket, path, voice, home)

    def _add_other(self, number: int, bucket: int, path: str, voice: str, home: int) -> None:
        columns = self._others.setdefault(bucket, _Columns())
        columns.row.append(number)
        columns.path.append(path)
        columns.last.append(voice)
        columns.home.append(home)
        self.other_count += 1
        self._bytes += len(voice) + len(path) + _ROW_BYTES

    def _place(self, path: str) -> tuple[int, str]:
        """The bucket of a path, and what is compared of it. Raises RowError for one that data may not name."""
        root = self._task.origin.root
        if _MAY_LEAD_OUT.search(path) and not audio_location(path, root)[1].startswith(f"{root}/"):
            return NO_BUCKET, ""
        try:
            path.encode()
        except UnicodeEncodeError:  # half a character: no file has such a name
            return 0, ""
        parts = "/".join(path_parts(path))
        return bucket_of(parts, self._task.buckets), parts

    def _flush(self) -> None:
        for bucket in sorted(self._buckets):
            columns = self._buckets[bucket]
            files = pa.array([self._task.number] * len(columns.row), pa.int32())
            arrays = [files, pa.array(columns.row, pa.int64()), columns.path, pa.array(columns.last, pa.binary())]
            self._pieces.add(bucket, pa.table(arrays, schema=ROWS))
        for bucket in sorted(self._others):
            columns = self._others[bucket]
            files = pa.array([self._task.number] * len(columns.row), pa.int32())
            arrays = [files, columns.row, columns.path, columns.last, columns.home]
            self._pieces.add(others_of(bucket), pa.table(arrays, schema=OTHERS))
        self._buckets, self._others, self._bytes = {}, {}, 0


def encoded(row: LlasoRow) -> bytes:
    """A row as JSON; in ASCII where it holds half of a character."""
    import msgspec

    try:
        return bytes(msgspec.json.encode(row))
    except UnicodeEncodeError:
        return json.dumps(msgspec.to_builtins(row)).encode()


def decoded(data: bytes) -> LlasoRow:
    """The row that :func:`encoded` was given."""
    import msgspec

    from llaso_data.formats.conversations.llaso_rows import LlasoRow

    try:
        row: LlasoRow = _decoder().decode(data)
    except msgspec.DecodeError:
        row = msgspec.convert(json.loads(data), LlasoRow)
    return row


def _decoder() -> Any:
    import msgspec

    from llaso_data.formats.conversations.llaso_rows import LlasoRow

    return msgspec.json.Decoder(LlasoRow)
