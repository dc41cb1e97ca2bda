"""Sets of every layout with so many rows, for `bench/read_layouts.py`: tables and lists in full, and one short sound.

The sound stands under every name that a row needs, as a hard link; no reader decodes it.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from llaso_data.io import tar_headers

RATE_HZ = 16_000
SECONDS = 0.25
GROUP = 500  # rows of a speaker, a chapter, a talk; rows of a tar are as many times ten
LINKS = 30_000  # of one file, of which file systems allow no more than some ten thousand

Build = Callable[[Path, int], None]


class Sounds:
    """A short sound under many names."""

    def __init__(self, folder: Path) -> None:
        self._file, self._count = folder / ".sound-0", 0
        file = io.BytesIO()
        noise = np.random.default_rng(0).standard_normal(round(SECONDS * RATE_HZ)) * 0.1
        soundfile.write(file, noise, RATE_HZ, format="FLAC", subtype="PCM_16")
        self.data = file.getvalue()

    def put(self, path: Path) -> None:
        if self._count % LINKS == 0:
            self._file = self._file.with_name(f".sound-{self._count // LINKS}")
            self._file.write_bytes(self.data)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(self._file, path)
        self._count += 1


def text(number: int) -> str:
    return f"the quick brown fox jumps over the lazy dog for the {number}th time in the evening light"


def lines(path: Path, rows: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = "".join(f"{row}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data, 6) if path.suffix == ".gz" else data)


def json_rows(rows: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    return (json.dumps(row, ensure_ascii=False) for row in rows)


def tar(path: Path, names: Iterable[str], data: bytes, texts: Callable[[str], bytes] | None = None) -> None:
    """A tar of the sound under these names, each with what ``texts`` says of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for name in names:
            tar_headers.write_member(file, name, data)
            if texts is not None:
                tar_headers.write_member(file, f"{name.rpartition('.')[0]}.json", texts(name))
        file.write(tar_headers.END)


def aishell(folder: Path, rows: int) -> None:
    sounds, data = Sounds(folder), folder / "data_aishell"
    ids = [f"BAC009S{n // GROUP:04d}W{n % GROUP:04d}" for n in range(rows)]
    for id in ids:
        sounds.put(data / "wav" / "train" / id[6:11] / f"{id}.wav")
    lines(
        data / "transcript" / "aishell_transcript_v0.8.txt", (f"{id} 而 对 楼市 成交 抑制 作用 最 大 的" for id in ids)
    )


