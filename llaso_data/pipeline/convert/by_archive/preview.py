"""`--dry-run` of a source in zips: what it holds and takes, by the beginnings of its tables and by a few zips."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from llaso_data import audio
from llaso_data.audio import decode_worker
from llaso_data.errors import AudioError
from llaso_data.formats.conversations.llaso_files import llaso_file
from llaso_data.formats.conversations.llaso_reader import FoundAudio, LlasoReader
from llaso_data.formats.rows.conversation import UNNAMED_TASK, to_sample
from llaso_data.formats.tables.json_blocks import json_blocks
from llaso_data.io import storage, zip_members
from llaso_data.io.archive import ArchiveError
from llaso_data.pipeline.convert.by_archive.archive_rows import LAYOUT
from llaso_data.pipeline.convert.by_archive.origin import Cost, Origin, OriginFile
from llaso_data.pipeline.convert.by_archive.source import ArchiveSource
from llaso_data.pipeline.convert.samples import Converted, of_conversation
from llaso_data.recipe import Decode
from llaso_data.records import Failure

_HEAD_BYTES = 1 << 18
_ZIPS_LISTED, _CLIPS_HEARD = 3, 9
REQUESTS_A_ZIP = 5  # two for its directory, one for where it lies, and the same and one more to fetch it


@dataclass(slots=True)
class ArchivePreview:
    """What a source in zips holds; numbers but those of files and bytes are by what few of them show.

    Attributes:
        zips: How many there are.
        zip_bytes: Of all of them.
        largest_bytes: Of the largest zip.
        tables: How many files of rows there are.
        table_bytes: Of all of them.
        rows: Rows by (modality, task).
        clips: Sounds in the zips; None: no zip could be listed.
        clip_hours: Of these; None: none could be heard.
        flac_bytes: Of the sounds of all rows, in shards.
        cpu_s: Seconds of a core to decode and encode them.
        requests: On a store or the hub.
        fetched: Whether zips are fetched, or read where they lie.
    """

    zips: int
    zip_bytes: int
    largest_bytes: int
    tables: int
    table_bytes: int
    fetched: bool
    requests: int
    rows: Counter[tuple[str, str]] = field(default_factory=Counter)
    clips: int | None = None
    clip_hours: float | None = None
    flac_bytes: int | None = None
    cpu_s: float | None = None

    @property
    def rows_a_clip(self) -> float | None:
        """How often one sound is written, on average: it is a part of every sample that names it."""
        return self.rows.total() / self.clips if self.clips else None


def look_at(source: ArchiveSource) -> ArchivePreview:
    """Read the beginnings of all tables and the directories of a few zips, and hear a few sounds."""
    origin, zips = source.origin, source.archives
    fetched = origin.fetches()
    seen = ArchivePreview(
        zips=len(zips),
        zip_bytes=sum(file.size_bytes for file in zips),
        largest_bytes=max(file.size_bytes for file in zips),
        tables=len(source.tables),
        table_bytes=sum(file.size_bytes for file in source.tables),
        fetched=fetched,
        requests=REQUESTS_A_ZIP * len(zips) + 2 * len(source.tables) if fetched else 0,
    )
    for table in source.tables:
        known = llaso_file(table.path)
        seen.rows[known.modality or "unknown", known.task or UNNAMED_TASK] += _rows_about(origin, table)
    some = [zips[place] for place in sorted({0, len(zips) // 2, len(zips) - 1})][:_ZIPS_LISTED]
    with origin.by_ranges(some, Cost()):
        _hear(origin, some, seen)
    return seen


def first_samples(source: ArchiveSource, count: int) -> Iterator[Converted | Failure]:
    """The first rows of each table as samples. Nobody looks where their sound lies."""
    from llaso_data.formats.conversations.llaso_rows import LlasoRow, llaso_row

    origin, reading = source.origin, source.reading
    for table in source.tables:
        uri = origin.uri(table.path)
        known, license = llaso_file(table.path), reading.license
        reader = LlasoReader(origin.root, table.path, uri, known, lambda path: FoundAudio(origin.uri(path)), license)
        blocks = json_blocks(uri, LlasoRow, llaso_row)
        rows = ((number, row) for block in blocks for number, row in enumerate(block.rows, block.first))
        for number, row in islice(rows, -(-count // len(source.tables))):
            one = reader.conversation(row, number)
            if isinstance(one, Failure):
                yield one
            else:
                yield of_conversation(to_sample(one, reading.spec, reading.corpus, LAYOUT))


def _rows_about(origin: Origin, table: OriginFile) -> int:
    with storage.open_read(origin.uri(table.path)) as file:
        head = file.read(_HEAD_BYTES)
    return round(head.count(b'"conversations"') * table.size_bytes / max(1, len(head)))


def _hear(origin: Origin, zips: list[OriginFile], seen: ArchivePreview) -> None:
    """Count the members of some zips, and decode and encode a few."""
    listed_bytes, clips = 0, 0
    chosen: list[tuple[str, str]] = []
    for file in zips:
        try:
            sizes = list(zip_members.read(origin.pinned(file), file.size_bytes).sizes())
        except ArchiveError:
            continue
        listed_bytes += file.size_bytes
        clips += len(sizes)
        wanted = _CLIPS_HEARD // len(zips)
        step = max(1, len(sizes) // wanted)
        chosen += [(origin.pinned(file), name) for name, _ in sizes[::step][:wanted]]
    if not clips:
        return
    seen.clips = round(clips * seen.zip_bytes / listed_bytes)
    started_s = time.process_time()
    heard = [pcm for uri, name in chosen if (pcm := _pcm(uri, name)) is not None]
    if not heard:
        return
    written = seen.clips * (seen.rows_a_clip or 1.0) / len(heard)
    seen.clip_hours = sum(map(len, heard)) / audio.SAMPLE_RATE_HZ / 3600 * seen.clips / len(heard)
    seen.flac_bytes = round(sum(len(audio.encode(pcm, "flac")) for pcm in heard) * written)
    seen.cpu_s = (time.process_time() - started_s) * written


def _pcm(uri: str, member: str) -> audio.Pcm | None:
    try:
        limits = Decode()
        whole = [(None, None, None)]
        spans, _ = decode_worker.decode_spans(uri, member, whole, stall_s=limits.stall_s, memory_mb=limits.memory_mb)
    except AudioError:
        return None
    return None if isinstance(spans[0], AudioError) else spans[0]
