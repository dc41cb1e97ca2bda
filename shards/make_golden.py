"""Make ``shards/golden`` and the JSON Schemas again: ``python shards/make_golden.py`` (needs espeak-ng).

Needed only when the format changes. The voices are espeak-ng's, spoken word by word with pauses of silence between,
so the word times are exact. With ``--tables`` the tars stay as they are, and only schemas, sidecars, index and manifest
are written again; that needs no espeak-ng. Nor does ``--foreign``, which makes ``shards/golden_foreign``: tars as other
programs write them, and what they hold.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from llaso_data import audio, records
from llaso_data.formats.conversations.schema import MESSAGES
from llaso_data.instruct import asr
from llaso_data.records import GIVEN, Attribute, Message, Sample, Scores, Source, Speaker, Utterance, Word
from llaso_data.shards import index, layout, manifest, reader, schemas, writer
from llaso_data.shards.layout import EncodedSample

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
GOLDEN_FOREIGN = HERE / "golden_foreign"
PAUSE_S = 0.05
SAMPLES_PER_SHARD = 2


def main() -> None:
    write_schemas()
    if sys.argv[1:] == ["--tables"]:
        write_tables()
        return
    write_foreign()
    if sys.argv[1:] == ["--foreign"]:
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
        ("messages", MESSAGES),
    ):
        text = json.dumps(schema, indent=2, sort_keys=True) + "\n"
        (HERE / f"{name}.schema.json").write_text(text, encoding="utf-8")


def write_foreign() -> None:
    """Two tars of foreign names, and ``listing.json``, written by hand: which samples a reader finds in them."""
    one, two, three = (tone(hz) for hz in (440, 660, 880))
    long = "./" + "a-long-name-" * 10 + "end"
    mixed: list[tuple[str, bytes | str]] = [
        ("./", b""),
        ("__info__", b"{}"),
        ("./talk/utt.0001.wav", one),
        ("./plain.txt", b"plain"),
        ("./talk/utt.0002.wav", two),
        ("./talk/utt.0001.txt", b"one"),
        ("./soft/early.wav", "-> ../plain.WAV"),
        ("./plain.WAV", three),
        ("./talk/utt.0002.txt", b"two"),
        ("./soft/early.txt", b"a link before its file"),
        ("./hard.wav", "=> ./plain.WAV"),
        ("./hard.txt", b"a second name"),
        ("./plain.txt", b"again"),
        ("./pair.0.wav", one),
        ("./pair.1.wav", two),
        ("./pair.json", b'{"text": "of both"}'),
        ("./talk_11.708_13.970.wav", three),
        ("./talk_11.708_13.970.txt", b"seconds in a name"),
        (f"{long}.wav", one),
        (f"{long}.txt", "-> plain.txt"),
        ("./lost.wav", "-> ../../etc/passwd"),
        ("./lost.txt", b"no audio"),
        ("./soft/._early.wav", b"\0"),
        ("./README", b"no ending"),
    ]
    joined: list[list[tuple[str, bytes | str]]] = [
        [("a.wav", one), ("a.txt", b"first archive")],
        [("b.wav", "-> a.wav"), ("b.txt", b"second archive")],
    ]
    plain = {"txt": b"plain", "wav": three}
    listing = {
        "mixed.tar": {
            "samples": [
                sample_of("./talk/utt.0001", {"wav": one, "txt": b"one"}),
                sample_of("./talk/utt.0002", {"wav": two, "txt": b"two"}),
                sample_of("./plain", plain),
                sample_of("./soft/early", {"wav": three, "txt": b"a link before its file"}),
                sample_of("./hard", {"wav": three, "txt": b"a second name"}),
                sample_of("./pair", {"0.wav": one, "1.wav": two, "json": b'{"text": "of both"}'}),
                sample_of("./talk_11", {"708_13.970.wav": three, "708_13.970.txt": b"seconds in a name"}),
                sample_of(long, {"wav": one, "txt": b"plain"}),
                sample_of("./lost", {"txt": b"no audio"}),
            ],
            "belong_to_no_sample": ["__info__", "./soft/._early.wav", "./README"],
            "come_again": ["./plain.txt"],
            "lead_nowhere": ["./lost.wav"],
            "have_no_audio": ["./lost"],
        },
        "joined.tar": {
            "samples": [
                sample_of("a", {"wav": one, "txt": b"first archive"}),
                sample_of("b", {"wav": one, "txt": b"second archive"}),
            ],
            "belong_to_no_sample": [],
            "come_again": [],
            "lead_nowhere": [],
            "have_no_audio": [],
        },
    }
    GOLDEN_FOREIGN.mkdir(exist_ok=True)
    (GOLDEN_FOREIGN / "mixed.tar").write_bytes(foreign_tar(mixed))
    (GOLDEN_FOREIGN / "joined.tar").write_bytes(b"".join(map(foreign_tar, joined)))
    (GOLDEN_FOREIGN / "listing.json").write_text(json.dumps(listing, indent=1) + "\n", encoding="utf-8")


def tone(hz: int) -> bytes:
    """A wav of 50 ms."""
    pcm = np.round(8000 * np.sin(2 * np.pi * hz * np.arange(800) / audio.SAMPLE_RATE_HZ)).astype(np.int16)
    return audio.encode(pcm, "wav")


def sample_of(key: str, parts: dict[str, bytes]) -> dict[str, Any]:
    places = {part: {"size": len(data), "crc32": zlib.crc32(data)} for part, data in parts.items()}
    return {"key": key, "parts": places}


def foreign_tar(members: list[tuple[str, bytes | str]]) -> bytes:
    """A tar as GNU tar writes it; a text is where a link leads to, ``->`` a symbolic, ``=>`` a hard one."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                info.type = tarfile.DIRTYPE
            if isinstance(content, str):
                arrow, _, info.linkname = content.partition(" ")
                info.type = {"->": tarfile.SYMTYPE, "=>": tarfile.LNKTYPE}[arrow]
                archive.addfile(info)
                continue
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def golden_samples() -> list[EncodedSample]:
    """Three transcriptions and one conversation whose instruction is spoken: two audios in one sample."""
    english = speak("north.wav", "en-us", "en", ["The", "north", "wind", "blew."], "female")
    spanish = speak("dias.wav", "es", "es", ["Buenos", "días."], "male")
    chinese = speak("nihao.wav", "cmn", "zh", ["你", "好"], "unknown")
    request = speak("request.wav", "en-us", "en", ["Write", "this", "down."], "male")
    answer = speak("sun.wav", "en-us", "en", ["The", "sun", "shone."], "female")
    messages = (Message.of("user", 0, 1), Message.of("assistant", "The sun shone."))
    spoken = Sample(task="asr", messages=messages, audios=(request[0], answer[0]), language="en")
    sounds = {"0.flac": audio.encode(request[1], "flac"), "1.flac": audio.encode(answer[1], "flac")}
    return [
        transcription("Transcribe the speech in this recording.", *english),
        transcription("What does the speaker say?", *spanish),
        transcription("Write down what is said in the audio.", *chinese),
        layout.encode_sample(spoken, sounds),
    ]


def transcription(instruction: str, utterance: Utterance, pcm: audio.Pcm) -> EncodedSample:
    messages = asr.conversation(instruction, utterance.text or "")
    sample = Sample(task=asr.TASK, messages=messages, audios=(utterance,), language=utterance.language)
    return layout.encode_sample(sample, {"flac": audio.encode(pcm, "flac")})


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
