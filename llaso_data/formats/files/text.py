"""Text files whose length and encoding nobody promised: transcripts, and lines of tables."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO

from llaso_data.errors import LLaSOError
from llaso_data.records import Failure

MAX_TEXT_BYTES = 16 << 20
"""The longest transcript, JSON beside a sample, and row of a table (there in characters). Hours of speech have a
hundredth of it. What is longer is a counted failure, and never in memory."""

TOO_LONG = f"longer than {MAX_TEXT_BYTES >> 20} MiB"

_ENCODINGS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""By byte-order mark. That of UTF-32 begins as that of UTF-16 does, and comes first."""


def encoding_of(head: bytes) -> str:
    """The encoding that a text's byte-order mark names; UTF-8 where there is none. ``head``: its first four bytes."""
    return next((name for mark, name in _ENCODINGS.items() if head.startswith(mark)), "utf-8-sig")


def open_text(file: IO[bytes]) -> io.TextIOWrapper:
    """A text from its beginning, by its byte-order mark, else UTF-8.

    Line ends stay as they are. Stray bytes of UTF-8 come as lone surrogates. A text that is not what its byte-order
    mark says raises UnicodeDecodeError when it is read.

    Raises:
        LLaSOError: The text is UTF-16 without a byte-order mark.
    """
    file.seek(0)
    head = file.read(4096)
    file.seek(0)
    encoding = encoding_of(head)
    if encoding != "utf-8-sig":
        return io.TextIOWrapper(file, encoding=encoding, errors="strict", newline="")
    if head.count(0) > len(head) // 4:
        raise LLaSOError("it holds NUL characters, as UTF-16 does; save it as UTF-8, or with a byte-order mark")
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline="")


def numbered_lines(file: io.TextIOWrapper) -> Iterator[tuple[int, str | None]]:
    """Every line of a text with its number, from 1, and its line end.

    None stands for a line that is longer than :data:`MAX_TEXT_BYTES` characters; such a line is passed over, and
    never in memory.
    """
    number = 0
    while line := file.readline(MAX_TEXT_BYTES + 1):
        number += 1
        if len(line) <= MAX_TEXT_BYTES or line.endswith(("\n", "\r")):
            yield number, line
            continue
        while (rest := file.readline(1 << 20)) and not rest.endswith(("\n", "\r")):
            pass
        yield number, None


def decode_transcript(data: bytes, where: str) -> tuple[str | None, Failure | None]:
    """The text of a transcript file, with white space made single spaces, None where it is empty; and what is wrong.

    Args:
        data: The file's bytes, as for :func:`decode_text`.
        where: The file, for messages.
    """
    text, failure = decode_text(data, where)
    return None if text is None else " ".join(text.split()) or None, failure


def decode_text(data: bytes, where: str) -> tuple[str | None, Failure | None]:
    """A text file as it is, by its byte-order mark, else as UTF-8.

    Args:
        data: The file's bytes, at most one more than :data:`MAX_TEXT_BYTES`.
        where: The file, for messages.

    Returns:
        The text, and what is wrong with it, of which one is None. What is wrong is a ``bad_text`` that names the first
        byte which is not of the encoding.
    """
    if len(data) > MAX_TEXT_BYTES:
        return None, transcript_too_long(where)
    encoding = encoding_of(data[:4])
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        detail = f"{where}: not {name} (byte 0x{data[error.start]:02x} at {error.start}); save it as UTF-8"
        return None, Failure("bad_text", detail)
    if "\0" in text:
        return None, Failure("bad_text", f"{where}: it holds NUL characters, as UTF-16 does; save it as UTF-8")
    return text, None


def transcript_too_long(where: str) -> Failure:
    """The failure of a transcript that is longer than :data:`MAX_TEXT_BYTES`."""
    return Failure("bad_text", f"{where}: {TOO_LONG}; no transcript is, take it out")
