"""Values of a row made of its fields by templates: ``text={sentence|trim}``, ``answer={label}``.

A template is text with fields in braces, each with filters of a closed list behind ``|``. It is compiled once. Nothing
in it is run: there are no expressions, and what a field holds is never read as a template.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.rows.labels import Label, label_columns, labels_of, remarks
from llaso_data.formats.rows.source_row import RowError, SourceRow

METADATA_TARGETS = ("text", "language", "speaker", "gender", "age", "accent", "environment", "license", "consent")
"""What a template may give of the audio."""
SAMPLE_TARGETS = ("instruction", "answer", "task", "split")
"""What a template may give of the sample."""
LOCATION_TARGETS = ("audio", "member", "start", "end", "duration", "channel")
"""What a template may give of where the audio is, in tables."""
TARGETS = (*METADATA_TARGETS, *SAMPLE_TARGETS, *LOCATION_TARGETS)
FOLDER_LABEL = "label"
"""What a template calls the folder of an audio, where rows have no columns."""

_FIELD = re.compile(r"\{\{|\}\}|\{([^{}]*)\}")
_MOST_NAMED = 40
_KNOWN = frozenset(("path", "member", "start_s", "end_s", *METADATA_TARGETS))
"""Fields that rows of every layout have."""

Filter = Callable[[str], str]
_PLAIN: dict[str, Filter] = {"trim": str.strip, "lower": str.lower, "upper": str.upper}
Template = Callable[[Mapping[str, Any]], str]


@dataclass(frozen=True, slots=True)
class RowMap:
    """The templates of a source's map, compiled.

    Attributes:
        templates: Target → function from a row's fields, by name, to the value.
        fields: The names of the fields that the templates take.
        labels: Label → how it is made.
        named: Labels that a column of the same name is, where the map says nothing else.
        columns: Names of fields that rows of the source have, as far as rows were looked at.
    """

    templates: Mapping[str, Template]
    fields: frozenset[str]
    labels: Mapping[str, Label] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()

    @property
    def only_names(self) -> bool:
        """Whether there are no templates, and columns of some names are wanted."""
        return not self.templates and not self.labels

    def used(self, columns: Iterable[str]) -> frozenset[str]:
        """The columns that are taken from a table that has these."""
        columns = tuple(columns)
        named = {column for _, column in label_columns(columns, self.named)}
        return frozenset(named | {column for column in columns if column in self.fields})

    def kept(self, row: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, dict[str, Any] | None]:
        """What a table's row is to have as its fields, and as its labels: without templates these can be had at once.

        Raises:
            RowError: A label is none.
        """
        return (None, labels_of(row, {}, self.named, ())) if self.only_names else (row, None)

    def looked_at(self, rows: Iterable[SourceRow]) -> tuple[RowMap, list[str]]:
        """The map with the names of the fields of some rows, and what is to be said of the labels of a source."""
        columns = {name for row in rows if row.failure is None for name in (*_fields(row, True), *(row.labels or ()))}
        return replace(self, columns=frozenset(columns)), remarks(self.labels, self.named, sorted(columns))

    def located(self, row: Mapping[str, Any]) -> Mapping[str, Any]:
        """A table's row with what the map says of where the audio is, under our names of columns."""
        made = {target: self.templates[target](row) for target in LOCATION_TARGETS if target in self.templates}
        return {**row, **made} if made else row

    def taken(self, row: Mapping[str, Any]) -> dict[str, str | int | float | bool | None]:
        """What the templates take of a table's row, as plain values: others as their JSON.

        Of a row that lacks one of these fields all columns are given, for the message that names them.
        """
        lacks = any(name not in row and name not in _KNOWN for name in self.fields)
        return {name: _plain(row[name]) for name in (row if lacks else sorted(self.fields)) if name in row}

    def applied(self, row: SourceRow) -> SourceRow:
        """A row with what the map says of its audio and of the sample.

        The templates see the row's columns where its layout has columns; and everywhere ``path``, ``member``,
        ``start_s``, ``end_s`` and what is known of the audio, by the names of :data:`METADATA_TARGETS`.

        Raises:
            RowError: A field is not there, or is no text and no number.
        """
        if row.fields is None and (located := sorted(self.templates.keys() & set(LOCATION_TARGETS))):
            raise RowError(
                f"map: {', '.join(located)} can be given for rows of tables; this layout says where audio is"
            )
        if self.only_names:
            found = row.fields or row.metadata.more
            return replace(row, labels=labels_of(found, {}, self.named, ()), fields=None) if found else row
        fields = _fields(row, bool(self.named))
        made = {target: template(fields) for target, template in self.templates.items()}
        known: dict[str, Any] = {target: made[target] or None for target in METADATA_TARGETS if target in made}
        asked = {target: made[target] for target in SAMPLE_TARGETS if target in made}
        return replace(
            row,
            metadata=replace(row.metadata, **known),
            asked={**(row.asked or {}), **asked} or None,
            labels=labels_of(fields, self.labels, self.named, self.columns) or None,
        )


