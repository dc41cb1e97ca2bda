"""Published corpora are recognised, and give the texts, speakers and files of their releases."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llaso_data import audio, formats
from llaso_data.errors import LLaSOError
from llaso_data.formats.files.text import MAX_TEXT_BYTES
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip
from tests.support.corpus_rows import failures, utterances
from tests.support.released_corpora import CORPORA, emilia_row, mls, of_language, save, vctk, write_lines


def about(found: list[Utterance], root: Path) -> list[tuple[str, str | None, str, str]]:
    """Path, text, speaker and gender of what can be used."""
    return [
        (os.path.relpath(u.source.uri, root), u.text, u.speaker.id.value, u.speaker.gender.value)
        for u in found
        if u.failure is None
    ]


def notes_of(root: Path) -> Counter[str]:
    notes: Counter[str] = Counter()
    list(formats.read(SourceSpec(path=str(root)), notes))
    return notes


@pytest.mark.parametrize("name", CORPORA)
def test_a_corpus_is_recognised_and_read_whole_and_alike_wherever_it_lies(
    name: str, tmp_path: Path, clips: list[Clip]
) -> None:
    """Every file is an input once, all audio can be decoded, and moving or nesting the corpus changes no text."""
    here, there = CORPORA[name](tmp_path / "a" / name, clips), CORPORA[name](tmp_path / "b" / "deep" / name, clips)
    assert formats.recognise(SourceSpec(path=str(here))).layout.name == name
    found, moved = utterances(here), utterances(there)
    assert [u.id for u in found] == [u.id for u in moved]
    used = [u.source.uri for u in found if u.failure is None]
    whole = [str(path) for path in here.rglob("*") if path.suffix.lower() in (".wav", ".flac", ".mp3", ".opus")]
    assert used == sorted(whole)
    assert all(len(audio.decode(uri)[0]) > 1000 for uri in used[:2])
    nested = utterances(here.parent)
    assert sorted(u.text or "" for u in nested) == sorted(u.text or "" for u in found)


@pytest.mark.parametrize("name", CORPORA)
def test_a_folder_of_audio_alone_is_none_of_them(name: str, tmp_path: Path, clips: list[Clip]) -> None:
    save(clips[0], tmp_path / "a.wav")
    with pytest.raises(LLaSOError, match=f"^{tmp_path}: no"):
        utterances(tmp_path, type=name)


def test_ljspeech(tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA["ljspeech"](tmp_path, clips)
    write_lines(root / "metadata.csv", *(root / "metadata.csv").read_text().splitlines(), "LJ002-0001|Lost.|Lost.")
    found = utterances(root)
    assert about(found, root) == [
        ("wavs/LJ001-0001.wav", '"1, 2" & 3', "LJ", "female"),
        ("wavs/LJ001-0002.wav", "Hello world.", "LJ", "female"),
        ("wavs/LJ002-0001.wav", "Lost.", "LJ", "female"),
    ]
    assert {u.language for u in found} == {"en"}
    said = utterances(root, map={"text": "{normalized_text|lower}"})
    assert [u.text for u in said] == ['"one, two" and three', "hello world.", "lost."]


def test_corpora_in_the_manner_of_ljspeech_state_no_language_and_a_header_makes_another_layout(
    tmp_path: Path, clips: list[Clip]
) -> None:
    save(clips[0], tmp_path / "wavs" / "a.wav")
    write_lines(tmp_path / "metadata.csv", "a.wav|Go on.")
    (found,) = utterances(tmp_path)
    assert (found.text, found.language, found.speaker.id.value) == ("Go on.", None, "unknown")
    write_lines(tmp_path / "metadata.csv", "audio_file|text", "wavs/a.wav|Go on.")
    assert formats.recognise(SourceSpec(path=str(tmp_path))).layout.name == "folder"


def test_vctk_of_both_releases(tmp_path: Path, clips: list[Clip]) -> None:
    root = vctk(tmp_path / "0.92", clips)
    write_lines(root / "txt" / "p226" / "p226_001.txt", "Nobody recorded it.")
    first, second, third = (clip.text for clip in of_language(clips, "en"))
    found = utterances(root)
    folder = "wav48_silence_trimmed"
    assert about(found, root) == [
        (f"{folder}/p225/p225_001_mic1.flac", first, "p225", "female"),
        (f"{folder}/p225/p225_001_mic2.flac", first, "p225", "female"),
        (f"{folder}/p225/p225_002_mic1.flac", second, "p225", "female"),
        (f"{folder}/p225/p225_002_mic2.flac", second, "p225", "female"),
        (f"{folder}/p315/p315_001_mic1.flac", None, "p315", "male"),
        (f"{folder}/s5/s5_001_mic1.flac", third, "s5", "unknown"),
        (f"{folder}/s5/s5_001_mic2.flac", third, "s5", "unknown"),
    ]
    assert {u.speaker.age_range.value for u in found if u.speaker.id.value == "p225"} == {"20-29"}
    assert {u.speaker.accent.value for u in found} == {"england", "northern-irish", "unknown"}
    assert failures(found) == [
        ("missing", f"{root}/txt/p226/p226_001.txt: there is no recording of it; fetch it again")
    ]

    old = tmp_path / "0.80"
    save(clips[0], old / "wav48" / "p225" / "p225_001.wav")
    write_lines(old / "txt" / "p225" / "p225_001.txt", "Please call Stella.")
    write_lines(
        old / "speaker-info.txt", "ID  AGE  GENDER  ACCENTS  REGION", "225  23  F    English    Southern England"
    )
    assert about(utterances(old), old) == [("wav48/p225/p225_001.wav", "Please call Stella.", "p225", "female")]


def test_mls(tmp_path: Path, clips: list[Clip]) -> None:
    root = mls(tmp_path / "mls_polish_opus", clips)
    first, second, third = (clip.text for clip in of_language(clips, "pl"))
    expected = [
        ("dev/audio/758/600/758_600_000000.opus", third, "758", "female"),
        ("train/audio/6892/8912/6892_8912_000000.opus", first, "6892", "male"),
        ("train/audio/6892/8912/6892_8912_000001.opus", second, "6892", "male"),
    ]
    found = utterances(root)
    assert about(found, root) == expected
    assert {u.language for u in found} == {"pl"}
    split = utterances(root / "train")
    assert about(split, root) == expected[1:]
    assert {u.language for u in split} == {"pl"}
    assert about(utterances(root, pattern="dev/**"), root) == expected[:1]
    notes = notes_of(root)
    assert notes["not read: the lists of limited_supervision, which name some of the same recordings"] == 1
    assert notes["not read: .txt: train/segments.txt"] == 1


def test_aishell(tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA["aishell"](tmp_path, clips)
    found = utterances(root)
    wavs = "data_aishell/wav"
    assert about(found, root) == [
        (f"{wavs}/test/S0764/BAC009S0764W0121.wav", "甚至出现", "S0764", "male"),
        (f"{wavs}/train/S0002/BAC009S0002W0122.wav", "而对楼市成交", "S0002", "female"),
        (f"{wavs}/train/S0002/BAC009S0002W0123.wav", None, "S0002", "female"),
    ]
    assert [(reason, detail.partition("_v0.8")[2]) for reason, detail in failures(found)] == [
        ("missing", ".txt:3: no BAC009S0003W0121.wav below wav; unpack it")
    ]
    assert {u.language for u in found if not u.failure} == {"zh"}
    assert notes_of(root)["not unpacked, so that its lines are missing: data_aishell/wav/S0003.tar.gz"] == 1


def test_aishell3(tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA["aishell3"](tmp_path / "data_aishell3", clips)
    expected = [
        ("test/wav/SSB0012/SSB00120001.wav", "再见", "SSB0012", "male"),
        ("train/wav/SSB0005/SSB00050001.wav", "广州", "SSB0005", "female"),
        ("train/wav/SSB0005/SSB00050002.wav", "花儿", "SSB0005", "female"),
    ]
    found = utterances(root)
    assert about(found, root) == expected
    assert [u.speaker.accent.value for u in found] == ["unknown", "north", "north"]
    assert about(utterances(root / "test"), root) == expected[:1]
    assert [u.text for u in utterances(root / "test", map={"text": "{pinyin}"})] == ["zai4 jian4"]


def test_fleurs(tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA["fleurs"](tmp_path, clips)
    third = of_language(clips, "fr")[2].text
    found = utterances(root)
    assert about(found, root) == [
        ("fr_fr/audio/dev/103.wav", third, "unknown", "male"),
        ("fr_fr/audio/train/101.wav", 'Il dit "oui".', "unknown", "female"),
        ("fr_fr/audio/train/102.wav", 'Il dit "oui".', "unknown", "male"),
    ]
    assert {u.language for u in found} == {"fr"}
    write_lines(root / "fr_fr" / "test.tsv", "1\t9.wav\tA.\ta\ta\t16000\tMALE")
    write_lines(root / "fr_fr" / "audio" / "test.tar.gz", "packed")
    assert failures(utterances(root / "fr_fr")) == [
        ("missing", f"{root}/fr_fr/test.tsv: its audio is in audio/test.tar.gz; unpack it there")
    ]


def test_emilia(tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA["emilia"](tmp_path, clips)
    said = [clip.text for clip in of_language(clips, "ja")]
    folder = "JA_B00000/JA_B00000_S00000/mp3/JA_B00000_S00000_W00000"
    expected = [(f"JA/{folder}{n}.mp3", text, "JA_B00000_S00000", "unknown") for n, text in enumerate(said)]
    found = utterances(root)
    assert about(found, root) == expected
    assert {u.language for u in found} == {"ja"}
    assert notes_of(root)["column not used: dnsmos: JA/JA_B00000.jsonl"] == 1
    rows = (root / "JA" / "JA_B00000.jsonl").read_text(encoding="utf-8").replace('"JA_B00000/', '"')
    (root / "JA" / "JA_B00000.jsonl").write_text(rows, encoding="utf-8")
    assert about(utterances(root), root) == expected


def test_emilias_tars_are_webdataset_and_say_the_same(tmp_path: Path, clips: list[Clip]) -> None:
    with tarfile.open(tmp_path / "JA-B000000.tar", "w") as tar:
        for number, clip in enumerate(of_language(clips, "ja")):
            name = f"JA_B00000_S00000_W00000{number}"
            tar.add(save(clip, tmp_path / "made" / "x.mp3"), f"{name}.mp3")
            data = json.dumps(emilia_row(f"JA_B00000_S00000/mp3/{name}.mp3", clip)).encode()
            member = tarfile.TarInfo(f"{name}.json")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    (tmp_path / "made" / "x.mp3").unlink()
    assert formats.recognise(SourceSpec(path=str(tmp_path))).layout.name == "webdataset"
    found = utterances(tmp_path)
    assert [u.text for u in found] == [clip.text for clip in of_language(clips, "ja")]
    assert {(u.language, u.speaker.id.value) for u in found} == {("ja", "JA_B00000_S00000")}


def test_timit(tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA["timit"](tmp_path, clips)
    first, second, third = (clip.text for clip in of_language(clips, "en"))
    expected = [
        ("TEST/DR8/MPAM0/SI7.WAV", third, "MPAM0", "male"),
        ("TRAIN/DR1/FCJF0/SA1.WAV", first, "FCJF0", "female"),
        ("TRAIN/DR1/FCJF0/SX37.WAV", second, "FCJF0", "female"),
    ]
    found = utterances(root)
    assert about(found, root) == expected
    assert [u.speaker.age_range.value for u in found] == ["unknown", "20-29", "20-29"]
    assert [u.speaker.accent.value for u in found] == ["army-brat", "new-england", "new-england"]
    assert (root / "TEST/DR8/MPAM0/SI7.WAV").read_bytes().startswith(b"NIST_1A")
    assert len(audio.decode(found[0].source.uri)[0]) > 1000
    assert notes_of(root)["not read: the times of phones in .phn"] == 3
    assert " ".join(word.text for word in found[0].words) == third
    assert (found[0].words[1].start_s, found[0].words[1].end_s) == (0.006, 0.012)  # samples 100 and 190

    save(of_language(clips, "en")[0], root / "TRAIN/DR1/FCJF0/SA1.WAV.wav")
    write_lines(root / "TRAIN/DR1/FCJF0/SA2.TXT", "0 10 Lost.")
    write_lines(root / "TRAIN/DR1/FCJF0/SX37.TXT", "0 ten Hello")
    found = utterances(root)
    assert about(found, root) == expected[:2]
    assert failures(found) == [
        ("missing", f"{root}/TRAIN/DR1/FCJF0/SA2.TXT: no recording beside it; fetch it again"),
        ("bad_text", f"{root}/TRAIN/DR1/FCJF0/SX37.TXT: it is not one line `START END TEXT`, in samples; correct it"),
    ]


# What is broken

Line = Callable[[bytes, bytes], bytes]
LISTS: dict[str, tuple[str, str, Line]] = {
    "ljspeech": ("metadata.csv", "LJ009-000%d", lambda id, text: id + b"|" + text),
    "mls": ("train/transcripts.txt", "6892_8912_00009%d", lambda id, text: id + b"\t" + text),
    "aishell": (
        "data_aishell/transcript/aishell_transcript_v0.8.txt",
        "BAC009S0002W000%d",
        lambda id, t: id + b" " + t,
    ),
    "aishell3": ("train/content.txt", "SSB0005009%d", lambda id, text: id + b".wav\t" + text + b" a1"),
    "fleurs": ("fr_fr/train.tsv", "90%d", lambda id, t: b"\t".join((b"1", id + b".wav", t, t, t, b"9", b"MALE"))),
    "emilia": (
        "JA/JA_B00000.jsonl",
        "JA_B00000_S00000_W00009%d",
        lambda id, text: b'{"wav": "JA_B00000/' + id + b'.mp3", "text": "' + text + b'"}',
    ),
}
"""Layout → its list, its ids, and a line of it."""


@pytest.mark.parametrize("name", LISTS)
def test_broken_lines_are_counted_with_file_and_line_and_hurt_no_other(
    name: str, tmp_path: Path, clips: list[Clip]
) -> None:
    root = CORPORA[name](tmp_path, clips)
    path, ids, line = LISTS[name]
    whole = (root / path).read_bytes().rstrip(b"\n").split(b"\n")
    plain = {u.id: u.text for u in utterances(root) if u.failure is None}
    missing = [reason for reason, _ in failures(utterances(root))]
    id = (ids % 1).encode()
    bad: list[tuple[bytes, str]] = [
        (line(b"../../../../../etc/passwd", b"x"), "bad_row"),
        (line(b"a\0b", b"x"), "bad_row"),
        (id, "bad_row"),
        (line(id, b"\xff\xfe"), "bad_text"),
        (line(id, b"x" * (MAX_TEXT_BYTES + 9)), "bad_row" if name == "emilia" else "bad_text"),
        (whole[0], "bad_row"),
    ]
    if name == "aishell":  # its lines find their audio by the name alone
        (root / "data_aishell/wav/train/S0002" / f"{ids % 1}.wav").touch()
    write_lines(root / path, *whole, b"", *(text for text, _ in bad), b"   ", b"")
    found = utterances(root)
    counted = [(reason, detail) for reason, detail in failures(found) if reason != "missing"]
    first = len(whole) + 2
    expected = sorted((reason, first + number) for number, (_, reason) in enumerate(bad))
    assert sorted((reason, int(detail.split(f"{path}:")[1].split(":")[0])) for reason, detail in counted) == expected
    assert {u.id: u.text for u in found if u.failure is None} == plain
    assert [reason for reason, _ in failures(found) if reason == "missing"] == missing
    assert len({u.id for u in found}) == len(found)


@pytest.mark.parametrize("name", [name for name in LISTS if name != "emilia"])
def test_a_list_that_is_not_text_is_one_failure(name: str, tmp_path: Path, clips: list[Clip]) -> None:
    root = CORPORA[name](tmp_path, clips)
    path, _, _ = LISTS[name]
    first = (root / path).read_bytes().split(b"\n")[0]
    (root / path).write_bytes(b"\xff\xfe" + (first.decode() + "\n").encode("utf-16-le") + b"\0")
    found: list[Any] = [one for one in failures(utterances(root)) if one[0] == "bad_text"]
    assert len(found) == 1
    assert f"{path}:2: the list cannot be read (" in found[0][1]