def aishell3(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    ids = [f"SSB{n // GROUP:04d}{n % GROUP:04d}" for n in range(rows)]
    for id in ids:
        sounds.put(folder / "train" / "wav" / id[:7] / f"{id}.wav")
    lines(
        folder / "train" / "content.txt",
        (f"{id}.wav\t广 guang3 州 zhou1 女 nv3 大 da4 学 xue2 生 sheng1" for id in ids),
    )
    lines(folder / "spk-info.txt", (f"SSB{n:04d}\tB\tfemale\tnorth" for n in range(rows // GROUP + 1)))


def audiofolder(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        sounds.put(folder / "data" / f"{n:06d}.wav")
    lines(folder / "metadata.csv", ["file_name,transcription", *(f"data/{n:06d}.wav,{text(n)}" for n in range(rows))])


def common_voice(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    names = "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale"
    table = ["\t".join([*names.split(), "segment"])]
    for n in range(rows):
        name = f"common_voice_en_{n}.mp3"
        sounds.put(folder / "en" / "clips" / name)
        cells = (f"{n // GROUP:0128x}", name, f"{n:064x}", text(n), "", "2", "0", "twenties", "male_masculine", "", "")
        table.append("\t".join((*cells, "en", "")))
    lines(folder / "en" / "validated.tsv", table)


def emilia(folder: Path, rows: int) -> None:
    sounds, table = Sounds(folder), list[dict[str, Any]]()
    for n in range(rows):
        id = f"EN_B00000_S{n // GROUP:05d}_W{n % GROUP:06d}"
        name = f"EN_B00000/EN_B00000_S{n // GROUP:05d}/mp3/{id}.mp3"
        sounds.put(folder / "EN" / name)
        known = {"text": text(n), "duration": SECONDS, "speaker": f"EN_B00000_S{n // GROUP:05d}", "language": "en"}
        table.append({"id": id, "wav": name, **known, "dnsmos": 3.37, "phone_count": 9})
    lines(folder / "EN" / "EN_B00000.jsonl", json_rows(table))


def fleurs(folder: Path, rows: int) -> None:
    sounds, table = Sounds(folder), list[str]()
    for n in range(rows):
        sounds.put(folder / "en_us" / "audio" / "train" / f"{n}.wav")
        table.append("\t".join((str(n), f"{n}.wav", text(n), text(n), " ".join(text(n)), "4000", "FEMALE")))
    lines(folder / "en_us" / "train.tsv", table)


def _segmented(folder: Path, rows: int, name: str, ending: str) -> None:
    sounds, audios = Sounds(folder), list[dict[str, Any]]()
    for first in range(0, rows, GROUP):
        path = f"audio/{first:06d}.{ending}"
        sounds.put(folder / path)
        segments = [
            {"sid": f"S{n}", "begin_time": n - first, "end_time": n - first + 0.9, "text_tn": text(n).upper(),
             "text": text(n), "confidence": 1.0, "subsets": ["{L}"]}
            for n in range(first, min(first + GROUP, rows))
        ]  # fmt: skip
        audios.append({"aid": f"A{first}", "path": path, "duration": GROUP, "segments": segments})
    (folder / name).write_text(json.dumps({"audios": audios}, indent=1), encoding="utf-8")


def gigaspeech(folder: Path, rows: int) -> None:
    _segmented(folder, rows, "GigaSpeech.json", "opus")


def wenetspeech(folder: Path, rows: int) -> None:
    _segmented(folder, rows, "WenetSpeech.json", "opus")


def _sound_table(folder: Path, first: int, count: int) -> pa.Table:
    data = Sounds(folder).data
    numbers = range(first, first + count)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns: list[Any] = [
        pa.array([{"bytes": data, "path": f"{n}.flac"} for n in numbers], kind),
        pa.array([text(n) for n in numbers]),
        pa.array([str(n // GROUP) for n in numbers]),
    ]
    return pa.table(columns, names=["audio", "text", "speaker_id"])


def hf_disk(folder: Path, rows: int) -> None:
    table = _sound_table(folder, 0, rows)
    with pa.ipc.new_stream(folder / "data-00000-of-00001.arrow", table.schema) as writer:
        writer.write_table(table, max_chunksize=1000)
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (folder / "state.json").write_text(json.dumps(state), encoding="utf-8")


def hf_parquet(folder: Path, rows: int) -> None:
    for first in range(0, rows, 10 * GROUP):
        table = _sound_table(folder, first, min(10 * GROUP, rows - first))
        pq.write_table(table, folder / f"train-{first:06d}.parquet", row_group_size=1000)


def kaldi(folder: Path, rows: int) -> None:
    sounds, talks = Sounds(folder), range(0, rows, GROUP)
    for first in talks:
        sounds.put(folder / "audio" / f"R{first:06d}.wav")
    ids = [(f"R{n // GROUP * GROUP:06d}", f"R{n // GROUP * GROUP:06d}-{n:06d}", n % GROUP) for n in range(rows)]
    data = folder / "data" / "train"
    lines(data / "wav.scp", (f"R{first:06d} audio/R{first:06d}.wav" for first in talks))
    lines(data / "segments", (f"{id} {talk} {at}.00 {at}.90" for talk, id, at in ids))
    lines(data / "text", (f"{id} {text(n)}" for n, (_, id, _) in enumerate(ids)))
    lines(data / "utt2spk", (f"{id} {talk}" for talk, id, _ in ids))
    lines(data / "spk2gender", (f"R{first:06d} f" for first in talks))


def ljspeech(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        sounds.put(folder / "wavs" / f"LJ001-{n:05d}.wav")
    lines(folder / "metadata.csv", (f"LJ001-{n:05d}|{text(n)}|{text(n)}" for n in range(rows)))


def llaso_json(folder: Path, rows: int) -> None:
    sounds, table = Sounds(folder), list[dict[str, Any]]()
    for n in range(rows):
        sounds.put(folder / "mls" / "train" / f"{n:06d}.wav")
        asked, said = f"Transcribe the spoken words.<audio {n % 7}>".replace(f" {n % 7}", ""), text(n)
        turns = [{"from": "human", "value": asked}, {"from": "gpt", "value": said}]
        table.append({"index": n, "speaker_id": str(n // GROUP), "voice": [f"mls\\train\\{n:06d}.wav"]})
        table[-1]["conversations"] = turns
    (folder / "text_audio").mkdir()
    (folder / "text_audio" / "ASR_en.json").write_text(json.dumps(table, indent=2), encoding="utf-8")


def mls(folder: Path, rows: int) -> None:
    sounds, table = Sounds(folder), list[str]()
    for n in range(rows):
        id = f"{n // GROUP}_{n // GROUP}_{n:06d}"
        sounds.put(folder / "train" / "audio" / str(n // GROUP) / str(n // GROUP) / f"{id}.flac")
        table.append(f"{id}\t{text(n)}")
    lines(folder / "train" / "transcripts.txt", table)


def _cut(n: int, source: dict[str, str]) -> dict[str, Any]:
    id, samples = f"cut-{n:06d}", round(SECONDS * RATE_HZ)
    said = {"id": id, "recording_id": id, "start": 0, "duration": SECONDS, "channel": 0, "text": text(n)}
    recording = {"id": id, "sources": [{"channels": [0], **source}], "sampling_rate": RATE_HZ, "num_samples": samples}
    return {
        "id": id, "start": 0, "duration": SECONDS, "channel": 0, "type": "MonoCut",
        "supervisions": [{**said, "language": "en", "speaker": str(n // GROUP)}],
        "recording": {**recording, "duration": SECONDS, "channel_ids": [0]},
    }  # fmt: skip


def lhotse(folder: Path, rows: int) -> None:
    sounds, cuts = Sounds(folder), list[dict[str, Any]]()
    for n in range(rows):
        path = folder / "audio" / f"{n:06d}.flac"
        sounds.put(path)
        cuts.append(_cut(n, {"type": "file", "source": str(path)}))
    lines(folder / "cuts.jsonl.gz", json_rows(cuts))


def shar(folder: Path, rows: int) -> None:
    data = Sounds(folder).data
    for number, first in enumerate(range(0, rows, 10 * GROUP)):
        numbers = range(first, min(first + 10 * GROUP, rows))
        lines(
            folder / f"cuts.{number:06d}.jsonl.gz", json_rows(_cut(n, {"type": "shar", "source": ""}) for n in numbers)
        )
        path = folder / f"recording.{number:06d}.tar"
        tar(path, (f"cut-{n:06d}.flac" for n in numbers), data, lambda name: b"{}")


def messages(folder: Path, rows: int) -> None:
    sounds, table = Sounds(folder), list[dict[str, Any]]()
    for n in range(rows):
        sounds.put(folder / "audio" / f"{n:06d}.wav")
        turns = [{"role": "user", "content": "<audio>What is said?"}, {"role": "assistant", "content": text(n)}]
        table.append({"messages": turns, "audios": [f"audio/{n:06d}.wav"]})
    (folder / "data.json").write_text(json.dumps(table, indent=2), encoding="utf-8")


def nemo_conversations(folder: Path, rows: int) -> None:
    sounds, table = Sounds(folder), list[dict[str, Any]]()
    for n in range(rows):
        sounds.put(folder / "audio" / f"{n:06d}.wav")
        turns = [
            {"from": "User", "type": "text", "value": "What is said?"},
            {"from": "User", "type": "audio", "value": f"audio/{n:06d}.wav", "duration": SECONDS},
            {"from": "Assistant", "type": "text", "value": text(n)},
        ]
        table.append({"id": f"c{n}", "conversations": turns})
    lines(folder / "conversations.jsonl", json_rows(table))


def _nemo_row(n: int, name: str) -> dict[str, Any]:
    return {"audio_filepath": name, "duration": SECONDS, "text": text(n), "lang": "en", "speaker": str(n // GROUP)}


def nemo(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        sounds.put(folder / "audio" / f"{n:06d}.wav")
    lines(folder / "manifest.jsonl", json_rows(_nemo_row(n, f"audio/{n:06d}.wav") for n in range(rows)))


def nemo_tarred(folder: Path, rows: int) -> None:
    data = Sounds(folder).data
    for number, first in enumerate(range(0, rows, 10 * GROUP)):
        numbers = range(first, min(first + 10 * GROUP, rows))
        tar(folder / f"audio_{number}.tar", (f"{n:06d}.flac" for n in numbers), data)
        table = ({**_nemo_row(n, f"{n:06d}.flac"), "shard_id": number} for n in numbers)
        lines(folder / "sharded_manifests" / f"manifest_{number}.json", json_rows(table))


def librispeech(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for first in range(0, rows, 50):
        place = folder / "train" / str(first // GROUP) / str(first)
        table = []
        for n in range(first, min(first + 50, rows)):
            sounds.put(place / f"{first // GROUP}-{first}-{n - first:04d}.flac")
            table.append(f"{first // GROUP}-{first}-{n - first:04d} {text(n).upper()}")
        lines(place / f"{first // GROUP}-{first}.trans.txt", table)


def manifest(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        sounds.put(folder / "audio" / f"{n:06d}.wav")
    table = (f"audio/{n:06d}.wav,{text(n)},en,{n // GROUP}" for n in range(rows))
    lines(folder / "manifest.csv", ["audio,text,language,speaker", *table])


def samples(folder: Path, rows: int) -> None:
    """Written by ``convert`` from a manifest."""
    source = folder.parent / "samples-source"
    source.mkdir()
    manifest(source, rows)
    command = [str(Path(sys.executable).with_name("llaso-data")), "convert", str(source / "manifest.csv")]
    subprocess.run([*command, "--to", "samples", "--engine", "local", "--out", str(folder)], check=True)


def speechbrain(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        sounds.put(folder / "audio" / f"{n:06d}.wav")
    table = (f"u{n},{SECONDS},$data_folder/audio/{n:06d}.wav,{n // GROUP},{text(n)}" for n in range(rows))
    lines(folder / "train.csv", ["ID,duration,wav,spk_id,wrd", *table])


def tedlium(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for first in range(0, rows, GROUP):
        talk = f"Talk_{first:06d}"
        sounds.put(folder / "train" / "sph" / f"{talk}.sph")
        table = (
            f"{talk} 1 {talk} {n - first}.0 {n - first}.9 <o,f0,male> {text(n)}" for n in range(first, first + GROUP)
        )
        lines(folder / "train" / "stm" / f"{talk}.stm", table)


def timit(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        place = folder / "TRAIN" / "DR1" / f"FAA{chr(65 + n // GROUP % 26)}{n // GROUP // 26}"
        sounds.put(place / f"SX{n}.WAV")
        said = text(n).split()
        lines(place / f"SX{n}.WRD", (f"{k * 100} {k * 100 + 90} {word}" for k, word in enumerate(said)))
        lines(place / f"SX{n}.PHN", ["0 50 h#", "50 90 sh"])
        lines(place / f"SX{n}.TXT", [f"0 9999 {text(n)}"])


def vctk(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        name = f"p{n // GROUP}/p{n // GROUP}_{n % GROUP:03d}"
        sounds.put(folder / "wav48_silence_trimmed" / f"{name}_mic1.flac")
        lines(folder / "txt" / f"{name}.txt", [text(n)])


def voxpopuli(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    names = "session_id id_ original_text normed_text speaker_id gender start_time end_time vad split"
    table = ["|".join(names.split())]
    for n in range(rows):
        talk = f"20180101-0900-PLENARY-{n // GROUP}-en"
        if n % GROUP == 0:
            sounds.put(folder / "raw_audios" / "original" / "2018" / f"{talk}_original.ogg")
        at = n % GROUP
        table.append(f"{talk}|u{n}|{text(n)}|{text(n)}|7|male|{at}.0|{at}.9|[({at}.0, {at}.9)]|train")
    lines(folder / "transcribed_data" / "en" / "asr_en.tsv.gz", table)


def webdataset(folder: Path, rows: int) -> None:
    data = Sounds(folder).data
    for number, first in enumerate(range(0, rows, 10 * GROUP)):
        numbers = range(first, min(first + 10 * GROUP, rows))
        names = (f"{n:06d}.flac" for n in numbers)
        tar(
            folder / f"set-{number:06d}.tar",
            names,
            data,
            lambda name: json.dumps({"text": text(int(name[:6]))}).encode(),
        )


def folder_of_files(folder: Path, rows: int) -> None:
    sounds = Sounds(folder)
    for n in range(rows):
        sounds.put(folder / f"{n // GROUP:03d}" / f"{n:06d}.wav")
        lines(folder / f"{n // GROUP:03d}" / f"{n:06d}.txt", [text(n)])


BUILDERS: dict[str, Build] = {
    **{
        build.__name__: build
        for build in (
            *(aishell, aishell3, audiofolder, common_voice, emilia, fleurs, gigaspeech, hf_disk, hf_parquet, kaldi),
            *(
                lhotse,
                librispeech,
                ljspeech,
                llaso_json,
                manifest,
                messages,
                mls,
                nemo,
                nemo_conversations,
                nemo_tarred,
            ),
            *(samples, shar, speechbrain, tedlium, timit, vctk, voxpopuli, webdataset, wenetspeech),
        )
    },
    "folder": folder_of_files,
}
"""Layout → what writes a set of it, with so many rows, into an empty folder."""

TABLES = {"nemo_conversations": "conversations.jsonl", "speechbrain": "train.csv"}
"""Layout → the table in the folder that is the source; of others the folder is."""
