"""Files, here or on an object store, through fsspec: list, read, and write whole or not at all.

docs/storage.md says what works on which store.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, Any

import fsspec

from llaso_data import extras, uris
from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, flock
from llaso_data.io.hub_filesystem import HubFileSystem
from llaso_data.io.local_files import open_regular, plain_stat
from llaso_data.io.store_errors import AddressError as AddressError
from llaso_data.io.store_errors import StoreError as StoreError
from llaso_data.io.store_errors import is_client_error, reading
from llaso_data.io.store_errors import reason as reason
from llaso_data.io.store_errors import writing as writing

ATTEMPTS = 8
"""Requests to S3 before an error counts; botocore waits longer after each, about half a minute in all."""

_AT_ONCE = 64  # questions to a store that are under way together
_S3FS_TRIES = 3  # s3fs repeats botocore's attempts where an answer breaks off or hangs, and nests: its 5 become 25
_SCRATCH = "llaso-scratch-"
_SCRATCH_YOUNG_S = 60.0  # a folder is made a moment before it is locked


def filesystem(uri: str, attempts: int = ATTEMPTS) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI (or plain path) and the path on it.

    The only place where an address becomes a file system. fsspec's own way there takes names apart at ``::``, and makes
    whatever they say. Raises AddressError where fsspec knows none, or it is of a kind that is opened for nobody.
    """
    if is_local(uri):
        fs = fsspec.filesystem("file")
        path = uri.removeprefix("file://")
        # Made absolute here: of a relative one fsspec would take `local:` off.
        path = path if path.startswith(("/", "~")) else f"{os.getcwd()}/{path.removeprefix('./')}"
        return fs, str(fs._strip_protocol(path))
    if (why := uris.closed(uri)) is not None:
        raise AddressError(f"{uri}: {why}")
    kind = scheme(uri)
    if kind == "hf" and not uri.startswith("hf://buckets/"):
        return (hub := HubFileSystem()), str(hub._strip_protocol(uri))
    try:
        made = fsspec.get_filesystem_class(kind)
        fs = fsspec.filesystem(kind, **{**made._get_kwargs_from_urls(uri), **_options(kind, attempts)})
        path = made._strip_protocol(uri)
    except Exception as error:  # the store's package is not installed; no such protocol; no address for it
        if isinstance(error, OSError) and not is_client_error(error):
            raise
        unknown = isinstance(error, ImportError) or (isinstance(error, ValueError) and "not known" in str(error))
        if unknown and (line := extras.store_line(kind)) is not None:
            raise AddressError(f"{uri}: {kind}:// needs a package that is not installed: {line}") from error
        raise (StoreError if is_client_error(error) else AddressError)(f"{uri}: {reason(error)}") from error
    if kind in ("s3", "s3a"):
        fs.retries = _S3FS_TRIES
    return fs, str(path)


def scheme(uri: str) -> str:
    """``s3`` of ``s3://bucket/x``; ``file`` of a plain path."""
    return uris.scheme(uri) or "file"


def _options(kind: str, attempts: int) -> dict[str, Any]:
    """Nothing is believed from a listing that was seen before: other processes write here too."""
    if kind in ("gs", "gcs"):
        return {"use_listings_cache": False}
    if kind not in ("s3", "s3a"):
        return {}
    # The variables are botocore's own; only where they are silent is it our number.
    retries = {
        "mode": os.environ.get("AWS_RETRY_MODE", "standard"),
        "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", attempts)),
    }
    configured = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"use_listings_cache": False, "config_kwargs": {"retries": retries, **configured}}


def is_local(uri: str) -> bool:
    """Whether an address is a path on a disk, plain or as ``file://``."""
    return scheme(uri) == "file"


def absolute(uri: str) -> str:
    """A path made absolute; a URI as it is, without a slash at its end.

    Raises:
        LLaSOError: for one that holds a password or a signature, that leads nowhere, or that is a chain.
    """
    if "\0" in uri:
        raise AddressError(f"{uri!r}: a path without NUL characters is expected")
    if uris.chained(uri):  # as a path it would be a folder ``x::s3:`` here
        raise AddressError(f"{uris.masked(uri, alone=True)}: this address is a chain (`::`); name a disk or a store")
    if (held := uris.credentials(uri)) is not None:
        raise LLaSOError(f"{uris.shown(uri)}: this address {held}")
    if not is_local(uri):
        if (why := uris.placeless(uri)) is not None:
            raise AddressError(f"{uri}: this address {why}")
        return uri.rstrip("/")
    return os.path.abspath(os.path.expanduser(uri.removeprefix("file://")))


def join(uri: str, *names: str) -> str:
    """The address of what lies below ``uri`` under these names."""
    return "/".join([uri.rstrip("/"), *names])


