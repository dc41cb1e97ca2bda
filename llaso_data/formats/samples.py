"""A set of samples in Parquet: LLaSO's own records of conversations, with pointers to their audio and no sound.

Each file has the columns of :class:`~llaso_data.records.Sample`, and says so in its schema's metadata.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from llaso_data import records, uris
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import SourceConversation, bad_conversation
from llaso_data.formats.rows.source_row import describe_error
from llaso_data.formats.writing.writer import FIELDS, LayoutWriter, Part, SoundedSample
from llaso_data.io import sealed, storage
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure, Sample, Utterance
from llaso_data.uris import extension

METADATA = b"llaso.samples"
VERSION = b"1"
_BATCH_ROWS = 256


def recognises(tree: FileTree) -> str | None:
    """A Parquet file that says that it holds samples, or a folder whose first Parquet file does."""
    tables = _tables(tree)
    return "its Parquet files hold LLaSO's samples" if tables and _is_ours(tables[0]) else None


def read_conversations(spec: SourceSpec, tree: FileTree) -> Iterator[SourceConversation | Sample | Failure]:
    """Every sample, in the order of the files and of their rows.

    Raises:
        LLaSOError: There is no such file.
    """
    tables = _tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: there is no Parquet file of samples in it")
    return (one for table in tables for one in _samples(table))


def _tables(tree: FileTree) -> list[str]:
    if tree.is_file:
        return [tree.root] if extension(tree.root) == "parquet" else []
    return [tree.uri(file.path) for file in tree.files if extension(file.path) == "parquet"]


def _is_ours(uri: str) -> bool:
    try:
        with storage.open_read(uri) as file:
            return METADATA in (pq.read_schema(file).metadata or {})
    except (pa.ArrowException, OSError, ValueError):
        return False


def _samples(uri: str) -> Iterator[Sample | Failure]:
    root, _, name = uri.rpartition("/")
    try:
        with storage.open_read(uri) as file:
            table = pq.ParquetFile(file)
            if (table.schema_arrow.metadata or {}).get(METADATA) != VERSION:
                yield bad_conversation(root, name, "it holds no samples of this version of LLaSO; write it again")
                return
            number = 0
            for batch in table.iter_batches(_BATCH_ROWS):
                rows = records.completed(pa.Table.from_batches([batch]), Sample, records.schema(Sample).names)
                for row in range(len(rows)):
                    number += 1
                    yield _sample(rows.slice(row, 1), root, f"{name}:{number}")
    except (pa.ArrowException, OSError, ValueError) as error:  # also names of columns that are not UTF-8
        yield bad_conversation(root, name, f"it cannot be read ({error}); write it again")


def _sample(row: pa.Table, root: str, where: str) -> Sample | Failure:
    try:
        sample = records.from_table(row, Sample)[0]
        for audio in sample.audios:
            if (why := uris.refused(audio.source.uri, storage.scheme(root))) is not None:
                return bad_conversation(root, where, f"{uris.shown(audio.source.uri)}: {why}")
    except Exception as error:
        return bad_conversation(root, where, describe_error(error))
    return sample


def _write(part: Part, samples: Iterable[SoundedSample]) -> None:
    rows = [
        replace(one.sample, audios=tuple(_pointing(part, one, number) for number in range(len(one.sounds))))
        if _moved(one)
        else one.sample
        for one in samples
    ]
    if not rows:
        return
    with part.file(f"samples-{part.number:06d}.parquet") as path:
        pq.write_table(_table(rows), path, compression="zstd", compression_level=3)


def write(uri: str, samples: Sequence[Sample]) -> None:
    """Write samples as one file of a set, whole or not at all, with a checksum inside."""
    sealed.write_parquet(uri, _table(samples), compression="zstd", compression_level=3)


def _table(samples: Sequence[Sample]) -> pa.Table:
    table = records.to_table(samples, Sample)
    return table.replace_schema_metadata({**(table.schema.metadata or {}), METADATA: VERSION})


def _moved(one: SoundedSample) -> bool:
    """Whether a sound is elsewhere than the sample's own pointer says, as that of shards is."""
    return any(
        (sound.uri, sound.member) != (audio.source.uri, audio.source.member)
        for audio, sound in zip(one.sample.audios, one.sounds, strict=True)
    )


def _pointing(part: Part, one: SoundedSample, number: int) -> Utterance:
    """The audio with its pointer to where the sound is now: where it was, or in a file beside the samples."""
    audio, sound = one.sample.audios[number], one.sounds[number]
    start_s, end_s, uri = sound.start_s, None, sound.uri
    if start_s is not None:
        end_s = round(start_s + (audio.duration_s or 0.0), records.TIME_DECIMALS)
    if uri is None:
        uri = storage.join(part.out, part.sound(one, number))
    source = replace(
        audio.source, uri=uri, member=sound.member, start_s=start_s, end_s=end_s, channel=None, averaged=None
    )
    return replace(audio, source=source)


LAYOUT = Layout(
    name="samples",
    title="sets of samples",
    recognised_by="Parquet files that `convert --to samples` wrote",
    unit="a row",
    container="the set",
    before=("texts", "manifest", "folder"),
    recognises=recognises,
    read_conversations=read_conversations,
    writer=LayoutWriter(
        write=_write, holds=frozenset(FIELDS), spans=True, channels=True, members=True, durations=False
    ),
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
