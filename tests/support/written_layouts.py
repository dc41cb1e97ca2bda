"""Sets written in a layout, for tests: the parts by its writer, the tables of all parts as the orders say."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import soundfile

from llaso_data.formats.registry import Layout
from llaso_data.formats.writing.writer import Part, Sound, SoundedSample
from llaso_data.records import Attribute, Message, Sample, Source, Speaker, Utterance, utterance_id
from tests.conftest import Clip

GIVEN = "given"


def write_set(layout: Layout, samples: Sequence[SoundedSample], out: Path, parts: int = 2) -> None:
    """Write samples in parts of equal size, and make the tables of the parts' lines."""
    assert layout.writer is not None
    out.mkdir(parents=True, exist_ok=True)
    size = -(-len(samples) // parts)
    written = [Part(str(out), number) for number in range(parts)]
    for part in written:
        layout.writer.write(part, samples[part.number * size : (part.number + 1) * size])
    for table in dict.fromkeys(table for part in written for table in part.tables):
        lines = [line for part in written for line in part.tables.get(table, [])]
        headers = [part.headers[table] for part in written if table in part.headers][:1]
        (out / table).parent.mkdir(parents=True, exist_ok=True)
        data = _table(next(part.orders[table] for part in written if table in part.orders), headers, lines)
        (out / table).write_bytes(gzip.compress(data, mtime=0) if table.endswith(".gz") else data)
    if layout.writer.once is not None:
        layout.writer.once(str(out), parts)


def _table(order: str, headers: list[str], lines: list[str]) -> bytes:
    if order == "json_list":
        return ("[\n" + ",\n".join(lines) + "\n]\n").encode()
    if order == "sorted":
        lines = sorted(lines, key=str.encode)
    return "".join(f"{line}\n" for line in [*headers, *lines]).encode()


def spoken(clip: Clip, number: int = 0) -> SoundedSample:
    """A transcription of a clip of which everything is known, with its sound."""
    audio = Utterance(
        id=utterance_id("spoken", clip.path.name),
        recording=utterance_id("spoken", clip.path.name),
        source=Source(corpus="spoken", uri=str(clip.path)),
        duration_s=soundfile.info(str(clip.path)).duration,
        language=clip.language,
        language_origin=GIVEN,
        text=clip.text,
        text_origin=GIVEN,
        speaker=Speaker(
            id=Attribute(f"speaker-{number % 3}", GIVEN),
            gender=Attribute(("female", "male")[number % 2], GIVEN),
            age_range=Attribute("30-39", GIVEN),
            accent=Attribute("scotland", GIVEN),
        ),
        environment=Attribute("studio", GIVEN),
    )
    messages = (Message.of("user", "What is said?", 0), Message.of("assistant", clip.text))
    sample = Sample(task="asr", messages=messages, audios=(audio,), language=clip.language, split="train")
    return SoundedSample(key=f"{number:04d}-{audio.id[:8]}", sample=sample, sounds=(embedded(clip.path),))


def embedded(path: Path) -> Sound:
    """A file as it is, to be written into a set."""
    info = soundfile.info(str(path))
    return Sound(
        data=path.read_bytes(), extension=path.suffix[1:], duration_s=info.duration, sampling_rate_hz=info.samplerate
    )


def pointed(path: Path, start_s: float | None = None, duration_s: float | None = None) -> Sound:
    """A file, or a span of it, that is pointed to where it is."""
    info = soundfile.info(str(path))
    return Sound(
        data=None,
        extension=path.suffix[1:],
        duration_s=info.duration if duration_s is None else duration_s,
        sampling_rate_hz=info.samplerate,
        uri=str(path),
        start_s=start_s,
    )
