"""The tar profile of a shard: plain ustar, in which only the name and the size of a header vary.

``shards/SPEC.md`` describes the profile for other languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from llaso_data.errors import LLaSOError
from llaso_data.io.tar_headers import BLOCK_BYTES as BLOCK_BYTES
from llaso_data.io.tar_headers import END as END
from llaso_data.io.tar_headers import MAX_NAME_BYTES as MAX_NAME_BYTES
from llaso_data.io.tar_headers import header as header
from llaso_data.io.tar_headers import padding as padding


class ShardError(LLaSOError):
    """A shard contradicts its index or the format."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file of a tar."""

    name: str
    offset: int  # of its content, bytes from the start of the tar
    size: int  # bytes


def members(file: IO[bytes]) -> Iterator[TarMember]:
    """Every member of a tar of this profile, in order.

    Args:
        file: Seekable. At each member its position is at the member's content.

    Raises:
        ShardError: A header is not as :func:`header` makes it, padding is not zero, the end is missing, or bytes
            follow the end.
    """
    offset = 0
    while True:
        file.seek(offset)
        block = file.read(BLOCK_BYTES)
        if block == END[:BLOCK_BYTES]:
            if file.read(BLOCK_BYTES + 1) != END[:BLOCK_BYTES]:
                raise ShardError(f"the tar does not end with exactly two zero blocks (byte {offset})")
            return
        name, size = _parse(block, offset)
        content = offset + BLOCK_BYTES
        file.seek(content)
        yield TarMember(name, content, size)
        file.seek(content + size)
        fill = padding(size)
        if file.read(len(fill)) != fill:
            raise ShardError(f"{name}: the tar is cut short, or the padding after the part is not zero")
        offset = content + size + len(fill)


def is_ours(block: bytes) -> bool:
    """Whether a tar's first block is a header of this profile."""
    try:
        _parse(block, 0)
    except ShardError:
        return False
    return True


def _parse(block: bytes, offset: int) -> tuple[str, int]:
    if len(block) < BLOCK_BYTES:
        raise ShardError(f"the tar is cut short at byte {offset}")
    try:
        name = block[:100].rstrip(b"\0").decode()
        size = int(block[124:135], 8)
        expected = header(name, size)
    except ValueError as error:
        raise ShardError(f"no readable tar header at byte {offset}") from error
    if block != expected:
        raise ShardError(f"{name!r}: the tar header at byte {offset} is not of the shard profile")
    return name, size
