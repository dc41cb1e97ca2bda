"""Protect the user's files: a command replaces or removes only what such a command wrote.

Every command of both programs asks here before any work. The code that writes a kind of file also knows how to
recognise it; docs/storage.md lists the kinds.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, storage

_ENDS_BYTES = 1 << 16  # a mark stands near the beginning of a file; in a PDF, near its end


def refuse(uri: str, by: str, ours: Callable[[str], bool], option: str = "--out") -> None:
    """Refuse to replace what the command did not write.

    Args:
        uri: the file that would be replaced; nothing happens where there is none.
        by: the command, such as ``llaso-data card``.
        ours: tells whether the file at a URI is one that the command wrote.
        option: by which the user names another place.

    Raises:
        LLaSOError: where something else stands there, be it a folder, a device or a link that leads nowhere.
    """
    if not is_there(uri):
        return
    if storage.is_local(uri) and not os.path.isfile(storage.absolute(uri)):
        raise LLaSOError(f"{uri} exists and is no file; write elsewhere with {option}")
    if not ours(uri):
        raise foreign(uri, by, option)


def foreign(uri: str, by: str, option: str = "--out") -> LLaSOError:
    """The error for a file that the command did not write."""
    return LLaSOError(
        f"{uri} exists and was not written by `{by}`, or was changed since; "
        f"move it away, or write elsewhere with {option}"
    )


def is_there(uri: str) -> bool:
    """Whether a name is taken, also by a link that leads nowhere."""
    return os.path.lexists(storage.absolute(uri)) if storage.is_local(uri) else storage.exists(uri)


def json_at(uri: str) -> Any:
    """The JSON in a file; None where there is none."""
    try:
        return storage.read_json(uri)
    except (FileNotFoundError, ValueError):
        return None


def json_of(format: str) -> Callable[[str], bool]:
    """A test for :func:`refuse`: whether a file is a JSON object with this value of ``format``."""

    def is_ours(uri: str) -> bool:
        content = json_at(uri)
        return isinstance(content, dict) and content.get("format") == format

    return is_ours


def marked(mark: str) -> Callable[[str], bool]:
    """A test for :func:`refuse`: whether ``mark`` is in the first or last 64 KiB of a file."""

    def is_ours(uri: str) -> bool:
        with storage.open_read(uri) as file:
            size_bytes = file.seek(0, os.SEEK_END)
            file.seek(0)
            ends = file.read(_ENDS_BYTES)
            file.seek(max(0, size_bytes - _ENDS_BYTES))
            return mark.encode() in ends or mark.encode() in file.read(_ENDS_BYTES)

    return is_ours


def on_disk(out: str, what: str) -> Path:
    """The absolute path of an output that only a disk can hold.

    Args:
        out: where the user wants it.
        what: what messages call it.

    Raises:
        LLaSOError: for a store; taken as a path, it would be a folder ``s3:`` on this disk.
    """
    path = storage.absolute(out)
    if not storage.is_local(out):
        raise LLaSOError(
            f"{out}: {what} is written to a disk, not to a store; name a folder here, and copy it there afterwards"
        )
    return Path(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Write a folder aside, and give it its name when the block ends without an error.

    What had the name is removed then: ask :func:`refuse` first. See :func:`llaso_data.io.atomic.whole_folder`.

    Raises:
        StoreError: where the disk is full, or the place cannot be written to.
    """
    with storage.writing(str(folder), str(folder.parent)), atomic.whole_folder(folder) as written:
        yield written
