"""Errors that speak to the user: what was wrong, where, and what to do."""

from __future__ import annotations

import errno

from llaso_data.uris import masked

OF_THE_MACHINE = frozenset((errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM))
"""Errors that are not the file's fault: a disk that fails or is full, no memory, too many open files."""


class LLaSOError(Exception):
    """Bad input or a wrong setting. The command line prints its text without a traceback.

    Passwords and permissions in addresses are masked when the error is made.
    """

    def __init__(self, *parts: object) -> None:
        super().__init__(*(masked(part) if isinstance(part, str) else part for part in parts))


class AudioError(LLaSOError):
    """Audio that cannot be decoded.

    Attributes:
        reason: the stable name that failures are counted under, such as ``truncated``.
        detail: the message.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = str(self)

    def __reduce__(self) -> tuple[type[AudioError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # so that a worker process can send it
