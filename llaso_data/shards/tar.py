"""The tar profile of a shard: plain ustar, in which only the name and the size of a header vary.

Headers are written by own code: the bytes of :mod:`tarfile` differ between Python versions.
``shards/SPEC.md`` describes the profile for other languages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from llaso_data.errors import LLaSOError

BLOCK_BYTES = 512
MAX_NAME_BYTES = 100  # ustar's name field; the prefix field is not used
MAX_PART_BYTES = 8**11 - 1  # eleven octal digits
OWNER = b"llaso"
END = bytes(2 * BLOCK_BYTES)


class ShardError(LLaSOError):
    """A shard contradicts its index or the format."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """One file of a tar."""

    name: str
    offset: int  # of its content, bytes from the start of the tar
    size: int  # bytes


def header(name: str, size: int) -> bytes:
    """The header of a part.

    Args:
        name: 1 to 100 bytes of UTF-8.
        size: Bytes of the content, at most :data:`MAX_PART_BYTES`.

    Returns:
        512 bytes.

    Raises:
        ValueError: The name or the size does not fit ustar.
    """
    encoded = name.encode()
    if not 0 < len(encoded) <= MAX_NAME_BYTES:
        raise ValueError(f"the name of a part must have 1 to {MAX_NAME_BYTES} bytes: {name!r}")
    if not 0 <= size <= MAX_PART_BYTES:
        raise ValueError(f"{name}: {size} bytes do not fit a ustar header")
    fields = (
        encoded.ljust(100, b"\0"),
        b"0000644\0",  # mode
        b"0000000\0",  # uid
        b"0000000\0",  # gid
        b"%011o\0" % size,
        b"00000000000\0",  # mtime
        b" " * 8,  # checksum, counted as spaces
        b"0",  # a regular file
        bytes(100),  # link name
        b"ustar\x0000",
        OWNER.ljust(32, b"\0"),
        OWNER.ljust(32, b"\0"),
        b"0000000\0",  # device numbers
        b"0000000\0",
    )
    block = b"".join(fields).ljust(BLOCK_BYTES, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def padding(size: int) -> bytes:
    """The zero bytes that fill a part's last block."""
    return bytes(-size % BLOCK_BYTES)


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
