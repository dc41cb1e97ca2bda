"""What goes wrong on disks and stores, said in one way: which place, what it says, what to do."""

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
"""Packages whose exceptions mean that a store could not be asked; many of them are no OSError."""

_NOT_ASKED = (ValueError, NotImplementedError, ImportError)
_CLIENTS_OWN = (TypeError, LookupError, AttributeError, RuntimeError)  # a client that did not expect what it got


class StoreError(LLaSOError):
    """A disk or store that failed or refuses: it says nothing of what lies on it."""


class AddressError(LLaSOError):
    """An address that leads to nothing, whoever asks and however often."""


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
        if isinstance(error, OSError) or is_clients(error):
            raise StoreError(f"{place}: cannot be written ({reason(error)})") from error
        raise


def reason(error: BaseException) -> str:
    """What a disk or a store's client says, on one line."""
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(said).split()).rstrip(".")


@contextmanager
def reading(uri: str, local: bool, asking: bool = True) -> Iterator[None]:
    """Of a store every failure but a missing file is a StoreError, or an AddressError where no store could answer.

    A disk's errors pass as they are, and without ``asking`` those of whoever works on what was read.
    """
    try:
        yield
    except (FileNotFoundError, LLaSOError):
        raise
    except Exception as error:
        if asking and not local and _is_address(error):
            raise AddressError(f"{uri}: it leads to no file ({reason(error)}); correct it") from error
        failed = is_clients(error) or (isinstance(error, OSError) and error.errno not in _FULL)
        if local or not (failed or (asking and isinstance(error, _CLIENTS_OWN))):
            raise
        if isinstance(error, PermissionError) or "credential" in reason(error).lower():
            raise StoreError(f"{uri}: access is refused ({reason(error)}); check the credentials") from error
        raise StoreError(f"{uri}: the store failed ({reason(error)}); run the command again") from error


def _is_address(error: Exception) -> bool:
    """Whether a client says that it was asked for what cannot be: nothing was sent."""
    if isinstance(error, OSError | json.JSONDecodeError):
        return False
    return isinstance(error, _NOT_ASKED) or type(error).__name__ == "ParamValidationError"  # botocore's


def is_clients(error: Exception) -> bool:
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
