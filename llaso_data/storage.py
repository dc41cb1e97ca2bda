"""Files, here or on an object store, through fsspec: list, read, and write whole or not at all."""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

import fsspec

from llaso_data.errors import LLaSOError

_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")


def filesystem(uri: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI (or plain path) and the path on it; raises LLaSOError where fsspec knows none."""
    try:
        fs, path = fsspec.core.url_to_fs(uri)
    except (ImportError, ValueError) as error:  # the store's package is not installed; no such protocol
        raise LLaSOError(f"{uri}: {error}") from error
    return fs, str(path)


def is_local(uri: str) -> bool:
    return "://" not in uri or uri.startswith("file://")


def absolute(uri: str) -> str:
    """A path made absolute; a URI as it is."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    return os.path.abspath(os.path.expanduser(uri)) if is_local(uri) else uri.rstrip("/")


def join(uri: str, *names: str) -> str:
    return "/".join([uri.rstrip("/"), *names])


def exists(uri: str) -> bool:
    fs, path = filesystem(uri)
    return bool(fs.exists(path))


def listing(uri: str) -> list[dict[str, Any]]:
    """Every file below a folder: ``{"name", "path", "size", "version"}`` sorted by ``path``, which is relative."""
    fs, root = filesystem(uri)
    root = root.rstrip("/")
    fs.invalidate_cache(root)  # other processes write here too
    found = fs.find(root, detail=True) if fs.exists(root) else {}
    rows = [
        {
            "name": name,
            "path": name[len(root) :].lstrip("/"),
            "size": int(info.get("size") or 0),
            "version": version(info),
        }
        for name, info in found.items()
        if not os.path.basename(name).startswith(".")
    ]
    return sorted(rows, key=lambda row: row["path"])


def version(info: dict[str, Any]) -> str:
    """What changes when a file's bytes do: ETag where the store has one, else size and modification time."""
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return str(etag).strip('"')
    return f"{info.get('size')}-{info.get('mtime') or info.get('LastModified') or info.get('last_modified') or ''}"


def stat(uri: str) -> dict[str, Any]:
    """``{"size", "version"}`` of one file; raises FileNotFoundError."""
    fs, path = filesystem(uri)
    info = fs.info(path)
    return {"size": int(info.get("size") or 0), "version": version(info)}


def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    data: bytes = fs.cat_file(path)
    return data


def read_json(uri: str) -> Any:
    return json.loads(read_bytes(uri))


@contextmanager
def open_read(uri: str) -> Iterator[IO[bytes]]:
    fs, path = filesystem(uri)
    with fs.open(path, "rb") as file:
        yield file


@contextmanager
def whole(uri: str) -> Iterator[str]:
    """A local path to write to; on leaving without an error it appears under ``uri`` at once and complete.

    Locally: temporary file in the same folder, fsync, rename. On an object store: a local temporary file, one PUT.
    """
    fs, path = filesystem(uri)
    if is_local(uri):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = f"{os.path.dirname(path)}/.{os.path.basename(path)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _fsync_folder(os.path.dirname(path))
        finally:
            if os.path.exists(temporary):
                os.remove(temporary)
        return
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        temporary = os.path.join(folder, os.path.basename(path))
        yield temporary
        fs.put_file(temporary, path)


def sweep(uri: str) -> None:
    """Remove the temporary files of :func:`whole` that a killed process left right in a local folder.

    For the start of a run: what another process is about to rename would be lost to it.
    """
    if not is_local(uri):
        return  # there the temporary files are not beside the target
    _, folder = filesystem(uri)
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if _TEMPORARY.fullmatch(name):
            with suppress(FileNotFoundError):  # its writer was alive after all, and is done
                os.remove(os.path.join(folder, name))


def write_bytes(uri: str, data: bytes) -> None:
    with whole(uri) as path, open(path, "wb") as file:
        file.write(data)


def write_json(uri: str, value: Any) -> None:
    """JSON with sorted keys and a final newline: the same value gives the same bytes."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    write_bytes(uri, (text + "\n").encode())


def _fsync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
