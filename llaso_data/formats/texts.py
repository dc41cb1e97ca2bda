"""Texts without audio in tables: instructions, questions, translations, summaries, conversations. For `build-instruct`.

A row gives the fields that tasks name. Which columns mean what is in ``text_sets/forms.py``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Any

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.files.splits import split_of
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.conversation import bad_conversation
from llaso_data.formats.rows.labels import label_columns, labels_of, remarks
from llaso_data.formats.rows.mapping import RowMap, compile_map
from llaso_data.formats.rows.source_row import RowError, describe_error
from llaso_data.formats.rows.text_row import TextRow
from llaso_data.formats.tables.columns import ROWS_FOR_COLUMNS, note_unused
from llaso_data.formats.tables.no_audio import first_whole_row, has_audio
from llaso_data.formats.tables.table_rows import TABLE_ENDINGS, is_table, table_rows
from llaso_data.formats.text_sets.forms import Form, Said, form_of, text_and_language
from llaso_data.recipe import SourceSpec
from llaso_data.records import Failure

SPLIT = "split"
"""The column that names a row's split."""
_TARGETS = ("text", "language")
"""What a map may give of a text besides labels."""
_LOOKED_INTO = 8  # files of a folder by which it is recognised
_SOUNDS = frozenset(("tar", "arrow", "zip"))


def recognises(tree: FileTree) -> str | None:
    """A table whose first row has texts of a known form and names no audio, or a folder of such tables and no audio."""
    if tree.is_file:
        form = _form_in(tree.root, tree.labels) if is_table(tree.root) else None
        return None if form is None else f"its rows are {form.name}, and name no audio"
    if tree.extensions.keys() & (AUDIO_EXTENSIONS | _SOUNDS):
        return None
    for file in _tables(tree, "**/*")[:_LOOKED_INTO]:
        if (form := _form_in(tree.uri(file.path), tree.labels)) is not None:
            return f"the rows of {file.path} are {form.name}, and name no audio"
    return None


def read_texts(spec: SourceSpec, tree: FileTree) -> Iterator[TextRow | Failure]:
    """Every row of every table, in the order of their paths and lines.

    Raises:
        LLaSOError: There is no table.
    """
    if tree.is_file:
        root, _, name = tree.root.rpartition("/")
        return _of_table(spec, replace(tree, root=root), name)
    tables = []
    for file in _tables(tree, spec.pattern):
        if spec.map or _form_in(tree.uri(file.path), tree.labels) is not None:
            tables.append(file)
        else:
            tree.note_example("not read: a table without texts", file.path)
    if not tables:
        raise LLaSOError(f"{spec.path}: no table of texts in it that matches {spec.pattern!r}")
    return (row for file in tables for row in _of_table(spec, tree, file.path))


def _tables(tree: FileTree, pattern: str) -> list[ListedFile]:
    matches = compile_glob(pattern).fullmatch
    return [file for file in tree.files if is_table(file.path) and matches(file.path)]


def _form_in(uri: str, labels: frozenset[str]) -> Form | None:
    row = first_whole_row(uri)
    if row is None or has_audio(row):
        return None
    columns = tuple(row)
    return form_of(columns) or (text_and_language(columns) if label_columns(columns, labels - {SPLIT}) else None)


def _of_table(spec: SourceSpec, tree: FileTree, path: str) -> Iterator[TextRow | Failure]:
    uri = tree.uri(path)
    try:
        rows = table_rows(uri)
        head = list(islice(rows, ROWS_FOR_COLUMNS))
        reader = _Reader(tree, path, compile_map(spec.map, tree.labels), [row for _, row in head])
        for number, row in chain(head, rows):
            if isinstance(row, str):
                yield bad_conversation(tree.root, f"{path}:{number}", row)
                continue
            try:
                yield from reader.rows(row, number)
            except Exception as error:
                yield bad_conversation(tree.root, f"{path}:{number}", describe_error(error))
    except LLaSOError as error:
        if tree.is_file:
            raise
        yield bad_conversation(tree.root, path, str(error).removeprefix(f"{uri}: "), reason="unreadable")


class _Reader:
    """Reads the rows of one table."""

    def __init__(self, tree: FileTree, path: str, row_map: RowMap | None, head: list[dict[str, Any] | str]) -> None:
        """``head`` are the first rows: they say which columns there are, and the tree takes the notes of them."""
        self._tree, self._path, self._map = tree, path, row_map or RowMap({}, frozenset())
        self._split = split_of(path)
        whole = [row for row in head if isinstance(row, dict)]
        self._columns = frozenset(str(column) for row in whole for column in row)
        self._usual = next((form for row in whole if (form := form_of(tuple(row))) is not None), None)
        shapes = dict.fromkeys(tuple(row) for row in whole)
        used = {str(column).strip().lower() for shape in shapes for column in self._used(shape)}
        note_unused(tree, path, dict.fromkeys(column for shape in shapes for column in shape), used)
        by_form = {str(column).strip().lower() for shape in shapes for column in self._form(shape).used}
        named = frozenset(one for one in self._map.named if one.lower() not in by_form)
        for remark in remarks(self._map.labels, named, sorted(self._columns)):
            tree.note(f"{tree.uri(path)}: {remark}", 1)
        for target in sorted(self._map.templates.keys() - set(_TARGETS)):
            tree.note(f"{tree.uri(path)}: map: {target} is not used, for texts have none", 1)

    def _used(self, columns: tuple[str, ...]) -> set[str]:
        return {*self._form(columns).used, *self._map.used(columns)}

    def _form(self, columns: tuple[str, ...]) -> Form:
        """The form of a row; of one that lacks a column that of the others."""
        return form_of(columns) or self._usual or text_and_language(columns)

    def rows(self, row: Mapping[str, Any], number: int) -> list[TextRow]:
        """What a row says. Raises RowError that says what is wrong with it."""
        columns = tuple(row)
        form = self._form(columns)
        mapped = labels_of(row, self._map.labels, frozenset(), self._columns)
        stated = {target: make(row) for target, make in self._map.templates.items() if target in _TARGETS}
        if stated.get("text"):
            mapped["text"] = stated["text"]
        try:
            said = list(form.make(row))
        except RowError:
            if not mapped:
                raise
            said = [Said({})]
        named = frozenset(one for one, column in label_columns(columns, self._map.named) if column not in form.used)
        beside = labels_of(row, {}, named, ())
        made = [
            TextRow(
                labels=labels,
                file=self._path,
                row=number,
                language=stated.get("language") or one.language,
                split=self._split,
            )
            for one in said
            if (labels := {**beside, **one.labels, **mapped}).keys() - {SPLIT}
        ]
        if not made:
            raise RowError(f"it says nothing that a task needs; its columns are {', '.join(map(str, row))[:200]}")
        for note in {note for one in said for note in one.notes}:
            self._tree.note(f"{self._path}: {note}", 1)
        return made


LAYOUT = Layout(
    name="texts",
    title="tables of texts",
    recognised_by="a table without audio whose first row has `instruction` and `output`, `question` and `answer`, "
    "`translation`, `summary`, or `messages` or `conversations`; a folder of such. For `build-instruct` alone",
    unit="a row",
    container="the table",
    endings=TABLE_ENDINGS,
    before=("webdataset", "manifest", "folder"),
    recognises=recognises,
    read_texts=read_texts,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
