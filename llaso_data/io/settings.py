"""Settings from YAML, checked by pydantic: file, then named options, then ``--set`` overrides.

Recipes and mixtures are read here. Errors say where and what is allowed.
"""

from __future__ import annotations

import datetime
import difflib
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.recipe import Part

Location = tuple[str | int, ...]

_DEEPEST = 100  # sections within sections
_MOST_VALUES = 100_000
_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


Settings = TypeVar("Settings", bound=Part)
Problem = tuple[Location, str]


@dataclass(slots=True)
class _Document:
    """Plain values, and for each key path who said it: ``recipe.yaml:12`` or ``--set a.b=c``."""

    values: dict[str, Any] = field(default_factory=dict)
    said_by: dict[Location, str] = field(default_factory=dict)

    def where(self, location: Location, noun: str) -> tuple[int, str]:
        """Who said the value at a location, or at the closest part that holds it; first its place in the order."""
        for length in range(len(location), -1, -1):
            if location[:length] in self.said_by:
                label = self.said_by[location[:length]]
                return list(self.said_by.values()).index(label), label
        return -1, noun


def load(
    model: type[Settings],
    path: str | None,
    overrides: Sequence[str] = (),
    base: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    more: Callable[[Settings], Iterable[Problem]] = lambda settings: (),
) -> Settings:
    """Read and check settings. A key may be set in several places.

    Args:
        model: what the settings are, such as ``Recipe``.
        path: a YAML file, here or on a store; None gives the defaults.
        overrides: ``a.b=c`` each, where c is read as YAML; the items of a list have their numbers as keys. They count
            more than everything else.
        base: nested values that count less than the file.
        options: dotted keys and values of named command-line options, which count more than the file; None is an
            option that was not given.
        more: finds what is wrong with settings that the model itself accepts.

    Returns:
        The checked settings.

    Raises:
        LLaSOError: with every problem on a line of its own: file and line, or option; key; what is allowed.
    """
    document = _Document(values=_copy(base or {}))
    if path is not None:
        _merge_file(document, path, model)
    for key, value in (options or {}).items():
        if value is not None:
            _put(document, key, value, f"option for {key}")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip() or key.count(".") > _DEEPEST:
            raise LLaSOError(f"--set {override}: write it as key.key=value, such as observe.asr.beam_size=5")
        _put(document, key.strip(), _scalar(text, override), f"--set {override}")
    return _check(document, model, more)


def not_among(value: object, names: Sequence[str]) -> str:
    """The problem of a value that must be the name of a table's entry, in the words that other wrong choices get.

    Args:
        value: What was given.
        names: The names that the table has.
    """
    *most, last = map(repr, names)
    choices = f"{', '.join(most)} or {last}" if most else last
    return f"must be {choices}, got {value!r}"


def dump(settings: Part) -> str:
    """Write settings as YAML with every key; :func:`load` of it gives the same ones."""
    return _text(settings.model_dump(mode="json"))


def dumped(text: str) -> dict[str, Any] | None:
    """The values of a text that :func:`dump` gave, maybe of an earlier version; None for any other text.

    A comment, another order or other quotes tell that somebody wrote it.
    """
    try:
        values = _copy(_parse("", text, ""))
    except LLaSOError:
        return None
    return values if isinstance(values, dict) and _text(values) == text else None


def _text(values: dict[str, Any]) -> str:
    return "\n".join(_yaml(values)) + "\n"


def _yaml(value: dict[str, Any]) -> Iterator[str]:
    """Block style, with the scalars as JSON, which every version of YAML reads alike."""
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield f"{_json(key)}:"
            yield from (f"  {line}" for line in _yaml(item))
        elif isinstance(item, list) and item and all(part and isinstance(part, dict) for part in item):
            yield f"{_json(key)}:"
            for part in item:
                first, *rest = _yaml(part)
                yield f"  - {first}"
                yield from (f"    {line}" for line in rest)
        else:
            yield f"{_json(key)}: {_json(item)}"


def _json(value: Any) -> str:
    """JSON, but for names that need no quotes; what YAML takes for a line break or refuses is escaped."""
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _RESERVED:
        return value
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _noun(model: type[BaseModel]) -> str:
    """What messages call such settings: recipe, mixture."""
    return model.__name__.lower()


