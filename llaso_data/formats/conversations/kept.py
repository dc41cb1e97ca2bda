"""What a sample keeps of a row besides its conversation."""

from __future__ import annotations

import math
from typing import Any

DERIVED = "derived"
"""The name, among what a sample keeps, of what the reader concluded and no row says."""


def storable(value: Any) -> Any:
    """A value of JSON as read by Python, with null for the numbers that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(name): storable(inner) for name, inner in value.items()}
    return [storable(inner) for inner in value] if isinstance(value, list) else value


def kept_fields(kept: dict[str, Any] | None) -> dict[str, Any]:
    """What a sample keeps of its source's row, for writing it again: all but what a reader concluded."""
    return {name: value for name, value in (kept or {}).items() if name != DERIVED}
