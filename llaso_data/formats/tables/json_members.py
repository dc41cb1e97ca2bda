"""The members of a JSON object that fills a file, one after another; a broken one fails alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from llaso_data.formats.tables.json_window import JsonWindow

_KEY = r'"(?:[^"\\\n]|\\.){0,1000}"[ \t\r\n]*:[ \t\r\n]*\{'
_INLINE = re.compile(rf"\}}[ \t\r\n]*,[ \t\r\n]*(?={_KEY})")


def json_members(file: io.TextIOWrapper) -> Iterator[tuple[int, str, dict[str, Any] | str]]:
    """The members of a file that is one JSON object of objects: ``{"a": {…}, "b": {…}}``.

    After a member that is not JSON, reading goes on with the next whose value is an object: where the broken one begins
    on a line of its own, so does the next, indented alike; else it follows a ``},``.

    Args:
        file: The text, from its beginning.

    Yields:
        The line that a member begins on, its key, and the object, or what is wrong with it.
    """
    window = JsonWindow(file)
    if window.is_at_end() or not window.begins("{"):
        yield window.line(), "", "not a JSON object"
        return
    while not window.is_at_end():
        if window.begins("}"):
            return
        if not window.begins(","):
            yield _member(window)
    yield window.line(), "", "the object is not closed: the file ends here"


def _member(window: JsonWindow) -> tuple[int, str, dict[str, Any] | str]:
    line, before = window.line(), window.before()
    key, wrong, passed = window.value()
    if wrong is None and not isinstance(key, str):
        wrong, passed = "not JSON (a key is a text in quotes)", False
    if wrong is None and (window.is_at_end() or not window.begins(":") or window.is_at_end()):
        wrong, passed = "not JSON (a key without a value)", False
    value: Any = None
    if wrong is None:
        value, wrong, passed = window.value()
    name = key if isinstance(key, str) else ""
    if wrong is None:
        return line, name, value if isinstance(value, dict) else "not a JSON object"
    if not passed:
        own_line = before is not None and not before.strip(" \t")
        window.pass_over(re.compile(rf"\n{before}(?={_KEY})") if own_line else _INLINE)
    return line, name, wrong
