"""What a reader of texts without audio yields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRow:
    """What one row of a table of texts says, by the names of fields that tasks have.

    Attributes:
        labels: ``question`` and ``answer``; ``instruction``, ``context`` and ``output``; ``text`` and ``summary``;
            ``text``, ``translation`` and ``target_language``; and what columns of such names or a map say.
        file: The file, relative to the root.
        row: The line or row in the file, counted from 1.
        language: The language of what goes in, in any spelling; None: the row does not say it.
        split: ``train``, ``validation`` or ``test``, as the file's name says; None: it does not.
    """

    labels: Mapping[str, Any]
    file: str
    row: int
    language: str | None = None
    split: str | None = None

    @property
    def where(self) -> str:
        """The place: ``train.json:12``."""
        return f"{self.file}:{self.row}"
