"""Index rows of the samples of a foreign tar: checksums of the parts, seconds of audio, length of the text."""

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
"""Size of the largest transcript or JSON that is read; a larger one is a problem."""

TEXT_FIELDS = ("text", "transcript", "transcription", "sentence", "caption")
"""Fields that hold the transcript in a JSON without a conversation; the first that is there counts."""

_CHUNK_BYTES = 1 << 20


class RowReader:
    """Makes the index rows of one tar's samples.

    Args:
        file: The tar, seekable.
        uri: The tar's name, for errors.
        language: Language of samples whose JSON does not say.
        task: Task of samples whose JSON does not say.
        problem: Called with a line for each part that cannot be read.
    """

    def __init__(
        self, file: IO[bytes], uri: str, language: str | None, task: str | None, problem: Callable[[str], None]
    ) -> None:
        self._file = file
        self._uri = uri
        self._language = language
        self._task = task
        self._problem = problem

    def row(self, key: str, parts: Mapping[str, tuple[int, int]]) -> tuple[IndexRow, bool]:
        """The row of a sample, and whether it has audio.

        Args:
            key: The sample's key.
            parts: Name of each part → (offset of its content from the start of the tar, size), bytes.

        Raises:
            ShardError: The tar ends inside a part.
        """
        from llaso_data.audio import AUDIO_EXTENSIONS

        rows: list[PartRow] = []
        metadata: dict[str, Any] = {}
        duration_s, has_audio, text_bytes = 0.0, False, 0
        for part, (offset, size) in parts.items():
            kind, name = part.rpartition(".")[2], f"{key}.{part}"
            is_audio = kind in AUDIO_EXTENSIONS
            is_read = is_audio or kind in TEXT_PARTS or kind == layout.JSON_PART
            data, crc32 = self._read(name, offset, size, is_read and (is_audio or size <= MAX_TEXT_BYTES))
            rows.append(PartRow(part, offset, size, crc32))
            if is_audio:
                has_audio = True
                duration_s += self._duration_s(data, name)
            elif is_read and size > MAX_TEXT_BYTES:
                self._problem(f"{name}: {size:,} bytes, which no transcript has")
            elif kind == layout.JSON_PART:
                fields = self._json(data, name)
                metadata = fields if part == layout.JSON_PART or not metadata else metadata
            elif kind in TEXT_PARTS:
                text_bytes += self._text_bytes(data, name)
        text_bytes += json_text_bytes(metadata) if metadata else 0
        row = IndexRow(
            key=key,
            parts=tuple(rows),
            duration_s=round(duration_s, 6),
            text_bytes=text_bytes,
            task=_string(metadata, "task") or self._task,
            language=self._language_of(metadata, key),
            modality=_modality(metadata) or ("audio" if has_audio else "text" if text_bytes else records.UNKNOWN),
        )
        return row, has_audio

    def _read(self, name: str, offset: int, size: int, keep_content: bool) -> tuple[bytes, int]:
        """The content and its CRC-32; the content is empty where ``keep_content`` is false."""
        self._file.seek(offset)
        if keep_content:
            data = self._file.read(size)
            size_read, crc32 = len(data), zlib.crc32(data)
        else:
            data, size_read, crc32 = b"", 0, 0
            while size_read < size and (chunk := self._file.read(min(_CHUNK_BYTES, size - size_read))):
                size_read, crc32 = size_read + len(chunk), zlib.crc32(chunk, crc32)
        if size_read != size:
            raise ShardError(f"{self._uri}!{name}: {size_read} of {size} bytes are there; copy the tar again")
        return data, crc32

    def _duration_s(self, data: bytes, name: str) -> float:
        """Seconds of audio: as the header states, else by decoding. 0 and a problem where it cannot be read."""
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
            fields = strict_json.loads_object(data)
            json.dumps(fields, ensure_ascii=False).encode()  # an index cannot hold unpaired surrogates
        except (ValueError, RecursionError) as error:
            self._problem(f"{name}: not readable JSON ({error})")
            return {}
        return fields

    def _language_of(self, metadata: Mapping[str, Any], key: str) -> str | None:
        """The code of the language that the JSON states; None and a problem where it is no language."""
        stated = _string(metadata, "language")
        if stated is None or languages.is_unsaid(stated):
            return self._language
        code = languages.language(stated)
        if code is None:
            self._problem(f"{key}: {stated[:80]!r} is no language")
        return code

    def _text_bytes(self, data: bytes, name: str) -> int:
        try:
            data.decode()
        except UnicodeDecodeError as error:
            self._problem(f"{name}: not UTF-8 (byte at {error.start})")
        return len(data.strip())


def json_text_bytes(metadata: Mapping[str, Any]) -> int:
    """Bytes of text in a JSON: its conversation's, else that of the first of :data:`TEXT_FIELDS`."""
    try:
        return layout.text_bytes(metadata["messages"])
    except (KeyError, TypeError, AttributeError):
        pass
    return next((len(metadata[name].encode()) for name in TEXT_FIELDS if isinstance(metadata.get(name), str)), 0)


def _string(metadata: Mapping[str, Any], name: str) -> str | None:
    return metadata[name] if isinstance(metadata.get(name), str) else None


def _modality(metadata: Mapping[str, Any]) -> str | None:
    try:
        return layout.modality(metadata["messages"]) or None
    except (KeyError, TypeError, AttributeError):
        return None
