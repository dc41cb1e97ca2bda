"""A Common Voice release: TSV tables (client_id, path, sentence, age, gender, accents, locale) beside ``clips/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.manifest import by_our_names, described, text_of
from llaso_data.formats.rows.source_row import Entry, RowError, Tree, bad_row, extension, guarded
from llaso_data.formats.tables.table_rows import Row, header, rows
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

CLIPS = "clips"
COLUMNS = frozenset(("client_id", "path"))
VALIDATED = "validated.tsv"


def is_release_table(uri: str) -> bool:
    """Whether a TSV has a release's columns and a ``clips`` folder beside it."""
    folder = uri.rpartition("/")[0]
    return set(header(uri)) >= COLUMNS and storage.exists(storage.join(folder, CLIPS))


def release_tables(tree: Tree) -> list[str]:
    """The tables to read, relative to the root: of the release, or of each language's release one folder below it.

    ``validated.tsv`` where it is there, because it contains train, dev and test; else every table of such rows.
    """
    with_clips = {path.rpartition(f"{CLIPS}/")[0] for path, _, _ in tree.rows if f"/{CLIPS}/" in f"/{path}"}
    tables: list[str] = []
    for folder in sorted(prefix for prefix in with_clips if prefix.count("/") < 2):
        names = [
            path for path, _, _ in tree.rows if path.rpartition("/")[0] == folder.rstrip("/") and path.endswith(".tsv")
        ]
        names = [f"{folder}{VALIDATED}"] if f"{folder}{VALIDATED}" in names else names
        tables += [name for name in names if set(header(tree.uri(name))) >= COLUMNS]
    return tables


def entries(spec: SourceSpec, tree: Tree) -> Iterator[Entry]:
    """Every row of the tables, in the order of its clip; raises LLaSOError where there is no such table."""
    if tree.is_file:
        root, _, name = tree.root.rpartition("/")
        tables = [name] if set(header(tree.root)) >= COLUMNS else []
        tree = Tree(root)
    else:
        tables = release_tables(tree)
    if not tables:
        raise LLaSOError(f"{spec.path}: no TSV with the columns client_id and path, with a folder {CLIPS} beside it")
    found = sorted((entry for table in tables for entry in _entries(tree, table)), key=Entry.order)
    if not found:
        raise LLaSOError(f"{spec.path}: {', '.join(tables)} hold no row; take it out of the sources, or fetch it again")
    return iter(found)


def _entries(tree: Tree, table: str) -> Iterator[Entry]:
    prefix = table[: table.rfind("/") + 1]
    container = tree.uri(prefix).rstrip("/") if prefix else tree.root
    clips = {row["path"]: (row["size"], row["version"]) for row in storage.listing(storage.join(container, CLIPS))}
    for number, row in rows(tree.uri(table)):
        where = f"{table}:{number}"
        if isinstance(row, str):
            yield bad_row(tree.root, container, where, row)
        else:
            yield guarded(partial(_entry, row, tree, prefix, container, where, clips), tree.root, container, where)


def _entry(
    row: Row, tree: Tree, prefix: str, container: str, where: str, clips: Mapping[str, tuple[int, str]]
) -> Entry:
    name = text_of(row["path"])
    if name is None:
        raise RowError("`path` is empty")
    if extension(name) not in AUDIO_EXTENSIONS:
        name += ".mp3"  # early releases leave it out
    size_bytes, version = clips.get(name, (0, ""))
    path = f"{prefix}{CLIPS}/{name}"
    return Entry(
        path=path,
        uri=tree.uri(path),
        root=tree.root,
        container=container,
        said=described(by_our_names(row)),
        size_bytes=size_bytes,
        version=version,
        where=where,
    )
