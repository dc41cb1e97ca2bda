"""Headers of the tars that are written here: plain ustar, in which only the name and the size of a header vary.

Headers are written by own code: the bytes of :mod:`tarfile` differ between Python versions.
``shards/SPEC.md`` describes the profile for other languages.
"""

from __future__ import annotations

from typing import IO

BLOCK_BYTES = 512
MAX_NAME_BYTES = 100  # ustar's name field; the prefix field is not used
MAX_PART_BYTES = 8**11 - 1  # eleven octal digits
OWNER = b"llaso"
END = bytes(2 * BLOCK_BYTES)
"""What ends an archive."""


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


def write_member(file: IO[bytes], name: str, data: bytes) -> int:
    """Write one member after those before it. :data:`END` is written after the last.

    Args:
        file: The archive.
        name: As of :func:`header`.
        data: The content.

    Returns:
        Where the content begins, in bytes from the start of the file.

    Raises:
        ValueError: The name or the size does not fit ustar.
    """
    file.write(header(name, len(data)))
    offset = file.tell()
    file.write(data)
    file.write(padding(len(data)))
    return offset
