"""Files, here or on an object store, through fsspec: list, read, and write whole or not at all.

docs/storage.md says what works on which store.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
import re
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

import fsspec

from llaso_data.errors import LLaSOError

ATTEMPTS = 8
"""Requests to S3 before an error counts; botocore waits longer after each, about half a minute in all."""

_AT_ONCE = 64  # questions to a store that are under way together
_S3FS_TRIES = 3  # s3fs repeats botocore's attempts where an answer breaks off or hangs, and nests: its 5 become 25
_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_TEMPORARY = re.compile(r"\..+\.\d+-[0-9a-f]{8}\.tmp")
_SCRATCH = "llaso-scratch-"
_SCRATCH_YOUNG_S = 60.0  # a folder is made a moment before it is locked
_CLIENTS = frozenset(
    ("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "gcsfs", "google", "httpx", "httpx2", "huggingface_hub",
     "requests", "urllib3")
)  # fmt: skip
"""Packages whose exceptions mean that a store could not be asked; many of them are no OSError."""


class StoreError(LLaSOError):
    """A disk or store that failed or refuses: it says nothing of what lies on it."""


def filesystem(uri: str, attempts: int = ATTEMPTS) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a URI (or plain path) and the path on it; raises LLaSOError where fsspec knows none."""
    try:
        fs, path = fsspec.core.url_to_fs(uri, **_options(uri, attempts))
    except Exception as error:  # the store's package is not installed; no such protocol; no address for it
        if isinstance(error, OSError) and not _is_clients(error):
            raise
        kind = StoreError if _is_clients(error) else LLaSOError
        raise kind(f"{uri}: {reason(error)}") from error
    if uri.startswith(("s3://", "s3a://")):
        fs.retries = _S3FS_TRIES
    return fs, str(path)


def scheme(uri: str) -> str:
    """``s3`` of ``s3://bucket/x``; ``file`` of a plain path."""
    return "file" if is_local(uri) else uri.partition("://")[0].rpartition("::")[2]


def _options(uri: str, attempts: int) -> dict[str, Any]:
    """Nothing is believed from a listing that was seen before: other processes write here too."""
    kind = uri.partition("://")[0]
    if kind in ("gs", "gcs"):
        return {"use_listings_cache": False}
    if kind not in ("s3", "s3a"):
        return {}
    # The variables are botocore's own; only where they are silent is it our number.
    retries = {
        "mode": os.environ.get("AWS_RETRY_MODE", "standard"),
        "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", attempts)),
    }
    said = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    return {"use_listings_cache": False, "config_kwargs": {"retries": retries, **said}}


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
    with _reading(uri):
        return bool(fs.exists(path))


def listing(uri: str) -> list[dict[str, Any]]:
    """Every file below a folder: ``{"name", "path", "size", "version"}`` sorted by ``path``, which is relative.

    On a disk links to folders are followed, unless what they lead to is listed already.
    """
    fs, root = filesystem(uri)
    root = root.rstrip("/")
    with _reading(uri):
        fs.invalidate_cache(root)  # other processes write here too
        found = fs.find(root, detail=True) if fs.exists(root) else {}
    if is_local(uri):
        found = _followed(fs, root, found)
    rows = [
        {
            "name": name,
            "path": name[len(root) :].lstrip("/"),
            "size": int(info.get("size") or 0),
            "version": version(info),
        }
        for name, info in found.items()
        if not os.path.basename(name).startswith(".") and not name.endswith("/")  # the mark of an empty folder
    ]
    return sorted(rows, key=lambda row: row["path"])


