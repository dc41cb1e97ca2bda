"""The split that a path names, as Hugging Face's datasets find it."""

from __future__ import annotations

import re

_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_PATTERNS = {
    split: re.compile(rf"(?:^|[-._ ])(?:{'|'.join(names)})(?=[-._ 0-9]|$)", re.IGNORECASE)
    for split, names in _NAMES.items()
}


def split_of(path: str) -> str | None:
    """``train``, ``validation`` or ``test``, as the file's name says, else the folder that is nearest to it.

    Args:
        path: With ``/``: ``data/train-00000-of-00003.parquet``, ``dev/audio/a.wav``.

    Returns:
        None where the path names no split.
    """
    for part in reversed(path.split("/")):
        split = next((name for name, pattern in _PATTERNS.items() if pattern.search(part)), None)
        if split is not None:
            return split
    return None