def exists(uri: str) -> bool:
    """Whether there is a file or a folder. Raises StoreError where the store fails."""
    fs, path = filesystem(uri)
    with reading(uri, is_local(uri)):
        return bool(fs.exists(path))


def is_file(uri: str) -> bool:
    """Whether there is a file. Raises StoreError where the store fails."""
    fs, path = filesystem(uri)
    with reading(uri, is_local(uri)):
        return bool(fs.isfile(path))


def listing(uri: str) -> list[dict[str, Any]]:
    """List every file below a folder, without those whose names begin with a dot.

    On a disk links to folders are followed, unless what they lead to is listed already.

    Returns:
        ``{"name", "path", "size", "version"}`` of each: its name on the file system, its path relative to the folder,
        its size in bytes and what :func:`version` gives; sorted by ``path``. Empty where there is no such folder.
    """
    fs, root = filesystem(uri)
    root = root.rstrip("/")
    with reading(uri, is_local(uri)):
        fs.invalidate_cache(root)  # other processes write here too
        there = isinstance(fs, HubFileSystem) or fs.exists(root)  # a hub says that by the same answer
        infos = fs.find(root, detail=True) if there else {}
    if is_local(uri):
        infos = _followed(fs, root, infos)
    rows = [
        {
            "name": name,
            "path": name[len(root) :].lstrip("/"),
            "size": int(info.get("size") or 0),
            "version": version(info),
        }
        for name, info in infos.items()
        if not os.path.basename(name).startswith(".") and not name.endswith("/")  # the mark of an empty folder
    ]
    return sorted(rows, key=lambda row: row["path"])


def _followed(fs: fsspec.AbstractFileSystem, root: str, infos: dict[str, Any]) -> dict[str, Any]:
    """The files of a folder with those behind links to other folders, each folder once: links may form loops."""
    listed = [os.path.realpath(root)]
    links = [name for name, info in infos.items() if info.get("islink")]
    while links:
        link = links.pop(0)
        if not os.path.isdir(link):
            continue  # to a file, or to nothing, which reading it will say
        del infos[link]
        real = os.path.realpath(link)
        if any(os.path.commonpath((real, above)) == above for above in listed):
            continue
        listed.append(real)
        behind = fs.find(link, detail=True)
        infos.update(behind)
        links += [name for name, info in behind.items() if info.get("islink")]
    return infos


def version(info: dict[str, Any]) -> str:
    """What changes when a file's bytes do: ETag where the store has one, else size and modification time."""
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return str(etag).strip('"')
    names = ("mtime", "LastModified", "last_modified", "Last-Modified")
    return f"{info.get('size')}-{next((info[name] for name in names if info.get(name)), '')}"


def stat(uri: str) -> dict[str, Any]:
    """``{"size", "version"}`` of one file: bytes, and what :func:`version` gives.

    Raises:
        FileNotFoundError: where there is none.
        StoreError: where the store fails.
    """
    status = _stat_here(uri) if is_local(uri) else stat_many([uri])[0]
    if status is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return status


def stat_many(names: Sequence[str]) -> list[dict[str, Any] | None]:
    """:func:`stat` of files of one file system, None where there is none; a store is asked for many at once."""
    if all(map(is_local, names)):
        return [_stat_here(name) for name in names]
    statuses: list[dict[str, Any] | None] = []
    for start in range(0, len(names), _AT_ONCE):
        statuses += map(_status, names[start:], _infos(names[start : start + _AT_ONCE]))
    return statuses


def _stat_here(uri: str) -> dict[str, Any] | None:
    """:func:`stat` of a file on a disk, or None; as fsspec says it, but for most files without its detours."""
    try:
        status = plain_stat(uri.removeprefix("file://"))
    except FileNotFoundError:
        return None
    if status is not None:
        return {"size": status.st_size, "version": f"{status.st_size}-{status.st_mtime or ''}"}  # as `version` says
    return _status(uri, _infos([uri])[0])


def _status(uri: str, info: Any) -> dict[str, Any] | None:
    if isinstance(info, FileNotFoundError):
        return None
    with reading(uri, is_local(uri)):
        if isinstance(info, BaseException):
            raise info
    return {"size": int(info.get("size") or 0), "version": version(info)}


def _infos(names: Sequence[str]) -> list[Any]:
    """What the file system says of each, or its exception."""
    fs, _ = filesystem(names[0])
    paths = [filesystem(name)[1] for name in names]

    async def ask() -> list[Any]:
        return await asyncio.gather(*map(fs._info, paths), return_exceptions=True)

    if fs.async_impl and not fs.asynchronous:
        return list(fsspec.asyn.sync(fs.loop, ask))
    return [_answer(fs.info, path) for path in paths]


def _answer(info: Callable[[str], Any], path: str) -> Any:
    try:
        return info(path)
    except Exception as error:
        return error


