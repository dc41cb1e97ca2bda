"""What is wrong with settings, in a user's words."""

from __future__ import annotations

import math
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import BaseModel

from llaso_data.io.yaml_text import Location


def not_among(value: object, names: Sequence[str]) -> str:
    """The problem of a value that must be the name of a table's entry, in the words that other wrong choices get.

    Args:
        value: What was given.
        names: The names that the table has.
    """
    *most, last = map(repr, names)
    choices = f"{', '.join(most)} or {last}" if most else last
    return f"must be {choices}, got {value!r}"


def unknown_key(key: str, names: Sequence[str]) -> str:
    """What is said of a key that is none of the names that may stand there."""
    import difflib

    close = difflib.get_close_matches(key, names, n=1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key; {hint}allowed: {', '.join(names)}"


def explain(item: Any, model: type[BaseModel]) -> str:
    """One error of pydantic's, such as ``ValidationError.errors`` lists, in a user's words."""
    kind, location, value = item["type"], item["loc"], item["input"]
    if kind == "extra_forbidden":
        return unknown_key(str(location[-1]), allowed_keys(model, location[:-1]))
    if kind == "missing":
        return "must be given"
    if kind == "string_too_short":
        return "must not be empty"
    if kind == "string_pattern_mismatch":
        return f"must look like {item['ctx']['pattern']}, got {value!r}"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        names = allowed_keys(model, location)
        return f"must be a section of keys{' (' + ', '.join(names) + ')' if names else ''}, got {value!r}"
    text = str(item["msg"]).replace("Input should be a valid tuple", "must be a list")
    text = text.replace("Input should be", "must be").replace("a valid integer", "an integer")
    text = text.replace("a valid ", "a ").split(", unable to")[0]
    return f"{text}, got {value!r}"


def allowed_keys(model: type[BaseModel], location: Sequence[str | int]) -> list[str]:
    """The keys that a section of the settings may have; empty where the location is no section."""
    kind: Any = model
    for step in location:
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            known = kind.model_fields.get(str(step))
            kind = None if known is None else known.annotation
        elif typing.get_origin(kind) is tuple:
            kind = typing.get_args(kind)[0]
        elif typing.get_origin(kind) is dict:
            kind = typing.get_args(kind)[1]
        else:
            kind = None
        if typing.get_origin(kind) in (typing.Union, types.UnionType):
            kind = next(inner for inner in typing.get_args(kind) if inner is not type(None))
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []


def user_location(values: Any, location: Sequence[str | int]) -> Location:
    """The part of pydantic's location that the user wrote, without the names of union members at its end."""
    kept: list[str | int] = []
    for step in location:
        keys: Any = values if isinstance(values, dict) else range(len(values) if isinstance(values, list) else 0)
        if step in keys:
            values = values[step]
            kept.append(step)
        elif not isinstance(values, dict | list):
            break
        else:
            kept.append(step)  # a key that is missing
            break
    return tuple(kept)


def not_finite(value: Any, at: Location) -> Iterator[Location]:
    """The locations of NaN and infinities in a value at ``at``."""
    if isinstance(value, float) and not math.isfinite(value):
        yield at
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from not_finite(item, (*at, key))
