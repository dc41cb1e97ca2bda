"""Indexing tars where they lie, and streaming over such an index: CPU time a sample, and bytes read.

    python bench/in_place.py [--gigabytes 20] [--rounds 3] [--lhotse]

Debian's prompts, joined to clips of five seconds and more, go as FLAC into tars of 1,000 with NeMo's sharded manifests,
which state durations. The first tars are copied until there are so many gigabytes. `llaso-data index --layout
nemo_tarred` runs over them with one and with two workers; the bytes that its processes read are counted by the kernel
(`rchar` of /proc/self/io, which includes children that ended). Then some of the tars are converted, and the loader
reads both; with `--lhotse` the iterator of Lhotse over NeMo's tars reads the same. CPU seconds are of all processes.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import itertools
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from llaso_data import audio
from llaso_data.demo.assets import prompts
from llaso_data.io import tar_headers

sys.path.insert(0, str(Path(__file__).parent))
from convert import SUBREAPER, timed

SHORTEST_S = 4.0
TAR_CLIPS = 1000
HOURS, CORES = 50_000, 16


class Clip(NamedTuple):
    """A clip as FLAC."""

    data: bytes
    text: str
    seconds: float


def clips(count: int) -> list[Clip]:
    """Prompts in their order, joined until each clip lasts :data:`SHORTEST_S`."""
    made: list[Clip] = []
    pcms: list[np.ndarray] = []
    for path in itertools.cycle(sorted(prompts().rglob("*.g722"))):
        try:
            pcms.append(audio.decode(str(path))[0])
        except audio.AudioError:
            continue
        joined = np.concatenate(pcms)
        if len(joined) < SHORTEST_S * audio.SAMPLE_RATE_HZ:
            continue
        file = io.BytesIO()
        soundfile.write(file, joined, audio.SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        made.append(Clip(file.getvalue(), f"{path.stem} and {len(pcms)} more", len(joined) / audio.SAMPLE_RATE_HZ))
        pcms = []
        if len(made) == count:
            break
    return made


def nemo_set(folder: Path, made: list[Clip], total_bytes: int) -> tuple[int, int, float]:
    """Tars with manifests, copies of the first few; gives samples, bytes and hours."""
    (folder / "sharded_manifests").mkdir(parents=True)
    firsts = [made[start : start + TAR_CLIPS] for start in range(0, len(made), TAR_CLIPS)]
    samples, size, seconds = 0, 0, 0.0
    for number in itertools.count():
        chosen = firsts[number % len(firsts)]
        tar = folder / f"audio_{number}.tar"
        if number < len(firsts):
            with tar.open("wb") as file:
                for place, clip in enumerate(chosen):
                    tar_headers.write_member(file, f"clip-{place:06d}.flac", clip.data)
                file.write(tar_headers.END)
        else:
            shutil.copyfile(folder / f"audio_{number % len(firsts)}.tar", tar)
        rows = (
            {
                "audio_filepath": f"clip-{place:06d}.flac",
                "duration": clip.seconds,
                "text": f"{clip.text} {number}",
                "lang": "en",
                "shard_id": number,
            }
            for place, clip in enumerate(chosen)
        )
        manifest = folder / "sharded_manifests" / f"manifest_{number}.json"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        samples, size = samples + len(chosen), size + tar.stat().st_size
        seconds += sum(clip.seconds for clip in chosen)
        if size >= total_bytes:
            return samples, size, seconds / 3600
