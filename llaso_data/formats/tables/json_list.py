"""The items of a JSON list that fills a file, or a part of it, one after another; a broken one fails alone."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

from llaso_data.formats.tables.json_window import JsonWindow

_FIRST_KEY = re.compile(r'\{[ \t\r\n]*("(?:[^"\\\n]|\\.){1,200}")')


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
    window = JsonWindow(file)
    number, inside = 0, False
    while not window.is_at_end():
        if not inside and window.begins("["):
            inside = True
        elif inside and window.begins("]"):
            inside = False
        elif not window.begins(","):
            number += 1
            yield number, _item(window, r"\}[ \t\r\n]*,[ \t\r\n]*(?=\{)")
    if inside:
        yield number + 1, f"the list is not closed: the file ends on line {window.line()}"


def member_items(file: io.TextIOWrapper, name: str) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """The objects of one list of a file that is a JSON object: of ``{…, name: […]}``.

    After an item that is not JSON, reading goes on with the next object that begins as the item does: on a line of
    its own, indented alike, or after ``},`` with the same first key.

    Args:
        file: The text, from its beginning.
        name: The key of the list.

    Yields:
        0 and the members that stand before the list; then the number of an item, from 1, and the object, or what is
        wrong with it. Where there is no such list, the last is what is wrong with the file.
    """
    window = JsonWindow(file)
    head: dict[str, Any] = {}
    if window.is_at_end() or not window.begins("{"):
        yield 0, "not a JSON object"
        return
    while not window.is_at_end() and not window.begins("}"):
        if window.begins(","):
            continue
        key, wrong, _ = window.value()
        if wrong is None and (window.is_at_end() or not window.begins(":") or window.is_at_end()):
            wrong = f"not JSON (a key without a value on line {window.line()})"
        if wrong is None and key == name and window.begins("["):
            yield 0, head
            yield from _items(window)
            return
        if wrong is None:
            head[str(key)], wrong, _ = window.value()
        if wrong is not None:
            yield 0, wrong
            return
    yield 0, f"it has no list {name!r}"


def _items(window: JsonWindow) -> Iterator[tuple[int, dict[str, Any] | str]]:
    number = 0
    while not window.is_at_end():
        if window.begins("]"):
            return
        if not window.begins(","):
            number += 1
            first_key = window.matches(_FIRST_KEY)
            alike = re.escape(first_key[1]) if first_key else ""
            yield number, _item(window, rf"\}}[ \t\r\n]*,[ \t\r\n]*(?=\{{[ \t\r\n]*{alike})")
    yield number + 1, f"the list is not closed: the file ends on line {window.line()}"


def _item(window: JsonWindow, inline: str) -> dict[str, Any] | str:
    """The object that begins here, or what is wrong with it. ``inline``: what stands before the next one on a line."""
    value, wrong, passed = window.value()
    if wrong is None:
        return value if isinstance(value, dict) else "not a JSON object"
    if not passed:
        before = window.before()
        own_line = before is not None and not before.strip(" \t")
        window.pass_over(re.compile(rf"\n{before}(?=\{{)" if own_line else inline))
    return wrong