def _followed(fs: fsspec.AbstractFileSystem, root: str, found: dict[str, Any]) -> dict[str, Any]:
    """The files of a folder with those behind links to other folders, each folder once: links may form loops."""
    listed = [os.path.realpath(root)]
    links = [name for name, info in found.items() if info.get("islink")]
    while links:
        link = links.pop(0)
        if not os.path.isdir(link):
            continue  # to a file, or to nothing, which reading it will say
        del found[link]
        real = os.path.realpath(link)
        if any(os.path.commonpath((real, above)) == above for above in listed):
            continue
        listed.append(real)
        behind = fs.find(link, detail=True)
        found.update(behind)
        links += [name for name, info in behind.items() if info.get("islink")]
    return found


def version(info: dict[str, Any]) -> str:
    """What changes when a file's bytes do: ETag where the store has one, else size and modification time."""
    etag = info.get("ETag") or info.get("etag")
    if etag:
        return str(etag).strip('"')
    names = ("mtime", "LastModified", "last_modified", "Last-Modified")
    return f"{info.get('size')}-{next((info[name] for name in names if info.get(name)), '')}"


def stat(uri: str) -> dict[str, Any]:
    """``{"size", "version"}`` of one file; raises FileNotFoundError."""
    (found,) = stat_many([uri])
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), uri)
    return found


def stat_many(uris: Sequence[str]) -> list[dict[str, Any] | None]:
    """``{"size", "version"}`` of files of one file system, None where there is none; of a store many at once."""
    found: list[dict[str, Any] | None] = []
    for start in range(0, len(uris), _AT_ONCE):
        for uri, info in zip(uris[start:], _infos(uris[start : start + _AT_ONCE]), strict=False):
            if isinstance(info, FileNotFoundError):
                found.append(None)
                continue
            with _reading(uri):
                if isinstance(info, BaseException):
                    raise info
            found.append({"size": int(info.get("size") or 0), "version": version(info)})
    return found


def _infos(uris: Sequence[str]) -> list[Any]:
    """What the file system says of each, or its exception."""
    fs, _ = filesystem(uris[0])
    paths = [filesystem(uri)[1] for uri in uris]

    async def ask() -> list[Any]:
        return await asyncio.gather(*map(fs._info, paths), return_exceptions=True)

    if fs.async_impl and not fs.asynchronous:
        answers: list[Any] = fsspec.asyn.sync(fs.loop, ask)
        return answers
    return [_answer(fs.info, path) for path in paths]


def _answer(info: Callable[[str], Any], path: str) -> Any:
    try:
        return info(path)
    except Exception as error:
        return error


def read_bytes(uri: str) -> bytes:
    fs, path = filesystem(uri)
    with _reading(uri):
        data: bytes = fs.cat_file(path)
    return data


def read_json(uri: str) -> Any:
    """Raises ValueError for what is not JSON, or nested so deeply that Python gives up."""
    try:
        return json.loads(read_bytes(uri))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


@contextmanager
def open_read(uri: str) -> Iterator[IO[bytes]]:
    """A file open for reading. On a disk what is neither file nor folder is an OSError: a pipe would never open."""
    fs, path = filesystem(uri)
    if is_local(uri) and not (os.path.isfile(path) or os.path.isdir(path)) and os.path.exists(path):
        raise OSError(errno.EINVAL, "not a regular file", path)
    with _reading(uri), fs.open(path, "rb") as file:
        yield file


@contextmanager
def whole(uri: str) -> Iterator[str]:
    """A local path to write to; on leaving without an error it appears under ``uri`` at once and complete.

    Locally: temporary file in the same folder, fsync, rename. On an object store: a local temporary file, one PUT
    (or one multipart upload, which appears when it is completed). Raises StoreError where the disk is full, or the
    place cannot be written to.
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
    folder = os.path.dirname(path)
    temporary = f"{folder}/.{os.path.basename(path)}.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    with writing(uri, folder):
        os.makedirs(folder, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            synced(folder)
        finally:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.remove(temporary)


@contextmanager
def writing(place: str, folder: str | None = None) -> Iterator[None]:
    """Errors of disks and stores inside come out as one StoreError that names ``place``.

    ``folder`` is where the disk is that is written to; None for an object store.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StoreError(_full(place, folder, error)) from error
        if isinstance(error, OSError) or _is_clients(error):
            raise StoreError(f"{place}: cannot be written ({reason(error)})") from error
        raise


