"""What lists of repositories on hubs consist of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llaso_data.errors import LLaSOError

_CONTROL = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class HubPlace:
    """What an address names.

    Attributes:
        repo: ``OWNER/NAME``.
        kind: ``datasets`` or ``models``.
        revision: a branch, tag or commit; None for the main branch.
        folder: within the repository; empty for all of it.
    """

    repo: str
    kind: str
    revision: str | None = None
    folder: str = ""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        path: within the repository.
        size_bytes: its length.
        sha256: of its content, in hexadecimal digits; None for a small file that git itself holds.
        oid: the id of its git blob (SHA-1); of a file with ``sha256`` that of the pointer.
    """

    path: str
    size_bytes: int
    sha256: str | None
    oid: str


def refuse_path(path: Any, repo: str) -> None:
    """Raises LLaSOError for a path in a list of files that is none, or leads out of its repository."""
    if not isinstance(path, str) or _CONTROL.search(path) or {"", ".", ".."} & set(path.split("/")):
        raise LLaSOError(f"{repo}: it lists the file {path!r}, which would lie outside its folder; nothing is fetched")
