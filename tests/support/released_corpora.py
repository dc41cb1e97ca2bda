"""Small copies of published corpora, in the form of their releases and with real speech."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import soundfile

from tests.conftest import Clip

_CONTAINERS = {"wav": "WAV", "flac": "FLAC", "mp3": "MP3", "opus": "OGG"}


def save(clip: Clip, path: Path, container: str | None = None) -> Path:
    """A clip's audio in the kind of file that the path's extension names, or in another container."""
    samples, rate_hz = soundfile.read(str(clip.path), dtype="int16")
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = container or _CONTAINERS[path.suffix[1:].lower()]
    soundfile.write(str(path), samples, rate_hz, format=kind, subtype="OPUS" if path.suffix == ".opus" else None)
    return path


def write_lines(path: Path, *lines: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return path


def of_language(clips: Iterable[Clip], language: str) -> list[Clip]:
    """The three clips of a language."""
    return [clip for clip in clips if clip.language == language]


def ljspeech(root: Path, clips: list[Clip]) -> Path:
    first, second, _ = of_language(clips, "en")
    save(first, root / "wavs" / "LJ001-0001.wav")
    save(second, root / "wavs" / "LJ001-0002.wav")
    write_lines(
        root / "metadata.csv",
        'LJ001-0001|"1, 2" & 3|"one, two" and three',
        "LJ001-0002||Hello world.",
    )
    write_lines(root / "README", "LJ Speech")
    return root


def vctk(root: Path, clips: list[Clip]) -> Path:
    first, second, third = of_language(clips, "en")
    for name, clip in (("p225/p225_001", first), ("p225/p225_002", second), ("s5/s5_001", third)):
        for mic in (1, 2):
            save(clip, root / "wav48_silence_trimmed" / f"{name}_mic{mic}.flac")
        write_lines(root / "txt" / f"{name}.txt", clip.text)
    save(first, root / "wav48_silence_trimmed" / "p315" / "p315_001_mic1.flac")  # has no transcripts, in the release
    write_lines(
        root / "speaker-info.txt",
        "ID  AGE  GENDER  ACCENTS  REGION COMMENTS ",
        "p225  23  F    English    Southern  England",
        "p315  18  M    NorthernIrish  Belfast  (mic2 files unavailable)",
    )
    return root


def mls(root: Path, clips: list[Clip]) -> Path:
    first, second, third = of_language(clips, "pl")
    for split, id, clip in (("train", "6892_8912_000000", first), ("train", "6892_8912_000001", second)):
        save(clip, root / split / "audio" / "6892" / "8912" / f"{id}.opus")
    save(third, root / "dev" / "audio" / "758" / "600" / "758_600_000000.opus")
    write_lines(
        root / "train" / "transcripts.txt", f"6892_8912_000001\t{second.text}", f"6892_8912_000000\t{first.text}"
    )
    write_lines(root / "dev" / "transcripts.txt", f"758_600_000000\t{third.text}")
    write_lines(
        root / "metainfo.txt",
        " SPEAKER   |   GENDER   | PARTITION  |  MINUTES   |  BOOK ID   |             TITLE              | CHAPTER",
        "  6892    |     M      |   train    |   10.00    |    8912    |  Title  |  One",
        "  758     |     F      |    dev     |   10.00    |    600     |  Title  |  One",
    )
    write_lines(root / "train" / "segments.txt", "6892_8912_000000\thttp://www.archive.org/x.mp3\t0.00\t1.00")
    write_lines(root / "train" / "limited_supervision" / "9hr" / "handles.txt", "6892_8912_000000")
    return root


def aishell(root: Path, clips: list[Clip]) -> Path:
    first, second, third = of_language(clips, "zh")
    data = root / "data_aishell"
    save(first, data / "wav" / "train" / "S0002" / "BAC009S0002W0122.wav")
    save(second, data / "wav" / "train" / "S0002" / "BAC009S0002W0123.wav")
    save(third, data / "wav" / "test" / "S0764" / "BAC009S0764W0121.wav")
    write_lines(data / "wav" / "S0003.tar.gz", "packed")
    write_lines(
        data / "transcript" / "aishell_transcript_v0.8.txt",
        "BAC009S0002W0122 而 对 楼市 成交",
        "BAC009S0764W0121 甚至 出现",
        "BAC009S0003W0121 一 个 交易",
    )
    write_lines(root / "resource_aishell" / "speaker.info", "0002 F", "0764 M")
    return root


def aishell3(root: Path, clips: list[Clip]) -> Path:
    first, second, third = of_language(clips, "zh")
    save(first, root / "train" / "wav" / "SSB0005" / "SSB00050001.wav")
    save(second, root / "train" / "wav" / "SSB0005" / "SSB00050002.wav")
    save(third, root / "test" / "wav" / "SSB0012" / "SSB00120001.wav")
    write_lines(
        root / "train" / "content.txt",
        "SSB00050001.wav\t广 guang3 州 zhou1",
        "SSB00050002.wav\t花 儿 huar1",
    )
    write_lines(root / "test" / "content.txt", "SSB00120001.wav\t再 zai4 见 jian4")
    write_lines(
        root / "spk-info.txt",
        "# Data is formatted as: speaker\tage group\tgender\taccent",
        "SSB0005\tB\tfemale\tnorth",
        "SSB0012\tC\tmale\tothers",
    )
    write_lines(root / "train" / "label_train-set.txt", "SSB00050001|guang3 zhou1|广%州$")
    return root


def fleurs(root: Path, clips: list[Clip]) -> Path:
    first, second, third = of_language(clips, "fr")
    for split, file, clip in (("train", "101", first), ("train", "102", second), ("dev", "103", third)):
        save(clip, root / "fr_fr" / "audio" / split / f"{file}.wav")
    write_lines(root / "fr_fr" / "train.tsv", *(_fleurs_row("7", f"{n}.wav", 'Il dit "oui".') for n in (101, 102)))
    write_lines(root / "fr_fr" / "dev.tsv", _fleurs_row("9", "103.wav", third.text))
    return root


def _fleurs_row(id: str, file: str, text: str) -> str:
    plain = text.lower().replace(".", "")
    return "\t".join((id, file, text, plain, " ".join(plain), "16000", "FEMALE" if file < "102" else "MALE"))


def emilia(root: Path, clips: list[Clip]) -> Path:
    rows = []
    for number, clip in enumerate(of_language(clips, "ja")):
        name = f"JA_B00000/JA_B00000_S00000/mp3/JA_B00000_S00000_W00000{number}.mp3"
        save(clip, root / "JA" / name)
        rows.append(emilia_row(name, clip))
    write_lines(root / "JA" / "JA_B00000.jsonl", *(json.dumps(row, ensure_ascii=False) for row in rows))
    return root


def emilia_row(name: str, clip: Clip) -> dict[str, Any]:
    """What Emilia says of a clip, in its tables and in its tars."""
    id = name.rpartition("/")[2].removesuffix(".mp3")
    known = {"text": f" {clip.text}", "duration": 1.5, "speaker": id.rpartition("_")[0], "language": clip.language}
    return {"id": id, "wav": name, **known, "dnsmos": 3.37, "phone_count": 9}


def timit(root: Path, clips: list[Clip]) -> Path:
    first, second, third = of_language(clips, "en")
    for name, clip in (("TRAIN/DR1/FCJF0/SA1", first), ("TRAIN/DR1/FCJF0/SX37", second), ("TEST/DR8/MPAM0/SI7", third)):
        save(clip, root / f"{name}.WAV", container="NIST")
        labels = [f"{n * 100} {n * 100 + 90} {word}" for n, word in enumerate(clip.text.split())]
        write_lines(root / f"{name}.WRD", *labels)
        write_lines(root / f"{name}.PHN", "0 50 h#", "50 90 sh")
        if name != "TEST/DR8/MPAM0/SI7":
            write_lines(root / f"{name}.TXT", f"0 9999 {clip.text} ")
    write_lines(
        root / "DOC" / "SPKRINFO.TXT",
        ";  ID  Sex DR Use  RecDate   BirthDate  Ht    Race Edu  Comments",
        "CJF0  F   1  TRN  01/16/86  07/25/63  5'4\"  WHT  BS",
        "PAM0  M   8  TST  03/11/86  ??/??/??  5'9\"  WHT  HS",
    )
    return root


CORPORA: dict[str, Callable[[Path, list[Clip]], Path]] = {
    "aishell": aishell,
    "aishell3": aishell3,
    "emilia": emilia,
    "fleurs": fleurs,
    "ljspeech": ljspeech,
    "mls": mls,
    "timit": timit,
    "vctk": vctk,
}
"""Layout → what writes a corpus of it into a folder."""
