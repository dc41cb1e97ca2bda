"""The split of each row: a function of what the splits do not share. New data moves nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.io.prng import splitmix64
from llaso_data.pipeline.instruct.candidates import Candidates
from llaso_data.recipe import HoldOut, Instruct
from llaso_data.records import SPLITS, digest

NO_SPLIT = -1
_PROTECTED = tuple(SPLITS.index(name) for name in ("test", "validation", "train"))
"""Splits by who keeps what two of them have: a text of the test set leaves the others."""


def assign(candidates: Candidates, shares: Mapping[str, float], by: str, given: bool) -> npt.NDArray[np.int8]:
    """The split of each row.

    Args:
        candidates: With what tells rows apart.
        shares: Of the splits; empty: there are none.
        by: ``speaker`` and ``speaker_and_text``: the speaker, else the recording. ``recording``. ``text``: the text,
            else the recording.
        given: Whether the split that a source names counts.

    Returns:
        (rows,) int8, places in SPLITS; :data:`NO_SPLIT` where there are none.
    """
    if not shares:
        return np.full(len(candidates.ids), NO_SPLIT, np.int8)
    told = {"recording": None, "text": candidates.text}.get(by, candidates.speaker)
    shared = candidates.recording if told is None else np.where(told != 0, told, candidates.recording)
    point = (splitmix64(shared) >> np.uint64(11)) * 2.0**-53
    ends = np.cumsum([shares.get(name, 0.0) for name in SPLITS])
    drawn = np.searchsorted(ends / ends[-1], point, side="right").clip(0, len(SPLITS) - 1).astype(np.int8)
    last = int(np.flatnonzero(np.diff(ends, prepend=0.0))[-1])
    drawn = np.minimum(drawn, last).astype(np.int8)
    return np.where((candidates.split >= 0) & given, candidates.split, drawn).astype(np.int8)


def empty_splits(splits: npt.NDArray[np.int8], instruct: Instruct) -> list[str]:
    """What is to be said of splits that are to have a share of the rows and have none.

    Args:
        splits: (rows,) of :func:`assign`.
        instruct: The shares, and what splits do not share.
    """
    names = [name for place, name in enumerate(SPLITS) if instruct.split.get(name) and not (splits == place).any()]
    what = {"recording": "recording", "text": "text"}.get(instruct.by, "speaker")
    return [
        f"no row is in the split {name}: rows go by their {what}, of which there are too few for its share"
        for name in names
    ]


def shared_texts(candidates: Candidates, splits: npt.NDArray[np.int8]) -> npt.NDArray[np.bool_]:
    """Which rows have a text that a split which is tested on has, too.

    Args:
        candidates: With the texts.
        splits: (rows,) of :func:`assign`.

    Returns:
        (rows,) bool. The test set keeps its texts, the validation set keeps them from the training set.
    """
    leaves = np.zeros(len(splits), bool)
    kept: npt.NDArray[np.uint64] = np.zeros(0, np.uint64)
    for split in _PROTECTED:
        inside = (splits == split) & (candidates.text != 0)
        leaves |= inside & np.isin(candidates.text, kept)
        kept = np.union1d(kept, candidates.text[inside])
    return leaves


def kept_apart(instruct: Instruct) -> dict[str, Any]:
    """What decides which rows are trained on, and which a test set asks of; ``digest`` of all of it."""
    total = sum(instruct.split.values())
    stated: dict[str, Any] = {
        "split": {name: round(instruct.split[name] / total, 9) for name in SPLITS if instruct.split.get(name)},
        "by": instruct.by,
        "given_splits": instruct.given_splits,
        "estimated": instruct.estimated,
        "hold_out": {name: sorted(getattr(instruct.hold_out, name)) for name in HoldOut.model_fields},
    }
    return {**stated, "digest": digest("kept apart", json.dumps(stated, sort_keys=True, ensure_ascii=False))}
