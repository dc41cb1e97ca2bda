"""Rows of CSV and TSV files, each with its line; a broken row fails alone, and the rows after it are read."""

from __future__ import annotations

import csv
import io
import sys
from collections import deque
from collections.abc import Iterator

from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG, numbered_lines

_HEADER_CHARACTERS = 1 << 16

NumberedCells = tuple[int, list[str] | str]
"""The line that a row begins on, and its cells, or what is wrong with it."""


def delimited_rows(file: io.TextIOWrapper, kind: str, delimiter: str | None = None) -> Iterator[NumberedCells]:
    """The rows of a CSV or TSV, the header first, each with as many cells as the header.

    A TSV has no quotes. In a CSV a quoted cell may span lines. A quote that nothing closes, or after whose end a
    cell goes on, fails the row in which it opens: reading goes on with the line after that one. So does a row of
    many lines that has too few or too many cells: its quote was closed by another row's.

    Args:
        file: The text, from its beginning, with its line ends (``newline=""``).
        kind: ``csv`` or ``tsv``.
        delimiter: What parts the cells of a CSV; None: commas, or what parts the header where that has no comma:
            semicolons, as spreadsheets write them where the comma is decimal, or tabs.
    """
    if delimiter is None and kind == "csv":
        header = file.readline(_HEADER_CHARACTERS)
        delimiter = next((mark for mark in (",", ";", "\t") if mark in header), ",")
        file.seek(0)
    feed = _Feed(numbered_lines(file))
    csv.field_size_limit(min(sys.maxsize, MAX_TEXT_BYTES))
    if kind == "tsv":
        reader = csv.reader(feed, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(feed, delimiter=delimiter or ",", strict=True)
    width: int | None = None
    while True:
        feed.begin()
        wrong = None
        row: list[str] = []
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            wrong = _explained(error, len(feed.taken))
        except _TooLongError:
            wrong = f"a row {TOO_LONG}" if len(feed.taken) == 1 else _unclosed(len(feed.taken))
        if wrong is None and not row:
            continue
        if wrong is None and width is not None and len(row) != width:
            wrong = f"{len(row)} cells where the header has {width}"
        first = feed.taken[0][0]
        if wrong is not None:
            feed.give_back()
        width = len(row) if width is None else width
        yield first, row if wrong is None else wrong


def _explained(error: csv.Error, count: int) -> str:
    if "expected after" not in str(error) and "unexpected end" not in str(error):
        return f"not a row ({error})"
    if "unexpected end" in str(error) or count > 1:
        return _unclosed(count)
    return 'not a row (a cell goes on after its closing quote; inside a quoted cell write a quote twice: "")'


def _unclosed(count: int) -> str:
    lines_read = f" in the {count - 1:,} lines that follow" if count > 1 else ""
    return f'a quote opens a cell and is not closed{lines_read}; close it, or write the cell as """…"'


class _TooLongError(Exception):
    pass


class _Feed:
    """Lines for a csv reader, which can be given back where they turn out to belong to no row."""

    def __init__(self, numbered: Iterator[tuple[int, str | None]]) -> None:
        self._lines = numbered
        self._again: deque[tuple[int, str | None]] = deque()
        self._characters = 0
        self.taken: list[tuple[int, str | None]] = []
        """The lines of the row that is being read."""

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        item = self._again.popleft() if self._again else next(self._lines)
        self.taken.append(item)
        self._characters += len(item[1] or "")
        if item[1] is None or self._characters > MAX_TEXT_BYTES:
            raise _TooLongError
        return item[1]

    def begin(self) -> None:
        self.taken = []
        self._characters = 0

    def give_back(self) -> None:
        """All but the first line will be read again."""
        self._again.extendleft(reversed(self.taken[1:]))
