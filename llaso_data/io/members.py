"""One file inside another as a seekable file: a member of a tar, a zip or an ark, a cell of a table."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import BinaryIO

from llaso_data.io import archive, ark, table_cells, zip_members
from llaso_data.uris import extension

_OPENERS: dict[str, Callable[[str, str], AbstractContextManager[BinaryIO]]] = {
    "ark": ark.open_entry,
    "zip": zip_members.open_member,
    "parquet": table_cells.open_cell,
    "arrow": table_cells.open_cell,
}
"""By the extension of the file that holds others; what has none of these is a tar."""


def open_member(uri: str, member: str) -> AbstractContextManager[BinaryIO]:
    """Open what lies inside a file.

    Args:
        uri: The tar, zip, ark or table.
        member: Its name as stored; of a table ``COLUMN/ROW`` (:mod:`llaso_data.io.table_cells`), of an ark the byte
            that the entry begins at.

    Raises:
        FileNotFoundError: There is no such file, member or cell.
        ArchiveError: The file is not what its extension says, or the member cannot be read.
    """
    return _OPENERS.get(extension(uri), archive.open_member)(uri, member)