def _merge_file(document: _Document, path: str, model: type[BaseModel]) -> None:
    noun = _noun(model)
    tree = _parse(path, _read(path, noun), noun)
    if tree is None:
        return
    if not isinstance(tree, dict):
        raise LLaSOError(f"{path}:1: a {noun} is a mapping of sections ({', '.join(model.model_fields)})")
    document.said_by.update(_lines(tree, path, ()))
    document.said_by.setdefault((), f"{path}:1")
    document.values = _merged(document.values, _copy(tree))


def _read(path: str, noun: str) -> str:
    try:
        return storage.read_bytes(path).decode("utf-8")
    except FileNotFoundError as error:
        raise LLaSOError(f"{path}: no such {noun}") from error
    except UnicodeDecodeError as error:
        raise LLaSOError(f"{path}: a {noun} is UTF-8 text; byte {error.start} is not") from error
    except (OSError, ValueError, ImportError) as error:
        raise LLaSOError(f"{path}: cannot be read: {error}") from error


def _parse(path: str, text: str, noun: str) -> Any:
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
    except (ValueError, KeyError, OverflowError) as error:  # numbers and dates that are none, such as 2001-99-99
        raise LLaSOError(f"{path}: a value cannot be read: {error}") from error
    except RecursionError as error:
        raise LLaSOError(f"{path}: nested too deeply for a {noun}") from error
    except _CircleError as error:
        raise LLaSOError(f"{path}:{error.line}: {error}: the {noun} would contain itself; take it out") from error


class _CircleError(Exception):
    """An alias inside what it stands for. Parsers give None for it."""

    def __init__(self, anchor: str, line: int) -> None:
        super().__init__(f"*{anchor} stands inside &{anchor}")
        self.line = line


def _refuse_circles(parser: Any, text: str) -> None:
    known: dict[Any, int] = {}  # the latest part of each name
    inside: list[int] = []
    for number, event in enumerate(parser.parse(text)):
        kind, anchor = type(event).__name__, getattr(event, "anchor", None)
        if kind == "AliasEvent" and known.get(anchor, -1) in inside:
            raise _CircleError(str(anchor), event.start_mark.line + 1)
        if kind != "AliasEvent" and anchor is not None:
            known[anchor] = number
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            inside.append(number)
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            inside.pop()


def _bounded(parser: Any, text: str) -> Any:
    """The parsed text. Raises RecursionError for what is nested too deeply, or has aliases that multiply, and
    _CircleError."""
    depth = 0
    for character in text:  # the parser's time grows with the square of the brackets that are open at once
        depth += (character in "[{") - (character in "]}")
        if depth > _DEEPEST:
            raise RecursionError(text[:20])
    _refuse_circles(parser, text)
    tree = parser.load(text)
    waiting, seen = [(tree, 0)], 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if depth > _DEEPEST or seen > _MOST_VALUES:
            raise RecursionError(text[:20])
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        waiting += [(item, depth + 1) for item in inside]
    return tree


def _line(error: Any) -> int:
    mark = error.problem_mark or error.context_mark
    return 1 if mark is None else int(mark.line) + 1


