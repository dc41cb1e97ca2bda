"""What lists of repositories on hubs consist of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Protocol

from llaso_data.errors import LLaSOError
from llaso_data.io.hub_requests import Traffic
from llaso_data.io.store_errors import AddressError

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
        oid: the id of its git blob (SHA-1); of a file with ``sha256`` that of the pointer. Empty where it is not known.
    """

    path: str
    size_bytes: int
    sha256: str | None
    oid: str

    @property
    def sum(self) -> str:
        """What identifies its content: the SHA-256, else the id of its blob."""
        return self.sha256 or self.oid


class MissingEntryError(AddressError):
    """A repository has no such file or folder."""


class Hub(Protocol):
    """What a module says of a hub."""

    def parse(self, uri: str) -> HubPlace:
        """Take an address apart. Raises AddressError."""

    def listed(self, place: HubPlace, traffic: Traffic) -> tuple[str, list[HubFile]]:
        """The commit that a place's revision is now, and its files. Raises AddressError, LLaSOError, StoreError."""

    def file_address(self, kind: str, repo: str, commit: str, path: str) -> str:
        """Where a file is given, or it is said where it lies."""

    def is_own(self, url: str) -> bool:
        """Whether an address is on the hub's own host, which may see the token."""

    def headers(self, url: str) -> dict[str, str]:
        """Those of a request to an address; the token is the hub's own host's only."""

    def refusal(self, response: Any, kind: str, repo: str, what: str) -> LLaSOError:
        """The error that says what an answer means, and what to do."""


def refuse_path(path: Any, repo: str) -> None:
    """Raises LLaSOError for a path in a list of files that is none, or leads out of its repository."""
    if not isinstance(path, str) or _CONTROL.search(path) or {"", ".", ".."} & set(path.split("/")):
        raise LLaSOError(f"{repo}: it lists the file {path!r}, which would lie outside its folder; nothing is fetched")