def read_bytes(uri: str) -> bytes:
    """All bytes of a file.

    Raises:
        FileNotFoundError: where there is none.
        StoreError: where the store fails.
    """
    fs, path = filesystem(uri)
    with reading(uri, is_local(uri)):
        data: bytes = fs.cat_file(path)
    return data


def read_many(names: Sequence[str]) -> list[bytes | None]:
    """All bytes of each of several files of one store, fetched at once; None where there is none."""
    if not names:
        return []
    fs, _ = filesystem(names[0])
    every = [None] * len(names)
    contents: list[bytes | None] = []
    # Not `cat`, which takes names for patterns.
    answers = fs.cat_ranges([filesystem(name)[1] for name in names], every, every, on_error="return")
    for name, answer in zip(names, answers, strict=True):
        with reading(name, is_local(name)):
            if isinstance(answer, BaseException) and not isinstance(answer, FileNotFoundError):
                raise answer
        contents.append(answer if isinstance(answer, bytes) else None)
    return contents


def read_json(uri: str) -> Any:
    """Raises ValueError for what is not JSON, or nested so deeply that Python gives up."""
    try:
        return json.loads(read_bytes(uri))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@contextmanager
def open_read(uri: str) -> Iterator[IO[bytes]]:
    """A file open for reading. On a disk what is neither file nor folder is an OSError: a pipe would never open."""
    path, local = uri.removeprefix("file://"), is_local(uri)
    try:
        if local:
            opened = open_regular(path if path.startswith("/") else filesystem(uri)[1])
        else:
            fs, path = filesystem(uri)
            with reading(uri, False):
                opened = fs.open(path, "rb")
    except ValueError as error:  # NUL, or half a character: no disk has such names
        raise OSError(errno.EINVAL, reason(error), path) from error
    with nullcontext() if local else reading(uri, False, asking=False), opened as file:
        yield file


@contextmanager
def whole(uri: str) -> Iterator[str]:
    """A local path to write to; on leaving without an error it appears under ``uri`` at once and complete.

    On a disk this is :func:`llaso_data.io.atomic.whole_file`. On an object store: a local temporary file, then one PUT
    (or one multipart upload, which appears when it is completed). What had the name is replaced.

    Raises:
        StoreError: where the disk is full, or the place cannot be written to.
    """
    fs, path = filesystem(uri)
    if not is_local(uri):
        with scratch() as folder:
            temporary = os.path.join(folder, os.path.basename(path))
            with writing(f"{uri} (on its way there it is written to {folder})", tempfile.gettempdir()):
                yield temporary
            with writing(uri):
                fs.put_file(temporary, path)
        return
    with writing(uri, os.path.dirname(path)), atomic.whole_file(path) as temporary:
        yield temporary


def write_bytes(uri: str, data: bytes) -> None:
    """Write a file as :func:`whole` does."""
    with whole(uri) as path, open(path, "wb") as file:
        file.write(data)


def write_json(uri: str, value: Any) -> None:
    """JSON with sorted keys and a final newline: the same value gives the same bytes."""
    write_bytes(uri, json_bytes(value, indent=2, sort_keys=True) + b"\n")


def json_bytes(value: Any, **options: Any) -> bytes:
    """JSON in UTF-8; all of it in ASCII where it has half of a surrogate pair, which UTF-8 cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False, **options).encode()
    except UnicodeEncodeError:
        return json.dumps(value, **options).encode()


@contextmanager
def scratch() -> Iterator[str]:
    """A folder in the system's place for temporary files, locked while it is used and gone afterwards."""
    with writing(f"temporary files in {tempfile.gettempdir()}", tempfile.gettempdir()):
        folder = tempfile.mkdtemp(prefix=_SCRATCH)
        descriptor = os.open(folder, os.O_RDONLY)
        flock.lock(descriptor, wait=True)
    try:
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(uri: str) -> None:
    """Remove the temporary files of :func:`whole` that a killed process left right in a local folder.

    For the start of a run, under its lock: a writer that is still alive loses its file (:mod:`llaso_data.io.atomic`).

    Raises:
        StoreError: where a file is in the folder's place, or the folder may not be changed.
    """
    if not is_local(uri):
        return  # there the temporary files are not beside the target
    _, folder = filesystem(uri)
    if not os.path.lexists(folder):
        return
    with writing(folder):
        atomic.sweep_files(folder)


def sweep_scratch() -> None:
    """Remove the folders of :func:`scratch` whose owner was killed: the kernel gave their locks back."""
    with os.scandir(tempfile.gettempdir()) as entries:
        folders = [entry.path for entry in entries if entry.name.startswith(_SCRATCH)]
    for folder in folders:
        try:
            if time.time() - os.stat(folder).st_mtime < _SCRATCH_YOUNG_S:
                continue
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:  # another's, or gone by now
            continue
        try:
            with suppress(OSError):
                if flock.lock(descriptor, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
        finally:
            os.close(descriptor)
