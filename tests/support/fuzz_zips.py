"""Zips that are thrown at their readers: a directory listed, its members opened, a corpus of LLaSO's read from it."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

from llaso_data import audio, formats
from llaso_data.errors import LLaSOError
from llaso_data.io import zip_members
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

_NAMES = ("a/b.wav", "x\\c.wav", "größe.wav", "gone.wav")
_ROWS = [
    {"voice": [name], "conversations": [{"from": "human", "value": "<audio>"}, {"from": "gpt", "value": "x"}]}
    for name in _NAMES
]


def zipped(data: bytes, folder: Path) -> None:
    """A zip of strangers, alone and as an archive of a corpus of LLaSO's."""
    path = folder / "part1.zip"
    path.write_bytes(data)
    try:
        found = zip_members.directory(str(path))
        sizes = dict(found.sizes())
        assert {name: member.size_bytes for name, member in found.members.items()} == sizes
        for name in [*found.members, *found.broken]:
            _open(path, name)
    except LLaSOError:
        pass
    (folder / "asr.json").write_text(json.dumps(_ROWS, indent=2))
    rows = list(formats.read_samples(SourceSpec(path=str(folder))))
    assert sum(not isinstance(row, Failure) or ": voice " in row.detail for row in rows) == len(_ROWS)


def _open(path: Path, name: str) -> None:
    try:
        with audio.open_audio(str(path), name) as file:
            file.read(1 << 20)
    except LLaSOError:
        pass


def seeds() -> tuple[bytes, ...]:
    """Zips of each kind: stored and deflated, with a comment, with zip64's fields, with sums after the data."""
    return (
        _made(zipfile.ZIP_STORED),
        _made(zipfile.ZIP_DEFLATED, comment=b"PK\5\6 is no end"),
        _made(zipfile.ZIP_DEFLATED, long=True),
        _made(zipfile.ZIP_STORED) + _made(zipfile.ZIP_DEFLATED),
    )


def _made(method: int, comment: bytes = b"", long: bool = False) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", method) as archive:
        archive.comment = comment
        for name in _NAMES[:3]:
            with archive.open(name, "w", force_zip64=long) as file:
                file.write(b"RIFF\0\0\0\0WAVE" * 20)
    return data.getvalue()