def compile_map(settings: Mapping[str, str], labels: Collection[str] = ()) -> RowMap | None:
    """The templates of a map, compiled; None where it is empty and no label is wanted.

    Args:
        settings: Target (one of :data:`TARGETS`, or a label) → template. A field of a row that says nothing is empty,
            where the filter ``default`` does not give another text. A field that the row does not have is a RowError.
            Of a label a template without braces is the column of that name, where rows have one.
        labels: Further targets. Columns of these names are taken where the map does not name them.

    Raises:
        LLaSOError: A target or filter is unknown, or braces do not match.
    """
    for target in settings:
        if target not in TARGETS and target not in labels:
            known = ", ".join((*TARGETS, *sorted(set(labels) - set(TARGETS))))
            raise LLaSOError(f"map: there is no target {target!r}; targets are {known}")
    if not settings and not labels:
        return None
    compiled = {target: compile_template(text) for target, text in settings.items()}
    made = {target: _label(settings[target], compiled.pop(target)) for target in settings if target in labels}
    names = (_split(match[1])[0].strip() for text in settings.values() for match in _FIELD.finditer(text) if match[1])
    bare = (one.column for one in made.values() if one.is_bare and one.column is not None)
    return RowMap(compiled, frozenset((*names, *bare)), made, frozenset(labels))


def keeps_columns(settings: Mapping[str, str], labels: Collection[str]) -> bool:
    """Whether rows are to have all their columns: for the templates of a map, or for labels."""
    return bool(settings or labels)


def _fields(row: SourceRow, with_folder: bool) -> dict[str, Any]:
    """What templates see of a row. A row without columns has the name of its folder as ``label``, where that is one."""
    metadata = {target: getattr(row.metadata, target) for target in METADATA_TARGETS}
    place: dict[str, Any] = {"path": row.path, "member": row.member, "start_s": row.start_s, "end_s": row.end_s}
    if row.fields is None and with_folder:
        place[FOLDER_LABEL] = (row.member or row.path).rpartition("/")[0].rpartition("/")[2]
    return {**place, **metadata, **(row.metadata.more or {}), **(row.fields or {})}


def _label(text: str, template: Template) -> Label:
    """The label that a template makes: one field alone keeps its type."""
    pieces = list(_FIELD.finditer(text))
    if not pieces:
        return Label(text, text.strip(), template, is_bare=True)
    single = len(pieces) == 1 and pieces[0][0] == text and pieces[0][1]
    column = single.strip() if single and "|" not in single else None
    return Label(text, column, template, is_bare=False)


