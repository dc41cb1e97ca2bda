"""Tables that hold their audio inside, as Hugging Face writes datasets: made into a manifest with a tar beside it."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.tables.columns import COLUMN_NAMES, canonical_values
from llaso_data.formats.tables.table_rows import table_rows
from llaso_data.io import storage
from llaso_data.io.cache import cached
from llaso_data.records import digest
from llaso_data.uris import extension

MANIFEST = "manifest.jsonl"
_TAR = "audio.tar"
_ROWS = 64  # in memory at once
_EXTENSIONS = {b"fLaC": "flac", b"RIFF": "wav", b"OggS": "ogg"}  # by the first bytes; else MP3, which has none


def tables_with_audio(uri: str) -> list[str]:
    """The Parquet files that have audio inside.

    Args:
        uri: One file, or a folder. Of a folder with files named ``test…`` only those count.

    Raises:
        LLaSOError: A file is no readable Parquet file.
    """
    root = storage.absolute(uri)
    if extension(root) == "parquet":
        tables = [root]
    else:
        tables = [
            storage.join(root, row["path"]) for row in storage.listing(root) if extension(row["path"]) == "parquet"
        ]
        tables = [table for table in tables if PurePosixPath(table).name.startswith("test")] or tables
    return [table for table in sorted(tables) if _has_audio(table)]


def unpack_audio(tables: Sequence[str]) -> str:
    """Unpack tables into the cache, once for each version of them.

    Args:
        tables: Parquet files, as :func:`tables_with_audio` gives them.

    Returns:
        Path of a manifest of the tables' rows, which names the audio in a tar beside it.

    Raises:
        LLaSOError: A table cannot be read.
    """
    versions = [storage.stat(table)["version"] for table in tables]
    return str(cached(f"tables/{digest(*tables, *versions)}", lambda folder: _unpack(tables, folder)) / MANIFEST)


def _unpack(tables: Sequence[str], folder: Path) -> None:
    with tarfile.open(folder / _TAR, "w") as tar, (folder / MANIFEST).open("w", encoding="utf-8") as manifest:
        rows = (row for table in tables for _, row in table_rows(table, at_once=_ROWS))
        for number, row in enumerate(rows):
            if isinstance(row, str):  # no JSON object: the manifest's reader counts it
                manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
                continue
            values = {name: value for name, value in canonical_values(row).items() if value is not None}
            sound = values.pop("audio", None)  # without it the manifest's reader says that a row has none
            if isinstance(sound, dict) and sound.get("bytes"):
                info = tarfile.TarInfo(f"{number:08d}.{_kind(sound.get('path'), sound['bytes'])}")
                info.size = len(sound["bytes"])
                tar.addfile(info, io.BytesIO(sound["bytes"]))
                values |= {"audio": _TAR, "member": info.name}
            manifest.write(json.dumps(values, ensure_ascii=False, default=str) + "\n")


def _has_audio(table: str) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_read(table) as file:
            schema = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise LLaSOError(f"{table}: not a readable Parquet file ({error})") from error
    structs = [one for one in schema if pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    return any(one.name.lower() in COLUMN_NAMES["audio"] for one in structs)


def _kind(path: Any, data: bytes) -> str:
    """The audio's extension: that of the path beside it, else as the data begin."""
    named = extension(path) if isinstance(path, str) else ""
    return named if named in AUDIO_EXTENSIONS else _EXTENSIONS.get(data[:4], "mp3")
