"""Records as Arrow tables and as plain Python, both derived from the dataclasses."""

from __future__ import annotations

import dataclasses
import functools
import json
import operator
import types
import typing
from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar

import pyarrow as pa

from llaso_data.records.versions import LATER, field_names, is_later

T = TypeVar("T")
Convert = Callable[[Any], Any]

_ARROW: dict[Any, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    Any: pa.string(),  # any JSON, as its text
}


@functools.cache  # reading hints is slow
def schema(record: type) -> pa.Schema:
    """The Arrow schema of a record class.

    Args:
        record: A dataclass whose fields are text, numbers, flags, records, tuples of such, or maps by text.

    Returns:
        One column per field in the order of declaration. A field that came after the first format is nullable and
        marked with :data:`LATER`.
    """
    hints = typing.get_type_hints(record)
    columns = []
    for item in dataclasses.fields(record):
        kind, nullable = _arrow_type(hints[item.name])
        later = {LATER: b""} if is_later(record, item.name) else None
        columns.append(pa.field(item.name, kind, nullable=nullable, metadata=later))
    return pa.schema(columns)


def to_table(records: Sequence[Any], record: type) -> pa.Table:
    """Records as a table, one row per record.

    Args:
        records: All of one class.
        record: That class.

    Returns:
        A table of :func:`schema`; :func:`from_table` is the inverse.
    """
    return pa.Table.from_pylist([_to_row(item, record) for item in records], schema=schema(record))


def from_table(table: pa.Table, record: type[T]) -> list[T]:
    """The records of a table that :func:`to_table` made.

    Args:
        table: Columns that are no field of the record are ignored; a field without a column has its default.
        record: The record's class.

    Returns:
        One record per row, in the order of the rows.
    """
    return [_build(row, record, _from_arrow) for row in table.to_pylist()]


def to_dict(record: Any) -> dict[str, Any]:
    """A record as plain Python that JSON can hold.

    Args:
        record: Of any class. A field that came after :data:`FIRST_FORMAT` is left out where it is None, so that it
            changes no sample that people have.

    Returns:
        Values by the names of fields, in the order of the names; :func:`from_dict` is the inverse.
    """
    plain: dict[str, Any] = _to_plain(record)
    return plain


def from_dict(row: dict[str, Any], record: type[T]) -> T:
    """The record of a dictionary that :func:`to_dict` made.

    Args:
        row: Values by the names of fields. Other names are ignored; a field that is missing has its default.
        record: The record's class.

    Raises:
        TypeError: A field without a default is missing.
    """
    return _build(row, record, _from_plain)


def completed(table: pa.Table, record: type, columns: Sequence[str]) -> pa.Table:
    """A table of records with the fields that it lacks, as nulls: an earlier version did not write them.

    Args:
        table: Columns of a table of :func:`to_table`, as Parquet gives them.
        record: The record's class.
        columns: The columns that the result must have; a dotted name is one field of a column.
    """
    parts: dict[str, set[str]] = {}
    for name in columns:
        column_name, _, subfield = name.partition(".")
        parts.setdefault(column_name, set()).add(subfield)
    for name, subfields in parts.items():
        column = schema(record).field(name)
        if "" not in subfields:
            column = column.with_type(pa.struct([part for part in column.type if part.name in subfields]))
        position = table.schema.get_field_index(name)
        if position < 0:
            table = table.append_column(column.with_nullable(True), pa.nulls(len(table), column.type))
        elif table.schema.field(position).type != column.type:
            table = table.set_column(position, column, table[name].cast(column.type))
    return table


def _arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of a record's annotation, and whether it may be null."""
    if _is_optional(hint):
        return _arrow_type(_some(hint))[0], True
    if typing.get_origin(hint) is tuple:
        item, nullable = _arrow_type(typing.get_args(hint)[0])
        return pa.list_(pa.field("item", item, nullable=nullable)), False
    if typing.get_origin(hint) is dict:
        key, value = typing.get_args(hint)
        return pa.map_(_arrow_type(key)[0], _arrow_type(value)[0]), False
    if dataclasses.is_dataclass(hint):
        return pa.struct(list(schema(typing.cast(type, hint)))), False
    return _ARROW[hint], False


