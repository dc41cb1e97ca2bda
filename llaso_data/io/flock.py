"""The kernel's lock on an open file (``flock``): given back when its holder dies, however it dies.

The lock belongs to the open file, not to its name: after waiting, :func:`is_at` tells whether the name still leads to
it. Closing the descriptor gives the lock back; a forked child shares it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

UNSUPPORTED = frozenset((errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL))
"""Errors of a disk that has no such locks."""

_HELD = frozenset((errno.EWOULDBLOCK, errno.EACCES))  # NFS answers with either


def lock(descriptor: int, *, wait: bool) -> bool:
    """Lock an open file or folder for this process alone.

    Args:
        descriptor: of the open file.
        wait: until its present holder gives the lock back.

    Returns:
        Whether this process holds the lock; False only without ``wait``, where another holds it.

    Raises:
        OSError: where the disk has no such locks (:data:`UNSUPPORTED`), or fails.
    """
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if wait or error.errno not in _HELD:
            raise
        return False
    return True


def is_at(path: str | os.PathLike[str], descriptor: int) -> bool:
    """Whether a path still leads to an open file: its last holder may have renamed or removed that file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a file that is there for nothing else, and stays; wait for whoever holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        lock(descriptor, wait=True)
        yield
    finally:
        os.close(descriptor)
