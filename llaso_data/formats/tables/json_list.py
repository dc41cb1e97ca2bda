"""The items of a JSON list that fills a file, one after another; a broken one fails alone."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any

from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG

_CHUNK = 1 << 18  # characters that are read at a time
_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT_CHARACTERS = 4096  # of a line before an item that are kept


def json_list_items(file: io.TextIOWrapper) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The objects of a file that begins with ``[``, or holds several such lists.

    After an item that is not JSON, reading goes on with the next object that begins as the item does: on a line of
    its own, indented alike, or after ``},``. Missing commas lose nothing and are not reported; nor do objects that
    follow a list.

    Args:
        file: The text, from its beginning.

    Yields:
        The number of an item, from 1, and the object, or what is wrong with it.
    """
    window = _Window(file)
    number, inside = 0, False
    while not window.is_at_end():
        if not inside and window.begins("["):
            inside = True
        elif inside and window.begins("]"):
            inside = False
        elif not window.begins(","):
            number += 1
            value, wrong = window.item()
            yield number, wrong or (value if isinstance(value, dict) else "not a JSON object")
    if inside:
        yield number + 1, f"the list is not closed: the file ends on line {window.line()}"


class _Window:
    """The part of a text that is being looked at."""

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._lines = 1  # the number of the line that _text begins on
        self._ended = False
        self._decoder = json.JSONDecoder()

    def line(self) -> int:
        return self._lines + self._text.count("\n", 0, self._at)

    def is_at_end(self) -> bool:
        """Whether only white space is left, which is passed over."""
        while True:
            space = _SPACE.match(self._text, self._at)
            self._at = self._at if space is None else space.end()
            if self._at < len(self._text) or self._ended:
                return self._at == len(self._text)
            self._more()

    def begins(self, mark: str) -> bool:
        """Pass over the mark where it is next."""
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def item(self) -> tuple[Any, str | None]:
        """The value that begins here, or what is wrong with it."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                wrong = f"an item {TOO_LONG}"
                if end < len(self._text) or self._ended:
                    long, self._at = end - self._at > MAX_TEXT_BYTES, end
                    return (None, wrong) if long else (value, None)
            except json.JSONDecodeError as error:
                line = self._lines + self._text.count("\n", 0, error.pos)
                wrong = f"not JSON ({error.msg} on line {line})"
            except RecursionError:
                wrong = "not JSON of a sensible depth"
                break
            except ValueError:  # Python reads no integers of more than 4300 digits
                wrong = "not JSON that can be read (a number of thousands of digits)"
                break
            if self._ended:
                break
            if len(self._text) - self._at > MAX_TEXT_BYTES:
                wrong = f"an item {TOO_LONG}, or {wrong}"
                break
            self._more()
        self._pass_over()
        return None, wrong

    def _pass_over(self) -> None:
        """Go to the next object that begins as the item here does, or to the end."""
        before = self._text[self._text.rfind("\n", 0, self._at) + 1 : self._at]
        own_line = not before.strip(" \t") and "\n" in self._text[: self._at]
        following = re.compile(rf"\n{before}(?=\{{)" if own_line else r"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)")
        self._at += 1
        while True:
            match = following.search(self._text, self._at)
            if match is not None or self._ended:
                self._at = len(self._text) if match is None else match.end()
                return
            self._at = max(self._at, len(self._text) - _INDENT_CHARACTERS)
            self._more()

    def _more(self) -> None:
        """Read on, as much again as is kept; what was passed is let go."""
        start = self._text.rfind("\n", max(0, self._at - _INDENT_CHARACTERS), self._at)
        start = self._at if start < 0 else start
        self._lines += self._text.count("\n", 0, start)
        kept = self._text[start:]
        chunk = self._file.read(max(_CHUNK, len(kept)))
        self._ended = not chunk
        self._text, self._at = kept + chunk, self._at - start
