"""Make ``shards/golden`` and the JSON Schemas again: ``python shards/make_golden.py`` (needs espeak-ng).

Needed only when the format changes. The voices are espeak-ng's, spoken word by word with pauses of silence between,
so the word times are exact. With ``--tables`` the tars stay as they are, and only schemas, sidecars, index and manifest
are written again; that needs no espeak-ng.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from llaso_data import audio, records
from llaso_data.records import GIVEN, Attribute, Scores, Source, Speaker, Utterance, Word
from llaso_data.shards import index, layout, manifest, reader, schemas, writer
from llaso_data.shards.layout import Sample

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
PAUSE_S = 0.05
SAMPLES_PER_SHARD = 2


def main() -> None:
    write_schemas()
    if sys.argv[1:] == ["--tables"]:
        write_tables()
        return
    shutil.rmtree(GOLDEN, ignore_errors=True)
    digest = records.digest("golden", layout.FORMAT_VERSION)
    samples = golden_samples()
    shards = []
    for number in range(0, len(samples), SAMPLES_PER_SHARD):
        name = layout.shard_name(number // SAMPLES_PER_SHARD)
        chosen = sorted(samples[number : number + SAMPLES_PER_SHARD], key=lambda sample: sample.key)
        info = writer.write(str(GOLDEN), name, chosen, digest=records.digest(digest, name), dataset=digest)
        shards.append((str(GOLDEN / layout.sidecar_name(name)), info))
    options = {"audio": "flac", "samples_per_shard": SAMPLES_PER_SHARD, "seed": 0}
    manifest.finish(str(GOLDEN), shards, profile=manifest.LLASO, plan=digest, options=options, source=None)


def write_tables() -> None:
    """Sidecars, index and manifest of the tars that are there, with the rows that the index has."""
    known, stated = reader.open_index(str(GOLDEN)), reader.read_manifest(str(GOLDEN))
    shards = []
    for number, entry in enumerate(stated["shards"]):
        sidecar = str(GOLDEN / layout.sidecar_name(entry["path"]))
        info = index.sidecar_info(sidecar)
        assert info is not None and writer.finished(str(GOLDEN), info.path, digest=info.digest, dataset=info.dataset)
        rows = [row_of(row) for row in known.rows_of(number)]
        index.write_sidecar(sidecar, rows, info)
        shards.append((sidecar, info))
    manifest.finish(
        str(GOLDEN), shards, profile=manifest.LLASO, plan=known.digest, options=stated["options"], source=None
    )


def row_of(row: dict[str, Any]) -> index.IndexRow:
    parts = tuple(index.PartRow(**part) for part in row["parts"])
    return index.IndexRow(**{**{name: row[name] for name in index.SCHEMA.names}, "parts": parts})


def write_schemas() -> None:
    for name, schema in (
        ("sample", schemas.SAMPLE),
        ("manifest", schemas.MANIFEST),
        ("certificate", schemas.CERTIFICATE),
    ):
        text = json.dumps(schema, indent=2, sort_keys=True) + "\n"
        (HERE / f"{name}.schema.json").write_text(text, encoding="utf-8")


def golden_samples() -> list[Sample]:
    """Three transcriptions and one conversation whose instruction is spoken: two audios in one sample."""
    english = speak("north.wav", "en-us", "en", ["The", "north", "wind", "blew."], "female")
    spanish = speak("dias.wav", "es", "es", ["Buenos", "días."], "male")
    chinese = speak("nihao.wav", "cmn", "zh", ["你", "好"], "unknown")
    request = speak("request.wav", "en-us", "en", ["Write", "this", "down."], "male")
    answer = speak("sun.wav", "en-us", "en", ["The", "sun", "shone."], "female")
    spoken = [
        {"role": "user", "content": [layout.audio_part("0.flac"), layout.audio_part("1.flac")]},
        {"role": "assistant", "content": [layout.text_part("The sun shone.")]},
    ]
    sounds = {"0.flac": audio.encode(request[1], "flac"), "1.flac": audio.encode(answer[1], "flac")}
    return [
        transcription("Transcribe the speech in this recording.", *english),
        transcription("What does the speaker say?", *spanish),
        transcription("Write down what is said in the audio.", *chinese),
        layout.build("asr", "en", spoken, [request[0], answer[0]], sounds),
    ]


def transcription(instruction: str, utterance: Utterance, pcm: audio.Pcm) -> Sample:
    messages = layout.asr_messages(instruction, "flac", utterance.text or "")
    return layout.build("asr", utterance.language, messages, [utterance], {"flac": audio.encode(pcm, "flac")})


def speak(name: str, voice: str, language: str, words: list[str], gender: str) -> tuple[Utterance, audio.Pcm]:
    """One utterance: words spoken one by one and joined with pauses."""
    pieces: list[audio.Pcm] = []
    times: list[Word] = []
    position = 0
    for word in words:
        pcm = spoken_word(voice, word)
        times.append(Word(word, round(position / 16000, 3), round((position + len(pcm)) / 16000, 3), -0.25))
        pieces += [pcm, np.zeros(round(PAUSE_S * 16000), np.int16)]
        position += sum(len(piece) for piece in pieces[-2:])
    pcm = np.concatenate(pieces[:-1])
    text = ("" if language == "zh" else " ").join(words)
    known = Attribute() if gender == "unknown" else Attribute(gender, GIVEN)
    identity = records.utterance_id("golden", name)
    utterance = Utterance(
        id=identity,
        recording=identity,
        source=Source(corpus="golden", uri=name, sampling_rate_hz=22050, channels=1),
        audio_id=audio.audio_id(pcm),
        duration_s=len(pcm) / audio.SAMPLE_RATE_HZ,
        language=language,
        language_origin=GIVEN,
        text=text,
        text_origin=GIVEN,
        hypothesis=text,
        words=tuple(times),
        speaker=Speaker(id=Attribute(f"espeak-{voice}", GIVEN), gender=known),
        environment=Attribute("synthetic", GIVEN),
        scores=Scores(avg_logprob=-0.1, cer=0.0, extra={"loudness": 0.5}),
    )
    return utterance, pcm


def spoken_word(voice: str, word: str) -> audio.Pcm:
    """16 kHz PCM of one word without the silence around it."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/word.wav"
        subprocess.run(["espeak-ng", "-v", voice, "-w", path, word], check=True)
        pcm, _ = audio.decode(path)
    loud = np.flatnonzero(np.abs(pcm.astype(np.int32)) > 100)
    return pcm[loud[0] : loud[-1] + 1]


if __name__ == "__main__":
    main()
