"""What readers of corpora yield, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llaso_data.formats import read
from llaso_data.recipe import SourceSpec
from llaso_data.records import Input, Utterance


def inputs(path: Path | str, **spec: Any) -> list[Input]:
    return list(read(SourceSpec(path=str(path), **spec)))


def utterances(path: Path | str, **spec: Any) -> list[Utterance]:
    return [item.utterance for item in inputs(path, **spec)]


def failures(found: list[Utterance]) -> list[tuple[str, str]]:
    return [(u.failure.reason, u.failure.detail) for u in found if u.failure]
