"""Typed rows of large JSON lists, decoded a block of many rows at a time.

A list that a program wrote has its items apart in the same bytes: ``},`` at the end of a line and ``{`` on the next,
both indented as the items are. No text inside an item holds these bytes, because JSON writes line ends in texts as
``\\n``. So a file is cut at the last such place in each block, and a block is decoded as a whole. Blocks of 64 KiB are
decoded twice as fast as blocks of 4 MiB: their rows stay in the processor's cache, and memory is used again. The lists
of two such blocks are also too few for the garbage collector, which would keep them from being used again.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, Any, Generic, NamedTuple, TypeVar

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG
from llaso_data.formats.rows.source_row import describe_error
from llaso_data.formats.tables.json_list import json_list_items
from llaso_data.formats.tables.table_rows import table_rows
from llaso_data.io import storage

T = TypeVar("T")

BLOCK_BYTES = 1 << 16
_HEAD_BYTES = 4096
_OPENING = re.compile(rb"(?:\xef\xbb\xbf)?\s*\[[ \t]*(\r?\n)([ \t]*)\{([ \t]*\r?\n)?")
_ON_LINE = re.compile(r" on line \d+")  # of what is read alone
_LIST_BEGINS, _LIST_ENDS = b"["[0], b"]"[0]


@dataclass(frozen=True, slots=True)
class Rows(Generic[T]):
    """Rows that follow each other in a file.

    Attributes:
        first: Number of the first of them: of a list its place, from 1; of JSON lines its line.
        rows: Each row, or what is wrong with it.
    """

    first: int
    rows: list[T] | list[T | str]


class _Form(NamedTuple):
    """How the items of a list are laid out: what stands between two of them, and where the first begins."""

    closing: bytes
    between: bytes
    start: int

    @property
    def separator(self) -> bytes:
        return self.closing + self.between


def json_blocks(uri: str, kind: type[T], convert: Callable[[dict[str, Any]], T]) -> Iterator[Rows[T]]:
    """The rows of a JSON list, or of JSON lines, as typed objects.

    A list whose items are apart in the same bytes is decoded by blocks. A block that holds a broken row is read again
    row by row, so that a broken row loses only itself. Any other file is read row by row.

    Args:
        uri: The file.
        kind: What msgspec makes of a row.
        convert: Makes the same of a row as the ``json`` module reads it, with fields that ``kind`` does not know. It
            may raise for a row that is broken.

    Raises:
        LLaSOError: The file cannot be opened, or is no text.
    """
    try:
        with storage.open_read(uri) as file:
            form = _form(file.read(_HEAD_BYTES))
            if form is not None:
                file.seek(0)
                yield from _by_blocks(file, form, kind, convert)
                return
    except OSError as error:
        raise LLaSOError(f"{uri}: cannot be read ({error.strerror or error})") from error
    for number, row in table_rows(uri):
        yield Rows(number, [row if isinstance(row, str) else _converted(row, convert)])


def _form(head: bytes) -> _Form | None:
    opening = _OPENING.match(head)
    if opening is None:
        return None
    newline, indent, broken = opening[1], opening[2], opening[3]
    closing = newline + indent + b"}" if broken else b"}"
    return _Form(closing, b"," + newline + indent + b"{", opening.start(2))


def _by_blocks(
    file: IO[bytes], form: _Form, kind: type[T], convert: Callable[[dict[str, Any]], T]
) -> Iterator[Rows[T]]:
    import msgspec

    decoder: Any = msgspec.json.Decoder(list[kind])  # type: ignore[valid-type]
    number = 1
    for block in _blocks(file, form):
        rows: list[Any]
        if isinstance(block, str):
            rows = [block]
        else:
            try:
                rows = decoder.decode(block)
            except (ValueError, RecursionError):  # of msgspec's own, and of bytes that are not UTF-8
                rows = list(_one_by_one(bytes(block), form, convert))
        if rows:
            yield Rows(number, rows)
        number += len(rows)


def _blocks(file: IO[bytes], form: _Form) -> Iterator[memoryview | str]:
    """Whole rows as JSON lists; each is to be used before the next is asked for. A text says what is wrong."""
    separator, closing = form.separator, len(form.closing)
    buffer = bytearray(BLOCK_BYTES)
    file.seek(form.start)
    filled, searched, too_long = 1, 1, False  # the first byte is the list's bracket
    while got := file.readinto(memoryview(buffer)[filled:]):  # type: ignore[attr-defined]
        filled += got
        cut = buffer.rfind(separator, max(1, searched - len(separator)), filled)
        searched = filled
        if cut < 0:
            if filled > MAX_TEXT_BYTES:
                too_long = True
                filled = searched = _shift(buffer, filled - len(separator), filled)
            elif filled == len(buffer):
                buffer += bytes(len(buffer))
            continue
        if too_long:
            yield f"an item {TOO_LONG}"
            too_long = False
            cut_first = buffer.find(separator, 1, filled)
            filled, searched = _shift(buffer, cut_first + closing + 1, filled), 1
            continue
        end = cut + closing
        buffer[0], buffer[end] = _LIST_BEGINS, _LIST_ENDS  # in the place of the comma
        yield from _lent(buffer, end + 1)
        filled = searched = _shift(buffer, end + 1, filled)
    buffer[0] = _LIST_BEGINS
    if too_long:
        yield f"an item {TOO_LONG}"
    elif filled > 1:
        yield from _lent(buffer, filled)


def _lent(buffer: bytearray, length: int) -> Iterator[memoryview]:
    """A view of the buffer's beginning; it is released afterwards, because a buffer with views cannot grow."""
    view = memoryview(buffer)[:length]
    yield view
    view.release()


def _shift(buffer: bytearray, start: int, filled: int) -> int:
    """Move the bytes from ``start`` on to the beginning, behind the bracket; the number of bytes that are filled."""
    kept = buffer[start:filled]
    buffer[1 : 1 + len(kept)] = kept
    return 1 + len(kept)


def _one_by_one(block: bytes, form: _Form, convert: Callable[[dict[str, Any]], T]) -> Iterator[T | str]:
    """The rows of a block, each read by itself. The last block of a file ends with the list's bracket, or lacks it."""
    inside = block[1:].rstrip()
    items = inside.removesuffix(b"]").split(form.separator)
    for number, item in enumerate(items):
        item = b"{" + item if number else item.lstrip()
        item += form.closing if number < len(items) - 1 else b""
        # On a line of its own, as in the file, so that reading finds the next object after a row without its end.
        text = io.BytesIO(form.between[1:-1] + item)
        for _, value in json_list_items(io.TextIOWrapper(text, "utf-8", errors="surrogateescape", newline="")):
            yield _ON_LINE.sub("", value) if isinstance(value, str) else _converted(value, convert)
    if not inside.endswith(b"]"):
        yield "the list is not closed: the file ends before its last bracket"


def _converted(row: dict[str, Any], convert: Callable[[dict[str, Any]], T]) -> T | str:
    try:
        return convert(row)
    except Exception as error:
        return describe_error(error)