def _lines(tree: Any, path: str, above: Location) -> Iterator[tuple[Location, str]]:
    """Every key path of a parsed document with its file and line."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        # A key that came through a merge (`<<`) has no line of its own: its parent's stands for it.
        mark = tree.lc.data.get(key) if tree.lc.data else None
        if mark is not None:
            yield (*above, key), f"{path}:{mark[0] + 1}"
        yield from _lines(value, path, (*above, key))


def _copy(value: Any) -> Any:
    """Plain Python of what a YAML parser or a caller gives."""
    if isinstance(value, Mapping):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_copy(item) for item in value]
    if isinstance(value, datetime.date):
        return value.isoformat()
    if type(value).__name__ == "ScalarBoolean":  # ruamel's truth value with an anchor, a subclass of int
        return bool(value)
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Mappings are merged key by key, anything else is replaced."""
    both = dict(under)
    for key, value in over.items():
        old = both.get(key)
        both[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return both


def _scalar(text: str, override: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return _copy(_bounded(YAML(typ="safe", pure=True), text))
    except (YAMLError, ValueError, KeyError, OverflowError, RecursionError, _CircleError) as error:
        raise LLaSOError(f"--set {override}: the value is not YAML: {' '.join(str(error).split())}") from error


def _put(document: _Document, key: str, value: Any, said_by: str) -> None:
    """Sets a dotted key; sections that are not there yet are made."""
    location: list[str | int] = []
    inside: Any = document.values
    names = key.split(".")
    for depth, name in enumerate(names):
        if isinstance(inside, list):
            if not name.isdigit() or int(name) >= len(inside):
                at = ".".join(names[:depth])
                raise LLaSOError(f"{said_by}: {at} has {len(inside)} items; name one by its number from 0")
            step: str | int = int(name)
        else:
            step = name
        location.append(step)
        if depth == len(names) - 1:
            inside[step] = value
            break
        below = inside[step] if isinstance(step, int) else inside.get(step)
        if not isinstance(below, dict | list):
            below = inside[step] = {}
        inside = below
    whole = tuple(location)
    for old in [known for known in document.said_by if known[: len(whole)] == whole]:
        del document.said_by[old]
    document.said_by[whole] = said_by


def _check(document: _Document, model: type[Settings], more: Callable[[Settings], Iterable[Problem]]) -> Settings:
    values = _without_empty_sections(document.values, model)
    problems = [(at, "must be a finite number; null switches a threshold off") for at in _not_finite(values, ())]
    try:
        settings = model.model_validate(values)
        problems += more(settings)
    except ValidationError as error:
        found = error.errors(include_url=False)
        problems += [(_trimmed(values, item["loc"]), _explain(item, model)) for item in found]
        settings = None
    if problems or settings is None:
        noun = _noun(model)
        named = [(*document.where(at, noun), ".".join(map(str, at)) or noun, text) for at, text in problems]
        lines = [f"{label}: {key}: {text}" for _, label, key, text in sorted(named)]
        raise LLaSOError("\n".join(dict.fromkeys(lines)))
    return settings


def _without_empty_sections(values: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """A section's header with nothing under it reads as null in YAML and means the defaults."""
    kept: dict[str, Any] = {}
    for key, value in values.items():
        section = _section(model, key)
        if section is None:
            kept[key] = value
        elif value is not None:
            kept[key] = _without_empty_sections(value, section) if isinstance(value, dict) else value
    return kept


def _section(model: type[BaseModel], key: Any) -> type[BaseModel] | None:
    """The class of a key that is itself a section."""
    known = model.model_fields.get(key)
    kind = known.annotation if known else None
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _not_finite(value: Any, at: Location) -> Iterator[Location]:
    if isinstance(value, float) and not math.isfinite(value):
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _not_finite(item, (*at, key))


def _trimmed(values: Any, location: Sequence[str | int]) -> Location:
    """The part of pydantic's location that the user wrote: it appends the names of union members."""
    kept: list[str | int] = []
    for step in location:
        there = step in values if isinstance(values, dict) else isinstance(values, list) and step in range(len(values))
        if there:
            values = values[step]
            kept.append(step)
        elif not isinstance(values, dict | list):
            break
        else:
            kept.append(step)  # a key that is missing
            break
    return tuple(kept)


def _explain(item: Any, model: type[BaseModel]) -> str:
    """One problem of pydantic's in a user's words."""
    kind, location, got = item["type"], item["loc"], item["input"]
    if kind == "extra_forbidden":
        return unknown_key(str(location[-1]), allowed(model, location[:-1]))
    if kind == "missing":
        return "must be given"
    if kind == "string_pattern_mismatch":
        return f"must look like {item['ctx']['pattern']}, got {got!r}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        names = allowed(model, location)
        return f"must be a section of keys{' (' + ', '.join(names) + ')' if names else ''}, got {got!r}"
    text = str(item["msg"]).replace("Input should be a valid tuple", "must be a list")
    text = text.replace("Input should be", "must be").replace("a valid integer", "an integer")
    text = text.replace("a valid ", "a ").split(", unable to")[0]
    return f"{text}, got {got!r}"


def unknown_key(key: str, names: Sequence[str]) -> str:
    """What is said of a key that is none of the names that may stand there."""
    close = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {hint}allowed: {', '.join(names)}"


def allowed(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that a section of the settings may have; empty where the location is no section."""
    kind: Any = model
    for step in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            known = kind.model_fields.get(str(step))
            kind = None if known is None else known.annotation
        elif typing.get_origin(kind) is tuple:
            kind = typing.get_args(kind)[0]
        else:
            kind = None
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(inner for inner in typing.get_args(kind) if inner is not type(None))
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
