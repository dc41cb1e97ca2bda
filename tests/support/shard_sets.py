"""Sets of shards for the tests of the stream: many samples, quickly written."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import soundfile

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.instruct import asr
from llaso_data.records import digest
from llaso_data.shards import layout, manifest, writer
from llaso_data.shards.layout import EncodedSample


def durations(count: int, seed: int = 0, least_s: float = 0.5, most_s: float = 30.0) -> list[float]:
    """Log-normal, as those of real corpora are, with a median of 4.5 s."""
    rng = np.random.default_rng(seed)
    return np.clip(np.exp(rng.normal(1.5, 0.6, count)), least_s, most_s).round(3).tolist()


def write_set(
    out: Path,
    lengths_s: Sequence[float],
    per_shard: int,
    *,
    tasks: Sequence[str] = ("asr",),
    languages: Sequence[str] = ("en",),
    sound: bool = False,
) -> list[str]:
    """A finished set of shards; sample ``i`` has ``tasks[i % len]``. Returns its keys, in the order of the index.

    Without ``sound`` the audio part is a few bytes that no decoder takes, however long the index says it is.
    """
    samples = [
        _sample(i, length_s, tasks[i % len(tasks)], languages[i % len(languages)], sound)
        for i, length_s in enumerate(lengths_s)
    ]
    infos = []
    keys: list[str] = []
    for number, first in enumerate(range(0, len(samples), per_shard)):
        name = layout.shard_name(number)
        part = sorted(samples[first : first + per_shard], key=lambda sample: sample.key)
        info = writer.write(str(out), name, part, digest=str(number), dataset="set")
        infos.append((str(out / layout.sidecar_name(name)), info))
        keys += [sample.key for sample in part]
    manifest.finish(str(out), infos, profile=manifest.LLASO, plan=digest(*keys), options=None, source=None)
    return keys


def flac(length_s: float, seed: int) -> bytes:
    """A tone whose pitch the seed says, in faint noise."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(length_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    tone = 0.3 * np.sin(2 * np.pi * (150 + seed % 300) * times) + 0.01 * rng.standard_normal(len(times))
    file = io.BytesIO()
    soundfile.write(file, tone.astype(np.float32), SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def _sample(number: int, length_s: float, task: str, language: str, sound: bool) -> EncodedSample:
    data = flac(length_s, number) if sound else digest(number).encode()
    messages = layout.messages_json(asr.conversation("Transcribe.", f"text {number}"), ["flac"])
    key = layout.sample_key([str(number)], task, messages)
    content = {"key": key, "task": task, "messages": messages, "number": number}
    return EncodedSample(
        key=key,
        parts={"flac": data, "json": layout.canonical(content)},
        duration_s=length_s,
        text_bytes=layout.text_bytes(messages),
        task=task,
        language=language,
        modality="text+audio",
    )
