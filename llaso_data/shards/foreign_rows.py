"""One sample of a tar that something else wrote as a row of the index: its parts' checksums, its seconds, its text."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping
from typing import IO, Any

from llaso_data import languages, records
from llaso_data.errors import AudioError
from llaso_data.io import strict_json
from llaso_data.shards import layout
from llaso_data.shards.index import IndexRow, PartRow
from llaso_data.shards.tar import ShardError

TEXT_PARTS = frozenset({"txt", "text", "lab", "transcript"})
MAX_TEXT_BYTES = 16 << 20
"""Of a transcript or a JSON; a larger one is not looked into."""

TEXT_FIELDS = ("text", "transcript", "transcription", "sentence", "caption")
"""Fields of a JSON without a conversation that hold what is said; the first that is there counts."""

_CHUNK_BYTES = 1 << 20


class RowReader:
    """Makes rows of the samples of one tar; ``problem`` is told what cannot be read, by name."""

    def __init__(
        self, file: IO[bytes], uri: str, language: str | None, task: str | None, problem: Callable[[str], None]
    ) -> None:
        self._file = file
        self._uri = uri
        self._language = language
        self._task = task
        self._problem = problem

    def row(self, key: str, parts: Mapping[str, tuple[int, int]]) -> tuple[IndexRow, bool]:
        """The row of a sample, and whether it has audio. ``parts``: name → (offset of the content, size)."""
        from llaso_data.audio import AUDIO_EXTENSIONS

        rows: list[PartRow] = []
        said: dict[str, Any] = {}
        duration_s, has_audio, text_bytes = 0.0, False, 0
        for part, (offset, size) in parts.items():
            kind, name = part.rpartition(".")[2], f"{key}.{part}"
            is_audio = kind in AUDIO_EXTENSIONS
            looked_into = is_audio or kind in TEXT_PARTS or kind == layout.JSON_PART
            data, crc32 = self._read(name, offset, size, looked_into and (is_audio or size <= MAX_TEXT_BYTES))
            rows.append(PartRow(part, offset, size, crc32))
            if is_audio:
                has_audio = True
                duration_s += self._duration_s(data, name)
            elif looked_into and size > MAX_TEXT_BYTES:
                self._problem(f"{name}: {size:,} bytes, which no transcript has")
            elif kind == layout.JSON_PART:
                found = self._json(data, name)
                said = found if part == layout.JSON_PART or not said else said
            elif kind in TEXT_PARTS:
                text_bytes += self._text_bytes(data, name)
        text_bytes += json_text_bytes(said) if said else 0
        row = IndexRow(
            key=key,
            parts=tuple(rows),
            duration_s=round(duration_s, 6),
            text_bytes=text_bytes,
            task=_string(said, "task") or self._task,
            language=self._spoken(said, key),
            modality=_modality(said) or ("audio" if has_audio else "text" if text_bytes else records.UNKNOWN),
        )
        return row, has_audio

    def _read(self, name: str, offset: int, size: int, wanted: bool) -> tuple[bytes, int]:
        """The content, empty where it is not wanted, and its CRC-32."""
        self._file.seek(offset)
        if wanted:
            data = self._file.read(size)
            read, crc32 = len(data), zlib.crc32(data)
        else:
            data, read, crc32 = b"", 0, 0
            while read < size and (chunk := self._file.read(min(_CHUNK_BYTES, size - read))):
                read, crc32 = read + len(chunk), zlib.crc32(chunk, crc32)
        if read != size:
            raise ShardError(f"{self._uri}!{name}: {read} of {size} bytes are there; copy the tar again")
        return data, crc32

    def _duration_s(self, data: bytes, name: str) -> float:
        """What the header states, or, where it states nothing, what decoding gives."""
        from llaso_data import audio
        from llaso_data.audio import limited

        try:
            stated_s = limited.probe(name, data=data).duration_s
            return len(limited.decode_bytes(data, name)) / audio.SAMPLE_RATE_HZ if stated_s is None else stated_s
        except AudioError as error:
            self._problem(error.detail)
            return 0.0

    def _json(self, data: bytes, name: str) -> dict[str, Any]:
        try:
            said = strict_json.loads_object(data)
            json.dumps(said, ensure_ascii=False).encode()  # half characters are no text that an index can hold
        except (ValueError, RecursionError) as error:
            self._problem(f"{name}: not readable JSON ({error})")
            return {}
        return said

    def _spoken(self, said: Mapping[str, Any], key: str) -> str | None:
        """The language that the JSON states, as it is named here; what is none is told, and not kept."""
        word = _string(said, "language")
        if word is None or languages.is_unsaid(word):
            return self._language
        found = languages.language(word)
        if found is None:
            self._problem(f"{key}: {word[:80]!r} is no language")
        return found

    def _text_bytes(self, data: bytes, name: str) -> int:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._problem(f"{name}: not UTF-8 (byte at {error.start})")
        return len(data.strip())


def json_text_bytes(said: Mapping[str, Any]) -> int:
    """Text of a conversation where there is one, else of the first field that is usual for a transcript."""
    try:
        return layout.text_bytes(said["messages"])
    except (KeyError, TypeError, AttributeError):
        pass
    return next((len(said[name].encode()) for name in TEXT_FIELDS if isinstance(said.get(name), str)), 0)


def _string(said: Mapping[str, Any], name: str) -> str | None:
    return said[name] if isinstance(said.get(name), str) else None


def _modality(said: Mapping[str, Any]) -> str | None:
    try:
        return layout.modality(said["messages"]) or None
    except (KeyError, TypeError, AttributeError):
        return None
