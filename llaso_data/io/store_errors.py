"""Errors of disks and stores in one form: the place, the reason, what to do."""

from __future__ import annotations

import errno
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from llaso_data.errors import LLaSOError

_FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_CLIENTS = frozenset(
    ("aiobotocore", "aiohttp", "asyncio", "botocore", "fsspec", "gcsfs", "google", "httpx", "httpx2", "huggingface_hub",
     "requests", "urllib3")
)  # fmt: skip
"""Packages whose exceptions mean that a store failed; many of them are no OSError."""

_BAD_ADDRESS = (ValueError, NotImplementedError, ImportError)
_CLIENT_FAULTS = (TypeError, LookupError, AttributeError, RuntimeError)  # of a client that got an unexpected answer


class StoreError(LLaSOError):
    """A disk or store failed or refuses. That says nothing of the data on it."""


class AddressError(LLaSOError):
    """An address can never lead to a file."""


@contextmanager
def writing(place: str, folder: str | None = None) -> Iterator[None]:
    """Turn errors of disks and stores inside the block into a StoreError that names the place.

    Args:
        place: what is written, for the message.
        folder: a folder of the disk that is written to; None for an object store.

    Raises:
        StoreError: with what to do where the disk is full.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:
            raise StoreError(_no_room(place, folder, error)) from error
        if isinstance(error, OSError) or is_client_error(error):
            raise StoreError(f"{place}: cannot be written ({reason(error)})") from error
        raise


def reason(error: BaseException) -> str:
    """The message of an error of a disk or of a store's client, on one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(text).split()).rstrip(".")


@contextmanager
def reading(uri: str, local: bool, asking: bool = True) -> Iterator[None]:
    """Turn a store's errors inside the block into a StoreError or AddressError. A missing file stays one.

    Args:
        uri: what is read, for the message.
        local: whether it lies on a disk, whose errors pass as they are.
        asking: whether the block does nothing but ask the store. Otherwise errors that may come from code that works on
            what was read pass too.

    Raises:
        AddressError: where no store can have the address.
        StoreError: for every other failure of the store.
    """
    try:
        yield
    except (FileNotFoundError, LLaSOError):
        raise
    except Exception as error:
        if asking and not local and _is_address(error):
            raise AddressError(f"{uri}: it leads to no file ({reason(error)}); correct it") from error
        store_failed = is_client_error(error) or (isinstance(error, OSError) and error.errno not in _FULL)
        if local or not (store_failed or (asking and isinstance(error, _CLIENT_FAULTS))):
            raise
        if isinstance(error, PermissionError) or "credential" in reason(error).lower():
            raise StoreError(f"{uri}: access is refused ({reason(error)}); check the credentials") from error
        raise StoreError(f"{uri}: the store failed ({reason(error)}); run the command again") from error


def _is_address(error: Exception) -> bool:
    """Whether a client refuses an address before it sends anything."""
    if isinstance(error, OSError | json.JSONDecodeError):
        return False
    return isinstance(error, _BAD_ADDRESS) or type(error).__name__ == "ParamValidationError"  # botocore's


def is_client_error(error: Exception) -> bool:
    """Whether an error comes from the client of a store."""
    return type(error).__module__.partition(".")[0] in _CLIENTS or isinstance(error, TimeoutError)


def _no_room(place: str, folder: str | None, error: OSError) -> str:
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