def _is_optional(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _some(hint: Any) -> Any:
    """The annotation that an optional annotation has besides None."""
    return next(inner for inner in typing.get_args(hint) if inner is not type(None))


_PLAIN = frozenset((str, int, float, bool, type(None)))


def _to_plain(value: Any) -> Any:
    kind = type(value)
    if kind in _PLAIN:
        return value
    if (plain := _plain_fields(typing.cast(Hashable, kind))) is not None:
        names, later, values_of = plain
        return {
            name: inner if type(inner) in _PLAIN else _to_plain(inner)
            for name, inner in zip(names, values_of(value), strict=True)
            if inner is not None or name not in later
        }
    if kind is tuple or kind is list:
        return [_to_plain(item) for item in value]
    if kind is dict:
        return {name: _to_plain(inner) for name, inner in value.items()}
    return value


@functools.cache
def _plain_fields(kind: Hashable) -> tuple[tuple[str, ...], frozenset[str], Callable[[Any], tuple[Any, ...]]] | None:
    """The sorted fields of a record, those of them that came later, and all values; None for another type."""
    if not isinstance(kind, type) or not dataclasses.is_dataclass(kind):
        return None
    names = field_names(kind)
    getter = operator.attrgetter(*names)
    values_of = getter if len(names) > 1 else lambda record: (getter(record),)
    return names, frozenset(name for name in names if is_later(kind, name)), values_of


def _build(row: dict[str, Any], record: type[T], convert: Callable[[Any], Convert | None]) -> T:
    values = {}
    for name, change in _conversions(typing.cast(type, record), convert):
        if name in row:
            value = row[name]
            values[name] = value if change is None or value is None else change(value)
    return record(**values)


@functools.cache
def _conversions(record: type, convert: Callable[[Any], Convert | None]) -> tuple[tuple[str, Convert | None], ...]:
    """Every field's name with the function that converts its value, None where the value stays as it is. Cached.

    Reading type hints is slow.
    """
    hints = typing.get_type_hints(record)
    return tuple((item.name, convert(hints[item.name])) for item in dataclasses.fields(record))


def _to_row(item: Any, record: type) -> dict[str, Any]:
    """A record as ``from_pylist`` takes it: a map is a list of pairs, any JSON is its text."""
    row = {}
    for name, change in _conversions(record, _to_arrow):
        value = getattr(item, name)
        row[name] = value if change is None or value is None else change(value)
    return row


def _to_arrow(hint: Any) -> Convert | None:
    if _is_optional(hint):
        return _to_arrow(_some(hint))
    if typing.get_origin(hint) is tuple:
        return _each(_to_arrow(typing.get_args(hint)[0]), list)
    if typing.get_origin(hint) is dict:
        change = _to_arrow(typing.get_args(hint)[1]) or _same
        return lambda values: [(name, change(value)) for name, value in sorted(values.items())]
    if dataclasses.is_dataclass(hint):
        return functools.partial(_to_row, record=typing.cast(type, hint))
    return _json_text if hint is Any else None


def _from_arrow(hint: Any) -> Convert | None:
    if typing.get_origin(hint) is dict:
        change = _from_arrow(typing.get_args(hint)[1]) or _same
        return lambda pairs: {name: change(value) for name, value in pairs}
    if hint is Any:
        return json.loads
    return _from_nested(hint, _from_arrow)


def _from_plain(hint: Any) -> Convert | None:
    return dict if typing.get_origin(hint) is dict else _from_nested(hint, _from_plain)


def _from_nested(hint: Any, convert: Callable[[Any], Convert | None]) -> Convert | None:
    if _is_optional(hint):
        return convert(_some(hint))
    if typing.get_origin(hint) is tuple:
        return _each(convert(typing.get_args(hint)[0]), tuple)
    if dataclasses.is_dataclass(hint):
        return functools.partial(_build, record=typing.cast(type, hint), convert=convert)
    return None


def _each(change: Convert | None, collect: Callable[[Any], Any]) -> Convert:
    return collect if change is None else lambda items: collect(map(change, items))


def _same(value: Any) -> Any:
    return value


def _json_text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
