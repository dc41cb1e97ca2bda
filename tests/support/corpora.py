"""Small corpora of real speech, and recipes over them, for the tests of whole runs."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from llaso_data.io import storage
from llaso_data.pipeline import commit
from llaso_data.pipeline.load_recipe import load
from llaso_data.recipe import Recipe
from llaso_data.records import Utterance
from tests.conftest import Clip

GAINS = (1.0, 0.7, 0.5)  # the same words at another level are other audio


def louder(source: Path, target: Path, gain: float) -> Path:
    """A copy of a recording at another level."""
    samples, rate_hz = soundfile.read(str(source), dtype="float32")
    target.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(target), samples * np.float32(gain), rate_hz, subtype="PCM_16")
    return target


def english(folder: Path, clips: Sequence[Clip], gains: Sequence[float] = GAINS) -> Path:
    """The English clips with their transcripts, at each level: ``hello_world-0.7.wav``."""
    for clip in clips:
        if clip.language == "en":
            for gain in gains:
                path = louder(clip.path, folder / f"{clip.path.stem}-{gain}.wav", gain)
                path.with_suffix(".txt").write_text(clip.text, encoding="utf-8")
    return folder


def copy(clip: Clip, folder: Path, name: str | None = None, text: bool = True) -> Path:
    """One clip as it is, with its transcript or without."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name or clip.path.name)
    shutil.copyfile(clip.path, path)
    if text:
        path.with_suffix(".txt").write_text(clip.text, encoding="utf-8")
    return path


def recipe(model: Path, out: Path | str, *sources: Path | dict[str, Any], **options: Any) -> Recipe:
    """A recipe of the local engine, blocks of two; options are ``judge__audit__items=3``."""
    named = [{"path": str(s), "corpus": "test"} if isinstance(s, Path) else s for s in sources]
    given = {key.replace("__", "."): value for key, value in options.items()}
    plain = {"run.engine": "local", "run.device": "cpu", "blocks.clips": 2, "observe.asr.model": str(model)}
    return load(None, options={**plain, "sources": named, "out": str(out), **given})


def observed(out: Path | str) -> list[Utterance]:
    """All records of a run in the manifest's order."""
    manifest = storage.read_json(commit.manifest_uri(str(out)))
    return [utterance for name in manifest["blocks"] for utterance in commit.read_block(str(out), name)]


def files(out: Path | str, *besides: str) -> dict[str, bytes]:
    """Every file below a folder but those named."""
    uri = str(out)
    found = [row["path"] for row in storage.listing(uri) if row["path"] not in besides]
    return {path: storage.read_bytes(storage.join(uri, path)) for path in found}
