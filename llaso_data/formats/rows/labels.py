"""Labels of rows: fields that tasks name besides what is known of audio, by a map or by the names of columns."""

from __future__ import annotations

import datetime
import decimal
import functools
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from llaso_data.formats.files.text import MAX_TEXT_BYTES, TOO_LONG
from llaso_data.formats.rows.source_row import RowError, is_empty

_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class Label:
    """How a map makes a label of a row.

    Attributes:
        template: As the map has it.
        column: The field that it is, when it is one field alone; of a template without braces the template, for that
            may be the name of a column.
        make: Makes it of a row's fields, as text.
        is_bare: Whether the template has no braces.
    """

    template: str
    column: str | None
    make: Callable[[Mapping[str, Any]], str]
    is_bare: bool

    def of(self, fields: Mapping[str, Any], columns: Collection[str]) -> Any:
        """The label of a row; None: the row says nothing.

        Args:
            fields: The row's, by name.
            columns: Names of fields that rows of the source have: a template without braces that is one of them is the
                field, and else a text that all rows have.
        """
        if self.column is None or (self.is_bare and self.column not in columns):
            return self.make(fields)
        if self.is_bare or self.column in fields:
            return fields.get(self.column)
        return self.make(fields)  # says that there is no such field

    def remark(self, columns: Collection[str]) -> str | None:
        """What a template without braces is taken for; None: it has braces."""
        if not self.is_bare:
            return None
        return f"the column {self.column!r}" if self.column in columns else f"{self.template!r} in every row"


def label_value(value: Any, depth: int = 0) -> Any:
    """A value as a label: text without white space around it, a number, or a list or an object of such.

    Returns:
        None where the value says nothing: an empty text, a gap in a column of numbers, an empty list.

    Raises:
        RowError: It is too long, too deep, or nothing of the kind.
    """
    kind = type(value)
    if kind is str:
        if len(value) > MAX_TEXT_BYTES:
            raise RowError(f"a value {TOO_LONG}")
        return (value.replace("\r\n", "\n") if "\r" in value else value).strip() or None
    if is_empty(value):
        return None
    if kind is int:
        return value
    if kind is float:
        return int(value) if value.is_integer() else value if math.isfinite(value) else None
    if kind is bool:
        return "true" if value else "false"
    if depth > _DEEPEST:
        raise RowError("a value of lists in lists that is deeper than any label")
    if isinstance(value, Mapping):
        inner = {str(name): label_value(one, depth + 1) for name, one in value.items()}
        return {name: one for name, one in inner.items() if one is not None} or None
    if isinstance(value, (list, tuple)):
        return [label_value(one, depth + 1) for one in value] or None
    return _of_a_table(value)


def _of_a_table(value: Any) -> Any:
    """What cells of Parquet and Arrow hold besides what JSON has."""
    if isinstance(value, bytes):
        return label_value(value.decode("utf-8", "surrogateescape"))
    if isinstance(value, decimal.Decimal):
        return label_value(float(value))
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    raise RowError(f"a label is text, a number, or a list or an object of such; got {type(value).__name__}")


def labels_of(
    fields: Mapping[str, Any], made: Mapping[str, Label], named: frozenset[str], columns: Collection[str]
) -> dict[str, Any]:
    """The labels of a row.

    Args:
        fields: The row's fields by name.
        made: Those that a map makes.
        named: Those that a column of the same name is, where the map says nothing else.
        columns: As of :meth:`Label.of`.

    Raises:
        RowError: One of them is none.
    """
    labels: dict[str, Any] = {}
    for label, column in label_columns(tuple(fields), named):
        if label not in made and (value := _checked(label, fields[column])) is not None:
            labels[label] = value
    for label, one in made.items():
        if (value := _checked(label, one.of(fields, columns))) is not None:
            labels[label] = value
    return labels


def _checked(label: str, value: Any) -> Any:
    try:
        return label_value(value)
    except RowError as error:
        raise RowError(f"{label}: {error}") from None


@functools.lru_cache(256)
def label_columns(columns: tuple[str, ...], named: frozenset[str]) -> tuple[tuple[str, str], ...]:
    """Label and column for each label that has a column of its name, in any case."""
    lower = {str(column).strip().lower(): column for column in reversed(columns)}
    found = ((label, lower[label.lower()]) for label in sorted(named) if label.lower() in lower)
    return tuple(found)


def remarks(made: Mapping[str, Label], named: frozenset[str], columns: Iterable[str]) -> list[str]:
    """What is to be said of a source's labels: which columns they are, and which templates are texts."""
    columns = tuple(columns)
    by_name = [label for label, _ in label_columns(columns, named) if label not in made]
    said = [f"labels by the names of columns: {', '.join(by_name)}"] if by_name else []
    for label, one in made.items():
        if (what := one.remark(columns)) is not None:
            said.append(f"map: {label} is {what}")
    return said
