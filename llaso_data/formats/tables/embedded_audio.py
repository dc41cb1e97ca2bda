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
from llaso_data.formats.manifest import NAMES, by_our_names
from llaso_data.formats.rows.source_row import extension
from llaso_data.formats.tables.table_rows import rows
from llaso_data.io import storage
from llaso_data.io.cache import cached
from llaso_data.records import digest

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
    return [name for name in sorted(names) if _has_audio(name)]


def unpacked(tables: Sequence[str]) -> str:
    """The manifest of the tables' rows, in the cache. Raises LLaSOError where a table cannot be read."""
    versions = [storage.stat(table)["version"] for table in tables]
    return str(cached(f"tables/{digest(*tables, *versions)}", lambda folder: _unpack(tables, folder)) / MANIFEST)


def _unpack(tables: Sequence[str], folder: Path) -> None:
    with tarfile.open(folder / _TAR, "w") as tar, (folder / MANIFEST).open("w", encoding="utf-8") as manifest:
        lines = (line for table in tables for line in rows(table, at_once=_ROWS))
        for number, (_, row) in enumerate(lines):
            if isinstance(row, str):  # no JSON object: the manifest's reader counts it
                manifest.write(json.dumps(row, ensure_ascii=False) + "\n")
                continue
            said = {name: value for name, value in by_our_names(row).items() if value is not None}
            sound = said.pop("audio", None)  # without it the manifest's reader says that a row has none
            if isinstance(sound, dict) and sound.get("bytes"):
                info = tarfile.TarInfo(f"{number:08d}.{_kind(sound.get('path'), sound['bytes'])}")
                info.size = len(sound["bytes"])
                tar.addfile(info, io.BytesIO(sound["bytes"]))
                said |= {"audio": _TAR, "member": info.name}
            manifest.write(json.dumps(said, ensure_ascii=False, default=str) + "\n")


def _has_audio(table: str) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with storage.open_read(table) as file:
            schema = pq.ParquetFile(file).schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise LLaSOError(f"{table}: not a readable Parquet file ({error})") from error
    structs = [one for one in schema if pa.types.is_struct(one.type) and one.type.get_field_index("bytes") >= 0]
    return any(one.name.lower() in NAMES["audio"] for one in structs)


def _kind(path: Any, data: bytes) -> str:
    """The audio's extension: that of the path beside it, else as the data begin."""
    said = extension(path) if isinstance(path, str) else ""
    return said if said in AUDIO_EXTENSIONS else _BEGINNINGS.get(data[:4], "mp3")
