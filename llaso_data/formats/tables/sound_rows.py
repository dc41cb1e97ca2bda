"""The rows of tables with sound inside as inputs of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, partial
from itertools import chain
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile
from llaso_data.formats.rows.mapping import compile_map
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceRow, failed_row, row_or_failure
from llaso_data.formats.tables.columns import (
    COLUMN_NAMES,
    audio_location,
    audio_stat,
    canonical_values,
    cell_text,
    metadata_of,
    stated_duration,
)
from llaso_data.formats.tables.sound_tables import SoundTable, open_sound_table
from llaso_data.io.table_cells import cell_name
from llaso_data.recipe import SourceSpec

INSTRUCTION, ANSWER_TASK = "instruction", "task"
"""Columns of our own tables: with them a row is the very sample that was written."""
CELL = "cell"
"""What a field has that is a sound inside the table: its cell."""
_OF_THE_ROW = ("text", "language", "speaker", "gender", "age", "accent", "environment", "duration")
_VALUES = frozenset(name for ours in _OF_THE_ROW for name in COLUMN_NAMES[ours])
_NO_SOUND = "it holds no sound, and names no file"
_MOST_NAMED = 12


def sound_tables(tree: FileTree, files: Iterable[ListedFile], if_none: str) -> Iterator[SoundTable | SourceRow]:
    """The tables of a source that have sound inside, in the order of ``files``; a failed row for a broken one.

    Each is opened when it is asked for. What has no sound is named in a note.

    Raises:
        LLaSOError: At the call, with the text ``if_none``, where there is no such table.
    """
    tables = _opened(tree, files)
    first = next(tables, None)
    if first is None:
        raise LLaSOError(if_none)
    return chain((first,), tables)


def _opened(tree: FileTree, files: Iterable[ListedFile]) -> Iterator[SoundTable | SourceRow]:
    for file in files:
        try:
            table = open_sound_table(tree, file)
        except LLaSOError as error:
            root = tree.root.rpartition("/")[0] if tree.is_file else tree.root
            uri = f"{root}/{file.path}"
            detail = str(error).removeprefix(f"{uri}: ")
            yield failed_row(root, uri, file.path, detail, reason="unreadable")
            continue
        if table is None:
            note_without_sound(tree, file)
        else:
            yield table


def note_without_sound(tree: FileTree, file: ListedFile) -> None:
    """Note a table that is not read because it has no sound."""
    tree.note_example("not read: a table without sound", file.path)


def corpus_rows(spec: SourceSpec, tree: FileTree, tables: Iterator[SoundTable | SourceRow]) -> Iterator[SourceRow]:
    """Every row of the tables.

    The sound of a row is the cell that holds it. Where a table names files instead, it is the file: if the first table
    does, the rows of all are sorted, else those of the table.

    Raises:
        LLaSOError: There is no row.
    """
    first_table = next(tables)
    rows: Iterator[SourceRow] = chain.from_iterable(
        _rows_of(spec, tree, table) for table in chain((first_table,), tables)
    )
    if isinstance(first_table, SoundTable) and first_table.names_files():
        rows = sorted_rows(rows)
    first = next(rows, None)
    if first is None:
        raise LLaSOError(f"{spec.path}: its tables hold no row; take it out of the sources, or write it again")
    return chain((first,), rows)


def _rows_of(spec: SourceSpec, tree: FileTree, table: SoundTable | SourceRow) -> Iterator[SourceRow]:
    if isinstance(table, SourceRow):
        yield table
        return
    if table.sound is None or table.talk is not None:
        detail = "it holds conversations, and the first table single sounds; name one of them as the source"
        yield failed_row(table.root, table.uri, table.file.path, detail)
        return
    row_map = compile_map(spec.map, tree.labels)
    mapped = row_map.used(table.columns) if row_map is not None else frozenset()
    if INSTRUCTION in table.columns and ANSWER_TASK in table.columns:  # ours: what was asked is no label
        mapped -= {INSTRUCTION}
    _note_columns(tree, table, mapped)
    rows = _read(table, mapped, bool(spec.map), names_files := table.names_files())
    yield from sorted_rows(rows) if names_files else rows


def _note_columns(tree: FileTree, table: SoundTable, mapped: frozenset[str]) -> None:
    for name in table.other_sounds:
        if name in mapped:
            continue
        tree.note_example("not read: a second column of sound", name)
    used = {INSTRUCTION, ANSWER_TASK, table.sound, *mapped, *table.other_sounds}
    unused = [name for name in table.columns if name.lower() not in _VALUES and name not in used]
    if unused:
        shown = ", ".join(unused[:_MOST_NAMED]) + (" …" if len(unused) > _MOST_NAMED else "")
        tree.note_example("tables with columns that are not used", shown)


def _read(table: SoundTable, mapped: frozenset[str], has_map: bool, names_files: bool) -> Iterator[SourceRow]:
    sound = table.sound or ""
    wanted = {name for name in table.columns if name.lower() in _VALUES or name in mapped}
    wanted |= {name for name in (INSTRUCTION, ANSWER_TASK) if name in table.columns}
    if names_files or not wanted:  # rows are counted by some column
        wanted.add(sound)
    stat_once = lru_cache(maxsize=4096)(audio_stat)
    count = table.count()
    row_bytes = table.file.size_bytes // count if count else 0
    for number, row in table.rows(wanted, sounds=names_files):
        where = f"{table.file.path}:{number}"
        if isinstance(row, str):
            yield failed_row(table.root, table.uri, where, row)
            continue
        make = partial(_source_row, table, row, number - 1, where, mapped, has_map, row_bytes, stat_once)
        yield row_or_failure(make, table.root, table.uri, where)


def _source_row(
    table: SoundTable,
    row: dict[str, Any],
    number: int,
    where: str,
    mapped: frozenset[str],
    has_map: bool,
    row_bytes: int,
    stat: Callable[[str], tuple[int, str]],
) -> SourceRow:
    """Raises RowError that says what is wrong with the row."""
    values = canonical_values({name: value for name, value in row.items() if name.lower() in _VALUES})
    path, uri, size_bytes, version = table.file.path, table.uri, row_bytes, table.file.version
    member: str | None = cell_name(table.sound or "", number)
    if (named := _named_file(row, table.sound or "")) is not None:
        path, uri = audio_location(named, table.root)
        member, (size_bytes, version) = None, stat(uri)
    return SourceRow(
        path=path,
        uri=uri,
        root=table.root,
        container=table.uri,
        member=member,
        metadata=metadata_of(values),
        stated_s=stated_duration(values),
        size_bytes=size_bytes,
        version=version,
        where=where,
        fields={name: _field(table, row[name], name, number) for name in mapped if name in row} if mapped else None,
        asked=asked_of(table, {} if has_map else row),
    )


def _field(table: SoundTable, value: Any, name: str, number: int) -> Any:
    """A cell as a field: another sound of the row by the file that it names, else by its cell."""
    if value is None or name not in table.other_sounds:
        return value
    named = value.get("path") if isinstance(value, dict) and "bytes" in value and not value["bytes"] else None
    return named or {CELL: cell_name(name, number)}


def _named_file(row: Mapping[str, Any], column: str) -> str | None:
    """The file that a row names where it holds no sound itself; None where it holds one, or its sound was not read."""
    sound = row.get(column)
    if sound is None and column in row:
        raise RowError(_NO_SOUND)
    if not isinstance(sound, dict) or "bytes" not in sound or sound["bytes"]:
        return None
    path = sound.get("path")
    if not isinstance(path, str) or not path.strip() or "\0" in path:
        raise RowError(_NO_SOUND)
    return path.strip()


def asked_of(table: SoundTable, row: Mapping[str, Any]) -> dict[str, str] | None:
    """What a row says of the sample that is made of it: its split, and in a table of ours all that was written."""
    asked = {"split": table.split} if table.split else {}
    if INSTRUCTION in table.columns and ANSWER_TASK in table.columns and isinstance(row.get("text"), str):
        asked |= {"answer": row["text"], "task": cell_text(row.get(ANSWER_TASK)) or ""}
        if isinstance(row.get(INSTRUCTION), str):
            asked["instruction"] = row[INSTRUCTION]
    return asked or None
