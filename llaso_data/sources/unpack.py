"""Tables that hold their audio inside, as Hugging Face writes datasets: made into a manifest with a tar beside it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from llaso_data import storage
from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.cache import cached
from llaso_data.errors import LLaSOError
from llaso_data.records import digest
from llaso_data.sources.entry import extension
from llaso_data.sources.manifest import NAMES, by_our_names

MANIFEST = "manifest.jsonl"
_TAR = "audio.tar"
_ROWS = 64  # that are held at a time
_BEGINNINGS = {b"fLaC": "flac", b"RIFF": "wav", b"OggS": "ogg"}  # else MP3, which has none of its own


def tables_of(uri: str) -> list[str]:
    """The Parquet files of ``uri``, a file or a folder, that have audio inside; of a folder with some named
    ``test…``, those."""
    root = storage.absolute(uri)
    if extension(root) == "parquet":
        names = [root]
    else:
        names = [
            storage.join(root, row["path"]) for row in storage.listing(root) if extension(row["path"]) == "parquet"
        ]
        names = [name for name in names if PurePosixPath(name).name.startswith("test")] or names
    return [name for name in sorted(names) if _audio_column(name) is not None]


def unpacked(tables: Sequence[str]) -> str:
    """The manifest of the tables' rows, in the cache. Raises LLaSOError where a table cannot be read."""
    versions = [storage.version(storage.stat(table)) for table in tables]
    return str(cached(f"tables/{digest(*tables, *versions)}", lambda folder: _unpack(tables, folder)) / MANIFEST)


def _unpack(tables: Sequence[str], folder: Path) -> None:
    with tarfile.open(folder / _TAR, "w") as tar, (folder / MANIFEST).open("w", encoding="utf-8") as manifest:
        for number, (row, sound) in enumerate(pair for table in tables for pair in _rows(table)):
            said = {name: value for name, value in by_our_names(row).items() if value is not None}
            if sound.get("bytes"):
                info = tarfile.TarInfo(f"{number:08d}.{_kind(sound.get('path'), sound['bytes'])}")
                info.size = len(sound["bytes"])
                tar.addfile(info, io.BytesIO(sound["bytes"]))
                said |= {"audio": _TAR, "member": info.name}
            else:
                said.pop("audio", None)  # the manifest's reader then says that it has none
            manifest.write(json.dumps(said, ensure_ascii=False, default=str) + "\n")


def _audio_column(table: str) -> str | None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_read(table) as file:
            schema = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise LLaSOError(f"{table}: not a readable Parquet file ({error})") from error
    structs = [one.name for one in schema if pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    return next((name for name in structs if name.lower() in NAMES["audio"]), None)


def _rows(table: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each row without its audio, and its audio: ``bytes`` and ``path``."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    column = _audio_column(table)
    try:
        with storage.open_read(table) as file:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    sound = row.pop(column, None) or {}
                    yield row, sound
    except (pa.ArrowException, OSError) as error:
        raise LLaSOError(f"{table}: not a readable Parquet file ({error})") from error


def _kind(path: Any, data: bytes) -> str:
    """The audio's extension: that of the path beside it, else as the data begin."""
    said = extension(path) if isinstance(path, str) else ""
    return said if said in AUDIO_EXTENSIONS else _BEGINNINGS.get(data[:4], "mp3")
