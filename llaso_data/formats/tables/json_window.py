"""JSON of any length read value by value: the part of a text that is being looked at."""

from __future__ import annotations

import io
import json
import re
from typing import Any, NamedTuple

from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG

_CHUNK = 1 << 18  # characters that are read at a time
_SPACE = re.compile(r"[ \t\r\n]*")
_INDENT_CHARACTERS = 4096  # of a line before a value that are kept


class JsonValue(NamedTuple):
    """A value, or what is wrong with it; ``passed``: whether the place is behind it."""

    value: Any
    wrong: str | None = None
    passed: bool = True


class JsonWindow:
    """The part of a text that is being looked at, and the place in it where the next value begins.

    Args:
        file: The text, from its beginning.
    """

    def __init__(self, file: io.TextIOWrapper) -> None:
        self._file = file
        self._text = ""
        self._at = 0
        self._lines = 1  # the number of the line that _text begins on
        self._ended = False
        self._decoder = json.JSONDecoder()

    def line(self) -> int:
        """The number, from 1, of the line of this place."""
        return self._lines + self._text.count("\n", 0, self._at)

    def before(self) -> str | None:
        """What stands before this place on its line; None for the first line, where nothing says how lines begin."""
        end_of_line = self._text.rfind("\n", 0, self._at)
        return None if end_of_line < 0 else self._text[end_of_line + 1 : self._at]

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

    def matches(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Whether what is next, as far as it was read, begins as the pattern says."""
        return pattern.match(self._text, self._at)

    def value(self) -> JsonValue:
        """The value that begins here, which is passed over; one that is broken is not."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._at)
                wrong = f"an item {TOO_LONG}"
                if end < len(self._text) or self._ended:
                    long, self._at = end - self._at > MAX_TEXT_BYTES, end
                    return JsonValue(None, wrong) if long else JsonValue(value)
            except json.JSONDecodeError as error:
                line = self._lines + self._text.count("\n", 0, error.pos)
                wrong = f"not JSON ({error.msg} on line {line})"
            except RecursionError:
                return JsonValue(None, "not JSON of a sensible depth", passed=False)
            except ValueError:  # Python reads no integers of more than 4300 digits
                return JsonValue(None, "not JSON that can be read (a number of thousands of digits)", passed=False)
            if self._ended:
                return JsonValue(None, wrong, passed=False)
            if len(self._text) - self._at > MAX_TEXT_BYTES:
                return JsonValue(None, f"an item {TOO_LONG}, or {wrong}", passed=False)
            self._more()

    def pass_over(self, following: re.Pattern[str]) -> None:
        """Go to the end of the pattern's next match after this place, or to the end of the text."""
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
