"""YAML as this project reads and writes it: bounded when read, of one form when written."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from llaso_data.errors import LLaSOError

Location = tuple[str | int, ...]
"""The keys and numbers of items that lead to a value."""

MAX_DEPTH = 100  # sections within sections
_MAX_VALUES = 100_000
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def to_yaml(values: dict[str, Any]) -> str:
    """Write nested plain values as YAML, in block style; the same values give the same text."""
    return "\n".join(_yaml_lines(values)) + "\n"


def _yaml_lines(value: dict[str, Any]) -> Iterator[str]:
    """The lines in block style. Scalars are JSON, which every version of YAML reads alike."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{_json(key)}:"
            yield from (f"  {line}" for line in _yaml_lines(item))
        elif isinstance(item, list) and item and all(part and isinstance(part, dict) for part in item):
            yield f"{_json(key)}:"
            for part in item:
                first, *rest = _yaml_lines(part)
                yield f"  - {first}"
                yield from (f"    {line}" for line in rest)
        else:
            yield f"{_json(key)}: {_json(item)}"


def _json(value: Any) -> str:
    """A value as JSON. Names that need no quotes have none; what YAML takes for a line break or refuses is escaped."""
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def parse(path: str, text: str, noun: str) -> Any:
    """Parse YAML into ruamel's round-trip types, which know their lines.

    Args:
        path: what messages call the file.
        text: its content.
        noun: what messages call such a file: recipe, mixture.

    Raises:
        LLaSOError: for what is no YAML, is nested too deeply, has too many values or contains itself; with the line.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.constructor import DuplicateKeyError
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return _bounded(YAML(typ="rt", pure=True), text)
    except DuplicateKeyError as error:
        problem = str(error.problem).split(" with value")[0]
        raise LLaSOError(f"{path}:{_line(error)}: {problem}") from error
    except MarkedYAMLError as error:
        detail = "; ".join(part for part in (error.context, error.problem) if part)
        raise LLaSOError(f"{path}:{_line(error)}: not YAML: {detail}") from error
    except YAMLError as error:
        raise LLaSOError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except (ValueError, KeyError, OverflowError) as error:  # such as the date 2001-99-99
        raise LLaSOError(f"{path}: a value cannot be read: {error}") from error
    except RecursionError as error:
        raise LLaSOError(f"{path}: nested too deeply for a {noun}") from error
    except _CircleError as error:
        raise LLaSOError(f"{path}:{error.line}: {error}: the {noun} would contain itself; take it out") from error


def parse_scalar(text: str, override: str) -> Any:
    """Parse the value of ``--set``, given in full as ``override``, into plain Python.

    Raises:
        LLaSOError: where it is no YAML.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return plain(_bounded(YAML(typ="safe", pure=True), text))
    except (YAMLError, ValueError, KeyError, OverflowError, RecursionError, _CircleError) as error:
        raise LLaSOError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from error


class _CircleError(Exception):
    """An alias stands inside the part that it names. Parsers give None for it."""

    def __init__(self, anchor: str, line: int) -> None:
        super().__init__(f"*{anchor} stands inside &{anchor}")
        self.line = line


def _refuse_circles(parser: Any, text: str) -> None:
    latest: dict[Any, int] = {}  # the number of the latest part of each name
    open_parts: list[int] = []
    for number, event in enumerate(parser.parse(text)):
        kind, anchor = type(event).__name__, getattr(event, "anchor", None)
        if kind == "AliasEvent" and latest.get(anchor, -1) in open_parts:
            raise _CircleError(str(anchor), event.start_mark.line + 1)
        if kind != "AliasEvent" and anchor is not None:
            latest[anchor] = number
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            open_parts.append(number)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            open_parts.pop()


def _bounded(parser: Any, text: str) -> Any:
    """Parse a text within limits.

    Raises:
        RecursionError: for a text that is nested too deeply, or whose aliases multiply.
        _CircleError: for an alias inside the part that it names.
    """
    depth = 0
    for character in text:  # the parser's time grows with the square of the brackets that are open at once
        depth += (character in "[{") - (character in "]}")
        if depth > MAX_DEPTH:
            raise RecursionError(text[:20])
    if "&" in text:  # only what is named can contain itself
        _refuse_circles(parser, text)
    tree = parser.load(text)
    pending, count = [(tree, 0)], 0
    while pending:
        value, depth = pending.pop()
        count += 1
        if depth > MAX_DEPTH or count > _MAX_VALUES:
            raise RecursionError(text[:20])
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        pending += [(item, depth + 1) for item in items]
    return tree


def _line(error: Any) -> int:
    mark = error.problem_mark or error.context_mark
    return 1 if mark is None else int(mark.line) + 1


def key_lines(tree: Any, path: str, above: Location) -> Iterator[tuple[Location, str]]:
    """Every key path of a parsed document below ``above``, with its file and line."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        # A key that came through a merge (`<<`) has no line of its own: its parent's stands for it.
        mark = tree.lc.data.get(key) if tree.lc.data else None
        if mark is not None:
            yield (*above, key), f"{path}:{mark[0] + 1}"
        yield from key_lines(value, path, (*above, key))


def plain(value: Any) -> Any:
    """Copy what a YAML parser or a caller gives into dictionaries, lists and plain scalars; dates become text."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if type(value).__name__ == "ScalarBoolean":  # ruamel's truth value with an anchor, a subclass of int
        return bool(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value
