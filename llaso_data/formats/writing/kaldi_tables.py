"""Kaldi's tables, as they are written: sorted by their bytes, with ids of utterances that begin with the speaker's."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby

from llaso_data.formats.writing.attributes import attributes_of, seconds
from llaso_data.formats.writing.writer import (
    LayoutWriter,
    Part,
    Sound,
    SoundedSample,
    no_transcript,
    spoken,
    transcript_of,
)
from llaso_data.io import storage
from llaso_data.records import Sample

_SPACE = re.compile(r"\s+")
_GENDERS = {"female": "f", "male": "m"}
SPEAKERS, SEGMENTS, LANGUAGES = "spk2utt", "segments", "utt2lang"
_TO_THE_END, _NO_LANGUAGE = "-1", "und"


def write(part: Part, samples: Iterable[SoundedSample]) -> None:
    """Write the lines of all tables, and the sounds that are not pointed to."""
    for sounded in samples:
        utterance, text = spoken(sounded)
        said = attributes_of(sounded.sample, utterance)
        speaker = _SPACE.sub("_", said.get("speaker", ""))
        id = f"{speaker}-{sounded.key}" if speaker else sounded.key
        _write_audio(part, id, part.sound(sounded), sounded.sounds[0])
        _line(part, "text", id, _SPACE.sub(" ", text).strip())
        _line(part, "utt2spk", id, speaker or id)
        _line(part, SPEAKERS, speaker or id, id)
        _line(part, "utt2dur", id, str(seconds(sounded.sounds[0].duration_s)))
        _line(part, LANGUAGES, id, said.get("language", _NO_LANGUAGE))
        if said.get("gender") in _GENDERS:
            _line(part, "utt2gender", id, _GENDERS[said["gender"]])


def _write_audio(part: Part, id: str, path: str, sound: Sound) -> None:
    """A line of ``wav.scp``, and one of ``segments``, which is removed where no utterance of the set is a span."""
    _line(part, "wav.scp", id, path)
    start_s = sound.start_s or 0.0
    end = _TO_THE_END if sound.start_s is None else f"{seconds(start_s + sound.duration_s):.6f}"
    _line(part, SEGMENTS, id, f"{id} {seconds(start_s):.6f} {end}")


def _line(part: Part, table: str, key: str, value: str) -> None:
    part.line(table, f"{key} {value}", order="sorted")


def complete(out: str, parts: int) -> None:
    """A line for each speaker in ``spk2utt``; no ``segments`` where all is whole, no ``utt2lang`` without languages."""
    for table, says_nothing in ((SEGMENTS, _TO_THE_END), (LANGUAGES, _NO_LANGUAGE)):
        uri = storage.join(out, table)
        if storage.exists(uri) and _all_end_in(uri, says_nothing):
            fs, path = storage.filesystem(uri)
            fs.rm_file(path)
    _gather_speakers(out)


def _all_end_in(uri: str, last: str) -> bool:
    with storage.open_read(uri) as lines:
        return all(line.split()[-1] == last.encode() for line in lines)


def _gather_speakers(out: str) -> None:
    """What is gathered already stays as it is."""
    uri = storage.join(out, SPEAKERS)
    if not storage.exists(uri):
        return
    with storage.open_read(uri) as lines, storage.whole(uri) as path, open(path, "wb") as file:
        cells = (line.split() for line in lines)
        for speaker, group in groupby(cells, key=lambda words: words[0]):
            file.write(b" ".join([speaker, *(id for words in group for id in words[1:])]) + b"\n")


def refuses(sample: Sample) -> str | None:
    """Why Kaldi's tables cannot hold a sample: it is no transcription, or its text is empty."""
    why = no_transcript(sample)
    if why is not None:
        return why
    transcript = transcript_of(sample)
    return None if transcript is not None and transcript[1].strip() else "its text is empty"


KALDI_WRITER = LayoutWriter(
    write=write,
    holds=frozenset(("text", "language", "speaker", "gender")),
    refuses=refuses,
    spans=True,
    once=complete,
)
