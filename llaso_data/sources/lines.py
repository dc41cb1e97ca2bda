"""Lines of text files whose length nobody promised."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import IO

MAX_TEXT_BYTES = 16 << 20
"""Of a transcript, of the JSON beside a sample, and of a row of a table (there in characters): hours of speech have a
hundredth of it. What is longer is a counted failure, and never in memory."""

TOO_LONG = f"longer than {MAX_TEXT_BYTES >> 20} MiB"


def open_text(file: IO[bytes]) -> io.TextIOWrapper:
    """UTF-8 with or without a byte order mark; stray bytes come as lone surrogates, line ends as they are."""
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