def compile_template(text: str) -> Template:
    """One template, compiled: see :func:`compile_map`."""
    pieces: list[str | Template] = []
    end = 0
    for match in _FIELD.finditer(text):
        pieces.append(_literal(text[end : match.start()], text))
        pieces.append(match[0][0] if match[1] is None else _field(match[1], text))
        end = match.end()
    pieces.append(_literal(text[end:], text))
    pieces = [piece for piece in pieces if piece != ""]
    if len(pieces) == 1 and not isinstance(pieces[0], str):
        return pieces[0]
    parts = tuple(pieces)
    return lambda fields: "".join([part if isinstance(part, str) else part(fields) for part in parts])


def _literal(text: str, template: str) -> str:
    if "{" in text or "}" in text:
        raise LLaSOError(f"map: {template!r} has a brace without its other; write {{{{ or }}}} for a brace itself")
    return text


def _field(inside: str, template: str) -> Template:
    name, *calls = _split(inside)
    name = name.strip()
    if not name:
        raise LLaSOError(f"map: {template!r} has braces without the name of a field")
    default: str | None = None
    filters: list[Filter] = []
    for call in calls:
        if (given := _default(call, template)) is not None:
            default = given
        else:
            filters.append(_filter(call, template))
    steps = tuple(filters)

    def value(fields: Mapping[str, Any]) -> str:
        try:
            held = fields[name]
        except KeyError:
            if default is None:
                raise _unknown(name, fields) from None
            held = None
        text = held if isinstance(held, str) else _text(held, name)
        for step in steps:
            text = step(text)
        return text or default or ""

    return value


def _split(inside: str) -> list[str]:
    """At ``|`` outside of quotes."""
    pieces: list[str] = re.split(r"\|(?=(?:[^\"']|\"[^\"]*\"|'[^']*')*$)", inside)
    return pieces


def _filter(call: str, template: str) -> Filter:
    name, arguments = _call(call, template)
    if name in _PLAIN and not arguments:
        return _PLAIN[name]
    if name == "replace" and len(arguments) == 2:
        old, new = arguments
        if old:
            return lambda text: text.replace(old, new)
    raise _no_filter(call, template)


def _no_filter(call: str, template: str) -> LLaSOError:
    return LLaSOError(
        f"map: {template!r} has no filter {call.strip()!r}; filters are trim, lower, upper, replace('a', 'b') and "
        "default('x')"
    )


def _default(call: str, template: str) -> str | None:
    name, arguments = _call(call, template)
    return arguments[0] if name == "default" and len(arguments) == 1 else None


_CALL = re.compile(r"\s*(\w+)\s*(?:\((.*)\)|:(.*))?\s*", re.DOTALL)
_ARGUMENT = re.compile(r"\s*(?:\"([^\"]*)\"|'([^']*)'|([^,'\"]*))\s*(,|$)")


def _call(call: str, template: str) -> tuple[str, Sequence[str]]:
    """Name and arguments of ``replace('a', 'b')`` or ``replace:a,b``."""
    match = _CALL.fullmatch(call)
    if match is None:
        raise _no_filter(call, template)
    inside = match[2] if match[2] is not None else match[3]
    arguments: list[str] = []
    position = 0
    while inside is not None:
        argument = _ARGUMENT.match(inside, position)
        if argument is None:
            raise LLaSOError(f"map: the arguments of {call.strip()!r} are not understood; write replace('a', 'b')")
        arguments.append(
            next((text for text in argument.groups()[:2] if text is not None), (argument[3] or "").strip())
        )
        position = argument.end()
        if not argument[4]:
            break
    return match[1], arguments


def _plain(value: Any) -> str | int | float | bool | None:
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    return json.dumps(value, ensure_ascii=False, default=str)


def _text(value: Any, name: str) -> str:
    if value is None or value != value:  # NaN: a gap in a column of numbers
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False, default=str)
    raise RowError(f"map: the field {name!r} is no text and no number")


def _unknown(name: str, fields: Mapping[str, Any]) -> RowError:
    shown = ", ".join(str(field) for field in list(fields)[:_MOST_NAMED])
    return RowError(f"map: there is no field {name!r}; the row has {shown}")
