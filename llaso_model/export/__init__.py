"""Models in the formats of other programs. Each format is a module here that registers itself in :data:`EXPORTS`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llaso_data.registry import Registry


@dataclass(frozen=True, slots=True)
class Export:
    """A format.

    Attributes:
        needs: Modules of an extra that write it.
        problem: Why a model cannot be written in it; None: it can.
        write: Writes (model, processor) into an empty folder.
    """

    needs: tuple[str, ...]
    problem: Callable[[Any], str | None]
    write: Callable[[Any, Any, Path], None]


EXPORTS: Registry[Export] = Registry("export format", __name__, "llaso.exports")
