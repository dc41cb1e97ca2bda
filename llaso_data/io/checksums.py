"""Checksums of what is written to be read again: CRC-32, as the parts of samples have it, written ``crc32:0123abcd``.

They find damage, not forgery. JSON carries its own under :data:`KEY`, a folder has :data:`FOLDER_FILE`, and tables
have theirs inside (:mod:`llaso_data.io.sealed`). What an earlier version wrote has none, and is read as it is.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isal.isal_zlib import crc32

from llaso_data.errors import LLaSOError
from llaso_data.io import storage

KEY = "checksum"
TAG = "crc32:"
FOLDER_FILE = "checksums.json"

_VALUE = re.compile(TAG + "[0-9a-f]{8}")
_CHUNK_BYTES = 1 << 22
_WRITE_BYTES = 1 << 20


class DamagedError(LLaSOError):
    """Bytes that are not those that were written."""


def of_bytes(data: bytes) -> str:
    """The checksum of bytes."""
    return written(crc32(data))


def of_file(path: str | os.PathLike[str]) -> str:
    """The checksum of a local file."""
    crc, buffer = 0, memoryview(bytearray(_CHUNK_BYTES))
    with open(path, "rb", buffering=0) as file:
        while length := file.readinto(buffer):
            crc = crc32(buffer[:length], crc)
    return written(crc)


def written(crc: int) -> str:
    """A CRC-32 as it is stored."""
    return f"{TAG}{crc:08x}"


def sha256(uri: str) -> tuple[str, int]:
    """The SHA-256 of a file, here or on a store, in hexadecimal digits, and how many bytes it has.

    Raises:
        FileNotFoundError: where there is none.
        StoreError: where the store fails.
    """
    state, size_bytes = hashlib.sha256(), 0
    with storage.open_read(uri) as file:
        while chunk := file.read(_CHUNK_BYTES):
            state.update(chunk)
            size_bytes += len(chunk)
    return state.hexdigest(), size_bytes


class HashingWriter(io.BufferedWriter):
    """A new local file that is written once from its beginning to its end, and its SHA-256.

    Hashing what is written spares reading it back.
    """

    def __init__(self, path: str) -> None:
        self._hashed = _HashedFile(path)
        super().__init__(self._hashed, _WRITE_BYTES)

    def sha256(self) -> str:
        """The SHA-256 of all that was written, in hexadecimal digits. The file must be closed."""
        return self._hashed.state.hexdigest()


class _HashedFile(io.FileIO):
    def __init__(self, path: str) -> None:
        super().__init__(path, "wb")
        self.state = hashlib.sha256()

    def write(self, data: Any) -> int:
        length = super().write(data)
        self.state.update(memoryview(data)[:length])
        return length


# JSON


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """An object of JSON with the checksum of its content: that of its canonical form, without the checksum itself."""
    bare = {name: one for name, one in value.items() if name != KEY}
    return {**bare, KEY: of_bytes(_canonical(bare))}


def opened(value: Mapping[str, Any], place: str, remedy: str = "") -> dict[str, Any]:
    """Compare the checksum of an object of JSON.

    Args:
        value: the object, with or without a checksum.
        place: where it was read, for the message.
        remedy: what to do where it is damaged, for the end of the message.

    Returns:
        The object without its checksum.

    Raises:
        DamagedError: where the content has another checksum.
    """
    bare = {name: one for name, one in value.items() if name != KEY}
    # One flipped bit cannot change both the name of the field and the beginning of its value.
    lost = any(isinstance(one, str) and _VALUE.fullmatch(one) for one in bare.values())
    if lost or (KEY in value and value[KEY] != of_bytes(_canonical(bare))):
        raise DamagedError(
            f"{place} is damaged or was changed: its content has another checksum than it states{remedy}"
        )
    return bare


def write_json(uri: str, value: Mapping[str, Any]) -> None:
    """Write an object as :func:`llaso_data.io.storage.write_json` does, with its checksum."""
    storage.write_json(uri, sealed(value))


def read_json(uri: str, remedy: str = "") -> Any:
    """Read what :func:`write_json` wrote.

    Args:
        uri: the file.
        remedy: what to do where it is damaged, for the end of the message.

    Returns:
        The object without its checksum; other JSON as it is.

    Raises:
        DamagedError: where the content has another checksum than it states.
        FileNotFoundError: where there is no file.
        ValueError: where it is not JSON.
    """
    value = storage.read_json(uri)
    return opened(value, uri, remedy) if isinstance(value, dict) else value


def _canonical(value: Mapping[str, Any]) -> bytes:
    """Of the object as JSON gives it back: a number as a key is text then, and keys are sorted as text."""
    plain = json.loads(json.dumps(value))
    text = json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return text.encode("utf-8", "surrogatepass")


# Folders


def note_folder(folder: Path, name: str = FOLDER_FILE) -> None:
    """Write the checksums of all files of a local folder into it, as the file ``name``.

    Call it before the folder gets its name.
    """
    files = {path.relative_to(folder).as_posix(): of_file(path) for path in _files(folder) if path.name != name}
    write_json(str(folder / name), {"files": files})


def is_noted(folder: str | os.PathLike[str], name: str = FOLDER_FILE) -> bool:
    """Whether a folder has checksums; those that earlier versions wrote have none."""
    return os.path.exists(os.path.join(folder, name))


def faults(folder: str | os.PathLike[str], name: str = FOLDER_FILE, share: int = 0, shares: int = 1) -> list[str]:
    """Compare the files of a local folder with its checksums. Files that these do not name are not looked at.

    Args:
        folder: which :func:`note_folder` may have noted.
        name: of the file of checksums.
        share: the number of this process, from 0, where several look at a share of the files each.
        shares: how many processes there are.

    Returns:
        What is wrong, a sentence for each file; empty where nothing is, and where the folder has no checksums.
    """
    if not is_noted(folder, name):
        return []
    try:
        listed = read_json(os.path.join(folder, name))["files"]
        files = sorted(listed.items())
    except (DamagedError, ValueError, KeyError, TypeError, AttributeError):
        return [f"{name} is damaged"]
    checked = (_fault(os.path.join(folder, file), file, value) for file, value in files[share::shares])
    return [fault for fault in checked if fault]


def _fault(path: str, file: str, value: str) -> str | None:
    if file.startswith("/") or ".." in file.split("/"):
        return f"{file!r} is none of its files, and is named as one"
    try:
        return None if of_file(path) == value else f"{file} is damaged or was changed: it has another checksum"
    except FileNotFoundError:
        return f"{file} is missing"


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())
