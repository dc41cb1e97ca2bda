"""Files of this machine, asked for without the detours of a file system that is made for all stores."""

from __future__ import annotations

import errno
import os
import stat
from typing import IO


def plain_stat(path: str) -> os.stat_result | None:
    """What the disk says of a regular file; None of what is none, or is a link.

    Args:
        path: Absolute; None is given of a relative one.

    Raises:
        FileNotFoundError: Nothing is there.
        OSError: The disk fails.
    """
    if not path.startswith("/"):
        return None
    try:
        status = os.lstat(path)
    except ValueError:
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def open_regular(path: str) -> IO[bytes]:
    """A file open for reading.

    Raises:
        OSError: There is none, or it is neither a file nor a folder: a pipe would never open.
    """
    mode = os.stat(path).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return open(path, "rb")
