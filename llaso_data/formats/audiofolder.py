"""Audio beside ``metadata.csv``, ``.jsonl`` or ``.parquet`` with ``file_name``: Hugging Face's ``audiofolder``."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.file_tree import FileTree, ListedFile, compile_glob
from llaso_data.formats.files.splits import split_of
from llaso_data.formats.registry import LAYOUTS, Layout
from llaso_data.formats.rows.mapping import RowMap, compile_map
from llaso_data.formats.rows.sorting import sorted_rows
from llaso_data.formats.rows.source_row import RowError, SourceRow, describe_error, failed_row
from llaso_data.formats.tables.columns import (
    canonical_values,
    metadata_of,
    stated_duration,
    used_columns,
    with_slashes,
)
from llaso_data.formats.tables.table_rows import columns_of, table_rows
from llaso_data.io import zip_members
from llaso_data.io.archive import ArchiveError
from llaso_data.io.zip_directory import ZipDirectory
from llaso_data.recipe import SourceSpec
from llaso_data.uris import extension

TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_NAME, FILE_NAMES = "file_name", "file_names"


class _Zip(NamedTuple):
    """A zip beside a table, and the names in it."""

    file: ListedFile
    directory: ZipDirectory


def recognises(tree: FileTree) -> str | None:
    """A folder with such a table, whose columns name files."""
    if tree.is_file:
        return None
    for file in tree.files:
        if file.path.rpartition("/")[2] in TABLES and _names_files(tree.uri(file.path)):
            return f"it has {file.path} with `{FILE_NAME}`"
    return None


def read(spec: SourceSpec, tree: FileTree) -> Iterator[SourceRow]:
    """Every row of every table, in the order of the files that they name.

    Raises:
        LLaSOError: There is no table, or no row.
    """
    tables = [] if tree.is_file else [file for file in tree.files if file.path.rpartition("/")[2] in TABLES]
    tables = [file for file in tables if _names_files(tree.uri(file.path))]
    if not tables:
        raise LLaSOError(f"{spec.path}: none of {', '.join(TABLES)} in it has a column `{FILE_NAME}`")
    reader = _Reader(spec, tree, tables)
    return sorted_rows(reader.rows(), if_none=f"{spec.path}: its tables hold no row that matches {spec.pattern!r}")


def _names_files(uri: str) -> bool:
    """Whether a table has a column of file names; of JSON lines the first row."""
    try:
        columns = columns_of(uri)
        if extension(uri) == "jsonl":
            _, row = next(table_rows(uri), (0, ""))
            columns = list(row) if isinstance(row, dict) else []
    except (LLaSOError, OSError):
        return False
    return bool(_audio_columns(columns))


def _audio_columns(columns: list[str]) -> list[str]:
    """The columns that name audio: ``file_name``, ``file_names``, else every ``…_file_name``."""
    lower = {name.strip().lower(): name for name in columns}
    for known in (FILE_NAME, FILE_NAMES):
        if known in lower:
            return [lower[known]]
    return [name for key, name in lower.items() if key.endswith((f"_{FILE_NAME}", f"_{FILE_NAMES}"))]


class _Reader:
    """Reads the tables of one source."""

    def __init__(self, spec: SourceSpec, tree: FileTree, tables: list[ListedFile]) -> None:
        self._tree, self._tables = tree, tables
        self._map: RowMap | None = compile_map(spec.map, tree.labels)
        self._matches: Callable[[str], object] = compile_glob(spec.pattern).fullmatch
        self._files = {file.path: file for file in tree.files}
        self._zips: dict[str, list[_Zip | SourceRow]] = {}
        self._used: set[str] = set()
        self._columns: dict[str, None] = {}

    def rows(self) -> Iterator[SourceRow]:
        """The rows of all tables, in the order of the tables; then the columns that are not used are noted."""
        for table in self._tables:
            yield from self._of_table(table)
        for zips in self._zips.values():
            yield from (one for one in zips if isinstance(one, SourceRow))
        unused = [name for name in self._columns if name.strip().lower() not in self._used]
        if unused:
            self._tree.note(f"columns not used: {', '.join(unused[:12])}", 1)

    def _of_table(self, table: ListedFile) -> Iterator[SourceRow]:
        uri = self._tree.uri(table.path)
        try:
            for number, row in table_rows(uri):
                where = f"{table.path}:{number}"
                if isinstance(row, str):
                    yield failed_row(self._tree.root, uri, where, row)
                    continue
                yield from self._of_row(table, row, where)
        except LLaSOError as error:
            detail = str(error).removeprefix(f"{uri}: ")
            yield failed_row(self._tree.root, uri, table.path, detail, reason="unreadable")

    def _of_row(self, table: ListedFile, row: Mapping[str, Any], where: str) -> Iterator[SourceRow]:
        uri = self._tree.uri(table.path)
        columns = _audio_columns(list(row))
        mapped = {name.strip().lower() for name in self._map.used(row)} if self._map else set()
        self._columns.update(dict.fromkeys(row))
        self._used |= {column.strip().lower() for column in columns} | mapped
        try:
            if not columns:
                raise RowError(f"it has no `{FILE_NAME}`")
            said = {name: value for name, value in row.items() if name not in columns}
            names = [name for column in columns for name in _names(row[column])]
            if not names:
                raise RowError(f"`{columns[0]}` is empty")
            rows = [self._source_row(table, name, said, len(names) > 1, row, where) for name in names]
        except Exception as error:
            yield failed_row(self._tree.root, uri, where, describe_error(error))
            return
        yield from (one for one in rows if one is not None)

    def _source_row(
        self, table: ListedFile, name: str, said: Mapping[str, Any], several: bool, row: Mapping[str, Any], where: str
    ) -> SourceRow | None:
        """The row of one file; None where the pattern does not match it. A text belongs to none of several files."""
        folder = table.path.rpartition("/")[0]
        name = with_slashes(name)
        path = posixpath.normpath(posixpath.join(folder, name))
        if path.startswith(("/", "../")) or path in ("..", ".") or "\0" in name:
            raise RowError(f"{name!r:.200} leads out of the folder; name a file below it")
        values = canonical_values(said)
        self._used |= used_columns(said)
        if several:
            values["text"] = None
        member, file = None, self._files.get(path)
        if file is None and (found := self._in_zip(folder, name)) is not None:
            file, member = found.file, name
        if not self._matches(path):
            return None
        split = split_of(path if member is None else (file.path if file else path))
        fields, labels = self._map.kept(dict(row)) if self._map else (None, None)
        return SourceRow(
            path=path if file is None else file.path,
            uri=self._tree.uri(path if file is None else file.path),
            root=self._tree.root,
            container=self._tree.root if member is None or file is None else self._tree.uri(file.path),
            member=member,
            metadata=metadata_of(values),
            stated_s=None if several else stated_duration(values),
            size_bytes=0 if file is None else file.size_bytes if member is None else self._size(folder, member),
            version="" if file is None else file.version,
            where=where,
            fields=fields,
            labels=labels,
            asked={"split": split} if split else None,
        )

    def _in_zip(self, folder: str, name: str) -> _Zip | None:
        return next((one for one in self._zips_of(folder) if isinstance(one, _Zip) and _has(one, name)), None)

    def _size(self, folder: str, name: str) -> int:
        found = self._in_zip(folder, name)
        member = found.directory.members.get(name) if found else None
        return member.size_bytes if member else 0

    def _zips_of(self, folder: str) -> list[_Zip | SourceRow]:
        """The zips of a folder, each opened once; a failed row for one that cannot be read."""
        if folder not in self._zips:
            self._zips[folder] = [
                self._opened(file)
                for file in self._tree.files
                if extension(file.path) == "zip" and file.path.rpartition("/")[0] == folder
            ]
        return self._zips[folder]

    def _opened(self, file: ListedFile) -> _Zip | SourceRow:
        uri = self._tree.uri(file.path)
        try:
            return _Zip(file, zip_members.directory(uri))
        except ArchiveError as error:
            detail = str(error).removeprefix(f"{uri}: ")
            return failed_row(self._tree.root, uri, file.path, detail, reason="unreadable")


def _has(one: _Zip, name: str) -> bool:
    return name in one.directory.members or name in one.directory.broken


def _names(value: Any) -> list[str]:
    """The names in a cell: one, or a list of them."""
    items = value if isinstance(value, (list, tuple)) else [value]
    names = [item for item in items if item is not None and item != ""]
    if wrong := [item for item in names if not isinstance(item, str)]:
        raise RowError(f"`{FILE_NAME}` is no name of a file: {wrong[0]!r:.100}")
    return [name.strip() for name in names]


LAYOUT = Layout(
    name="audiofolder",
    title="folders with metadata.csv",
    recognised_by="`metadata.csv`, `.jsonl` or `.parquet` with a column `file_name`, in any folder",
    unit="a file of a row",
    container="the folder, or each zip",
    before=("hf_parquet", "webdataset", "folder"),
    recognises=recognises,
    read=read,
)
LAYOUTS.register(LAYOUT.name, LAYOUT)
