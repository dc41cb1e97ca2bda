"""The files of NeMo's tarred sets: which tar belongs to which manifest, by their numbers."""

from __future__ import annotations

import re
from typing import NamedTuple

from llaso_data.formats.files.braces import expand_braces
from llaso_data.formats.files.file_tree import FileTree, compile_glob
from llaso_data.formats.tables.nemo_columns import SHARD
from llaso_data.formats.tables.table_rows import first_row

FOLDER = "sharded_manifests"
_ALL = "**/*"
_TAR = re.compile(r"audio[^/]*_(\d+)[^/]*\.tar")
_SHARDED = re.compile(r"manifest[^/]*_(\d+)[^/]*\.jsonl?(\.gz)?")
_WHOLE = re.compile(r"[^/]*manifest[^/]*\.jsonl?(\.gz)?")


class TarredSet(NamedTuple):
    """The tars of one folder by their numbers, and the manifests of their rows; paths are relative to the root.

    Of a set of which only some files are named (``is_part``), the rows of other tars are no failures.
    """

    tars: dict[int, str]
    sharded: dict[int, str]
    whole: str | None
    is_part: bool


def tarred_sets(source: FileTree, tree: FileTree, pattern: str | None) -> list[TarredSet]:
    """The sets of a tree, by their folders.

    Args:
        source: What the user named: a folder, or a pattern of manifests or tars.
        tree: The folder, as :func:`~llaso_data.formats.files.shards.named_files` gives it.
        pattern: Glob of the tars that are asked for; None: all.
    """
    names_tars = pattern not in (None, _ALL)
    if source.is_file:
        names_tars = any(path.endswith(".tar") for path in expand_braces(source.root))
    is_part = source.is_file or names_tars
    matches = compile_glob(pattern or _ALL).fullmatch
    tars: dict[str, dict[int, str]] = {}
    tables: list[str] = []
    for path, _, _ in tree.files:
        folder, _, name = path.rpartition("/")
        if (found := _TAR.fullmatch(name)) is not None and matches(path):
            tars.setdefault(folder, {}).setdefault(int(found[1]), path)
        elif _WHOLE.fullmatch(name):
            tables.append(path)
    sharded: dict[str, dict[int, str]] = {}
    whole: dict[str, str] = {}
    for path in tables:
        folder, _, name = path.rpartition("/")
        home = folder if folder in tars else folder.rpartition("/")[0]
        found = _SHARDED.fullmatch(name)
        if home not in tars or (folder != home and folder.rpartition("/")[2] != FOLDER):
            continue
        if found is not None and "version" not in name:
            sharded.setdefault(home, {}).setdefault(int(found[1]), path)
        elif SHARD in (first_row(tree.uri(path)) or {}):
            if home in whole:
                tree.note_example("not read: an older manifest", whole[home])
            whole[home] = path  # ``…_version_2.json`` has the rows of those before it
    sets: list[TarredSet] = []
    for home, numbers in sorted(tars.items()):
        own = sharded.get(home, {})
        if own and names_tars:
            own = {number: path for number, path in own.items() if number in numbers}
        elif own and is_part:
            numbers = {number: path for number, path in numbers.items() if number in own}
        if own or home in whole:
            sets.append(TarredSet(numbers, own, None if own else whole[home], is_part))
    return sets


def numbered_tar(manifest: str) -> str | None:
    """The name of the tar that has the audios of ``manifest_N.json``; None: the name has no number."""
    found = _SHARDED.fullmatch(manifest)
    return None if found is None else f"audio_{found[1]}.tar"
