"""Which corpus layout a path has, from its name and the names below it."""

from __future__ import annotations

from typing import Literal

from llaso_data.audio import AUDIO_EXTENSIONS
from llaso_data.errors import LLaSOError
from llaso_data.formats.common_voice import is_release_table, release_tables
from llaso_data.formats.rows.source_row import Tree, extension
from llaso_data.formats.tables.table_rows import TABLE_EXTENSIONS
from llaso_data.io import storage
from llaso_data.recipe import SourceSpec

Layout = Literal["folder", "librispeech", "common_voice", "manifest", "webdataset"]


def open_tree(spec: SourceSpec) -> Tree:
    """The files of a folder, or a single file or tar pattern as it is. Raises LLaSOError where nothing is there."""
    root = storage.absolute(spec.path)
    if "{" in root and not storage.exists(root):
        return Tree(root, is_file=True)
    if _is_file(root):
        return Tree(root, is_file=True)
    rows = storage.listing(root)
    kept = [
        (row["path"], row["size"], row["version"])
        for row in rows
        if not any(part.startswith(".") for part in row["path"].split("/"))
    ]
    if not rows and not storage.exists(root):
        raise LLaSOError(f"{spec.path}: no such file or folder; check the path of this source")
    return Tree(root, rows=tuple(kept))


def _is_file(uri: str) -> bool:
    """Of a store the name decides first: asking HTTP for the folder of a tar would fetch the tar."""
    named = extension(uri) in TABLE_EXTENSIONS | AUDIO_EXTENSIONS | {"tar"}
    return (not storage.is_local(uri) and named and storage.exists(uri)) or storage.is_file(uri)


def layout_of(spec: SourceSpec, tree: Tree) -> Layout:
    """The layout, as the recipe says or as the names do. Raises LLaSOError where a file is nothing that is read."""
    if spec.type != "auto":
        return spec.type
    if tree.is_file:
        return _layout_of_file(tree.root)
    if release_tables(tree):
        return "common_voice"
    if any(path.endswith(".trans.txt") for path, _, _ in tree.rows):
        return "librispeech"
    extensions = {extension(path) for path, _, _ in tree.rows}
    if "tar" in extensions and not extensions & AUDIO_EXTENSIONS:
        return "webdataset"
    return "folder"


def _layout_of_file(uri: str) -> Layout:
    kind = extension(uri)
    if "{" in uri or kind == "tar":
        return "webdataset"
    if kind in TABLE_EXTENSIONS:
        return "common_voice" if kind == "tsv" and is_release_table(uri) else "manifest"
    if kind in AUDIO_EXTENSIONS:
        return "folder"
    kinds = ", ".join(sorted(TABLE_EXTENSIONS | {"tar"}))
    raise LLaSOError(f"{uri}: not a folder, a manifest, a tar ({kinds}) or audio; give `type` if it is one of them")


def corpus_name(path: str) -> str:
    """The name of a corpus where the recipe gives none: the path's last part, of a file without its extension."""
    name = storage.absolute(path).rpartition("/")[2]
    kind = extension(name)
    return name[: -len(kind) - 1] if kind in TABLE_EXTENSIONS | AUDIO_EXTENSIONS | {"tar"} else name
