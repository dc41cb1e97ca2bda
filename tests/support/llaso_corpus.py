"""A set of LLaSO's layout from real clips: JSON of three modalities, and sound in zips or unpacked."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from tests.conftest import Clip

RATES_HZ = (8000, 16000, 22050, 44100, 48000)
FORMS = ("wav", "flac", "mp3")
NAME = "LLaSO-Align"
Sounds = dict[str, tuple[bytes, str]]
"""Path as the JSON has it but for its backslash → the sound's file, and what is said in it."""


def sounds(clips: Sequence[Clip]) -> Sounds:
    """The clips as they are."""
    return {f"set/{clip.language}/{clip.path.name}": (clip.path.read_bytes(), clip.text) for clip in clips}


def varied(clips: Sequence[Clip], gains: Sequence[float] = (1.0,)) -> Sounds:
    """The clips at several sampling rates, in several forms and levels."""
    made: Sounds = {}
    for number, clip in enumerate(clips):
        pcm, rate_hz = soundfile.read(str(clip.path), dtype="float32")
        for level, gain in enumerate(gains):
            wanted_hz, form = RATES_HZ[(number + level) % len(RATES_HZ)], FORMS[(number + level) % len(FORMS)]
            data = _encoded(soxr.resample(pcm * np.float32(gain), rate_hz, wanted_hz), wanted_hz, form)
            made[f"set/{clip.language}/{clip.path.stem}-{gain}.{form}"] = (data, clip.text)
    return made


def long(clips: Sequence[Clip], repeats: int) -> Sounds:
    """Each clip again and again, at 48 kHz."""
    made: Sounds = {}
    for clip in clips:
        pcm, rate_hz = soundfile.read(str(clip.path), dtype="float32")
        data = _encoded(soxr.resample(np.tile(pcm, repeats), rate_hz, 48_000), 48_000, "wav")
        made[f"long/{clip.language}/{clip.path.stem}.wav"] = (data, clip.text)
    return made


def _encoded(pcm: np.ndarray[Any, Any], rate_hz: int, form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, pcm, rate_hz, format=form.upper())
    return file.getvalue()


def write_tables(folder: Path, said: Sounds, more: Sequence[Mapping[str, Any]] = ()) -> None:
    """What is asked of the clips: transcripts of all, and of some their gender and a question that is spoken."""
    rows = [_row(path, "Transcribe the audio.<audio>", text) for path, (_, text) in said.items()]
    write_table(folder / "text_audio" / "ASR_stage1_train.json", [*rows, *more])
    some = list(said)[::3]
    write_table(folder / "audio_text" / "AGR_instruction_0_train.json", [_row(p, "<audio>Text.", "male") for p in some])
    write_table(folder / "pure_audio" / "SV_end_train.json", [_row(p, "Listen.<audio>", "yes") for p in some[::2]])


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=2), "utf-8")


def _row(path: str, asked: str, answer: str) -> dict[str, Any]:
    turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": answer}]
    return {"voice": [voice(path)], "conversations": turns}


def voice(path: str) -> str:
    """The path with a backslash as its last separator, as it is published."""
    return "\\".join(path.rsplit("/", 1))


def write_zips(folder: Path, said: Sounds, count: int, inside: str = "data") -> list[Path]:
    """The sounds in zips, in turns: their order says nothing of the rows'."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{NAME}-audio.part{number}.zip" for number in range(count)]
    for number, path in enumerate(paths):
        with zipfile.ZipFile(path, "w") as archive:
            for name in list(said)[number::count]:
                archive.writestr(zipfile.ZipInfo(f"{inside}/{name}"), said[name][0])
    return paths


def write_files(folder: Path, said: Sounds, inside: str = "data") -> None:
    """The sounds as files."""
    for name, (data, _) in said.items():
        path = folder / inside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
