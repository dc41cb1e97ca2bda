"""The rows of one archive as samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from llaso_data.formats.conversations.llaso_files import llaso_file
from llaso_data.formats.conversations.llaso_reader import FoundAudio, LlasoReader, voices
from llaso_data.formats.rows.conversation import to_sample
from llaso_data.formats.tables.columns import audio_location, audio_stat
from llaso_data.io import storage
from llaso_data.pipeline.convert.by_archive import work
from llaso_data.pipeline.convert.by_archive.directories import LOOSE
from llaso_data.pipeline.convert.by_archive.join import FOUND, Places
from llaso_data.pipeline.convert.by_archive.origin import Origin, OriginFile
from llaso_data.pipeline.convert.by_archive.scan import decoded
from llaso_data.pipeline.convert.samples import Converted, of_conversation
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

LAYOUT = "llaso_json"
_ROWS_AT_ONCE = 256
_ID_BYTES = 16
_KNOWN_AT_ONCE = 1 << 20  # ids of earlier generations that are in memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """How rows are read.

    Attributes:
        spec: The source.
        corpus: Its name in the records.
        license: Of its audios, where it is known.
        tables: Paths of the JSON files, by number.
    """

    spec: SourceSpec
    corpus: str
    license: str | None
    tables: tuple[str, ...]


class ArchiveRows:
    """The rows of an archive, in the order of its members.

    Args:
        origin: The source.
        file: The archive; None: the rows whose sound lies in none.
        others: Archives by number, of rows that have further audios in them.
        rows: Where the rows lie.
        reading: How they are read.
    """

    def __init__(
        self,
        origin: Origin,
        file: OriginFile | None,
        others: Mapping[int, OriginFile],
        rows: Places,
        reading: Reading,
    ) -> None:
        self._origin, self._reading = origin, reading
        self._find = _Find(origin, file, others)
        order = [("order", "ascending"), ("file", "ascending"), ("row", "ascending")]
        self._table = work.read_pieces(rows, FOUND).sort_by(order)

    def samples(self) -> Iterator[Converted | Failure]:
        """The samples as the layout's reader makes them; each call gives them anew."""
        reading, root = self._reading, self._origin.root
        readers: dict[int, LlasoReader] = {}
        for batch in self._table.to_batches(_ROWS_AT_ONCE):
            for one in batch.to_pylist():
                number = one["file"]
                if number not in readers:
                    path = reading.tables[number]
                    uri = self._origin.uri(path)
                    readers[number] = LlasoReader(root, path, uri, llaso_file(path), self._find, reading.license)
                row = decoded(one["json"])
                self._find.begin(one, voices(row))
                conversation = readers[number].conversation(row, one["row"])
                if isinstance(conversation, Failure):
                    yield conversation
                else:
                    yield of_conversation(to_sample(conversation, reading.spec, reading.corpus, LAYOUT))


class _Find:
    """Finds the audios of one row after the other: the join has found them, this says what it found."""

    def __init__(self, origin: Origin, file: OriginFile | None, others: Mapping[int, OriginFile]) -> None:
        self._origin, self._file, self._others = origin, file, others
        self._found: dict[str, FoundAudio] = {}

    def begin(self, row: Mapping[str, Any], paths: list[str]) -> None:
        """The next row, as FOUND has it, and what it names."""
        self._found = {}
        if paths and row["member"] is not None:
            self._found[paths[0]] = self._audio(self._file, row["member"], row["size"], row["version"], row["broken"])
        for voice, archive, *about in json.loads(row["others"] or "[]"):
            file = None if archive == LOOSE else self._others[archive]
            self._found[voice] = self._audio(file, *about)

    def _audio(
        self, file: OriginFile | None, member: str, size: int, version: str | None, broken: str | None
    ) -> FoundAudio:
        if file is None:
            return FoundAudio(self._origin.uri(member), size, version or "")
        return FoundAudio(self._origin.uri(file.path), size, file.version, member, broken)

    def __call__(self, path: str) -> FoundAudio | None:
        if path in self._found:
            return self._found[path]
        _, uri = audio_location(path, self._origin.root)
        if uri.startswith(f"{self._origin.root}/"):
            return None
        size_bytes, version = audio_stat(uri)
        return FoundAudio(uri, size_bytes, version) if version or size_bytes else None


def sorted_ids(pieces: Iterator[bytes]) -> bytes:
    """Ids of 16 bytes each, sorted."""
    halves = np.frombuffer(b"".join(pieces), ">u8").reshape(-1, 2)
    return bytes(halves[np.lexsort((halves[:, 1], halves[:, 0]))].tobytes())


def seen_before(known: str, rows: ArchiveRows) -> SeenIds:
    """The ids of rows that are among sorted ids, of which few are in memory at once.

    Args:
        known: URI of the ids.
        rows: Of an archive.
    """
    hexadecimal = "".join(one.id for one in rows.samples() if isinstance(one, Converted))
    wanted = np.frombuffer(bytes.fromhex(hexadecimal), ">u8").reshape(-1, 2)
    seen = SeenIds()
    with storage.open_read(known) as file:
        while data := file.read(_KNOWN_AT_ONCE * _ID_BYTES):
            halves = np.frombuffer(data, ">u8").reshape(-1, 2)
            inside = wanted[(wanted[:, 0] >= halves[0, 0]) & (wanted[:, 0] <= halves[-1, 0])]
            if len(inside):
                held = SeenIds([data]).known(inside.astype(np.uint64))
                seen.add([bytes(one.tobytes()).hex() for one in inside[held]])
    return seen
