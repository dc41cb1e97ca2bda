"""Sets of numbered files: the folder of one, or a pattern that names some of them."""

from __future__ import annotations

from llaso_data.errors import LLaSOError
from llaso_data.formats.files.braces import expand_braces
from llaso_data.formats.files.file_tree import FileTree, open_tree

_TABLES = (".json", ".jsonl", ".json.gz", ".jsonl.gz")


def named_files(tree: FileTree, inner: str = "sharded_manifests") -> FileTree:
    """The folder that a set of numbered files lies in, with its files.

    Of a pattern (``a/audio_{0..127}.tar``), or of one file, that is the folder which it lies in; of the files of the
    same kind only those that it names are listed. A folder stays as it is.

    Args:
        tree: What the user named.
        inner: A folder of manifests inside the folder of the set. A pattern of manifests in it has the set around it.

    Raises:
        LLaSOError: A file that the pattern names is not there.
    """
    if not tree.is_file:
        return tree
    paths = expand_braces(tree.root)
    root = tree.root.partition("{")[0].rpartition("/")[0]  # not deeper: paths below it are parts of ids
    if root.rpartition("/")[2] == inner:
        root = root.rpartition("/")[0]
    named = {path[len(root) + 1 :] for path in paths}
    around = open_tree(root, ())
    missing = sorted(named - {file.path for file in around.files})
    if missing:
        raise LLaSOError(f"{tree.root}: {len(missing)} of {len(named)} files are not there, the first is {missing[0]}")
    endings = (".tar",) if any(name.endswith(".tar") for name in named) else _TABLES
    files = tuple(file for file in around.files if file.path in named or not file.path.endswith(endings))
    return FileTree(around.root, files=files, notes=tree.notes, labels=tree.labels)
