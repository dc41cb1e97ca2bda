"""Lines of text files whose length nobody promised."""

from __future__ import annotations

import codecs
import io
from collections.abc import Iterator
from typing import IO

from llaso_data.errors import LLaSOError

MAX_TEXT_BYTES = 16 << 20
"""Of a transcript, of the JSON beside a sample, and of a row of a table (there in characters): hours of speech have a
hundredth of it. What is longer is a counted failure, and never in memory."""

TOO_LONG = f"longer than {MAX_TEXT_BYTES >> 20} MiB"


_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte-order marks; that of UTF-32 begins as that of UTF-16 does, and comes first."""


def encoding_of(head: bytes) -> str:
    """The encoding that a text's byte-order mark names; UTF-8 where there is none."""
    return next((name for mark, name in _MARKS.items() if head.startswith(mark)), "utf-8-sig")


def open_text(file: IO[bytes]) -> io.TextIOWrapper:
    """A text from its beginning, by its byte-order mark, else UTF-8; line ends as they are.

    Stray bytes of UTF-8 come as lone surrogates. Raises LLaSOError where the text is UTF-16 and does not say so; where
    it is not what its mark says, reading raises UnicodeDecodeError.
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


def lines(file: io.TextIOWrapper) -> Iterator[tuple[int, str | None]]:
    """Every line with its number, from 1, and its end; None in the place of one that is too long."""
    number = 0
    while line := file.readline(MAX_TEXT_BYTES + 1):
        number += 1
        if len(line) <= MAX_TEXT_BYTES or line.endswith(("\n", "\r")):
            yield number, line
            continue
        while (rest := file.readline(1 << 20)) and not rest.endswith(("\n", "\r")):
            pass
        yield number, None
