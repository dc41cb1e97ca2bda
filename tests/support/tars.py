"""Tars as other programs write them, for tests."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable

Entry = tuple[str, bytes | str]
"""A name, and a content; of a link the target, after ``-> `` (symbolic) or ``=> `` (hard)."""


def packed(entries: Iterable[Entry], format: int = tarfile.GNU_FORMAT) -> bytes:
    """A tar of these members in their order; a name that ends in a slash is a folder."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=format) as archive:
        for name, content in entries:
            archive.addfile(*_member(name, content))
    return buffer.getvalue()


def _member(name: str, content: bytes | str) -> tuple[tarfile.TarInfo, io.BytesIO | None]:
    info = tarfile.TarInfo(name.rstrip("/"))
    if name.endswith("/"):
        info.type = tarfile.DIRTYPE
    if isinstance(content, bytes):
        info.size = len(content)
        return info, io.BytesIO(content)
    arrow, _, info.linkname = content.partition(" ")
    info.type = {"->": tarfile.SYMTYPE, "=>": tarfile.LNKTYPE}[arrow]
    return info, None


def sparse(name: str, data: bytes) -> bytes:
    """A file that GNU tar stored sparse (without a hole), and the archive's end."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[156:157] = b"S"
    block[386:410] = b"%011o\0%011o\0" % (0, len(data))
    block[483:495] = b"%011o\0" % len(data)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data + bytes(-len(data) % 512) + bytes(1024)