def write_bytes(uri: str, data: bytes) -> None:
    with whole(uri) as path, open(path, "wb") as file:
        file.write(data)


def write_json(uri: str, value: Any) -> None:
    """JSON with sorted keys and a final newline: the same value gives the same bytes."""
    text = json.dumps(value, ensure_ascii=False, indent=2, sort_keys=True)
    write_bytes(uri, (text + "\n").encode())


@contextmanager
def scratch() -> Iterator[str]:
    """A folder in the system's place for temporary files, locked while it is used and gone afterwards."""
    import fcntl

    with writing(f"temporary files in {tempfile.gettempdir()}", tempfile.gettempdir()):
        folder = tempfile.mkdtemp(prefix=_SCRATCH)
        descriptor = os.open(folder, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield folder
    finally:
        os.close(descriptor)
        shutil.rmtree(folder, ignore_errors=True)


def sweep(uri: str) -> None:
    """Remove the temporary files of :func:`whole` that a killed process left right in a local folder.

    For the start of a run, under its lock. A writer that is still alive, such as a worker on another machine whose
    driver died, loses its file: its rename then fails, and nothing appears under the final name. Raises StoreError
    where a file is in the folder's place, or the folder may not be changed.
    """
    if not is_local(uri):
        return  # there the temporary files are not beside the target
    _, folder = filesystem(uri)
    if not os.path.lexists(folder):
        return
    with writing(folder):
        for name in filter(_TEMPORARY.fullmatch, os.listdir(folder)):
            with suppress(FileNotFoundError):  # its writer was alive after all, and is done
                os.remove(os.path.join(folder, name))


def sweep_scratch() -> None:
    """Remove the folders of :func:`scratch` whose owner was killed: the kernel gave their locks back."""
    import fcntl

    with os.scandir(tempfile.gettempdir()) as found:
        folders = [entry.path for entry in found if entry.name.startswith(_SCRATCH)]
    for folder in folders:
        try:
            if time.time() - os.stat(folder).st_mtime < _SCRATCH_YOUNG_S:
                continue
            descriptor = os.open(folder, os.O_RDONLY)
        except OSError:  # another's, or gone by now
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # in use
        finally:
            os.close(descriptor)


def reason(error: BaseException) -> str:
    """What a disk or a store's client says, on one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(said).split()).rstrip(".")


@contextmanager
def _reading(uri: str) -> Iterator[None]:
    """Of a store every failure but a missing file is a StoreError; a disk's errors pass as they are."""
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:
        if is_local(uri) or not (_is_clients(error) or (isinstance(error, OSError) and error.errno not in _FULL)):
            raise
        if isinstance(error, PermissionError) or "credential" in reason(error).lower():
            raise StoreError(f"{uri}: access is refused ({reason(error)}); check the credentials") from error
        raise StoreError(f"{uri}: the store failed ({reason(error)}); run the command again") from error


def _is_clients(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in _CLIENTS or isinstance(error, TimeoutError)


def _full(place: str, folder: str | None, error: OSError) -> str:
    where = "" if folder is None else f" on the disk of {folder}"
    if error.errno == errno.EFBIG:
        return f"{place}: the file would be larger than is allowed{where} ({reason(error)}); raise the limit"
    hint = ""
    if folder == tempfile.gettempdir():
        hint = ", or name another place for temporary files with the variable TMPDIR"
    return (
        f"{place}: no room left{where} ({reason(error)}). Make room (space, inodes or quota){hint}; "
        "what is finished is kept, the same command goes on from there"
    )


def synced(path: str | os.PathLike[str]) -> None:
    """What was written to a local file, or renamed in a folder, is on the disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
