"""The sounds of rows for a person to hear: found below a folder that was named, decoded within limits, and cut."""

from __future__ import annotations

import os
from typing import NamedTuple

from llaso_data import limited
from llaso_data.audio import Pcm
from llaso_model.evaluate.layouts import Prediction


class Heard(NamedTuple):
    """16 kHz mono samples, and whether they are the beginning of something longer."""

    pcm: Pcm
    cut: bool


def place(root: str, name: str) -> tuple[str, str | None] | None:
    """(file, member) of a row's audio: a path below ``root``, or ``TAR!MEMBER`` as rows of shards have it.

    None where there is no such file, and where the path leads out of the folder.
    """
    for path, member in ((name, None), name.partition("!")[::2]):
        whole = os.path.realpath(os.path.join(root, path))
        if whole.startswith(os.path.realpath(root) + os.sep) and os.path.isfile(whole):
            return whole, member or None
    return None


def heard(root: str, name: str, most_s: float) -> Heard | None:
    """The first ``most_s`` of a row's audio; None where it is not below ``root``. Raises AudioError, StoreError."""
    found = place(root, name)
    return None if found is None else Heard(*limited.beginning(*found, most_s))


def condition(row: Prediction) -> str | None:
    """The condition that a model heard the row in, such as ``snr:5``, where its audio names the sound without it."""
    return next((tag for tag in row.tags if row.id.endswith(f"@{tag}")), None)
