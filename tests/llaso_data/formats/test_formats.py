"""Every corpus layout gives the same records, and what is broken in it is counted by name."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import audio, records
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats import read, recognise
from llaso_data.formats.files import braces
from llaso_data.formats.files.file_tree import compile_glob
from llaso_data.recipe import SourceSpec
from llaso_data.records import Attribute, Utterance
from tests.support.corpus_rows import failures, inputs, utterances

GIVEN = "given"


def speak(path: Path, seconds: float = 0.1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    format = {"mp3": "MP3", "flac": "FLAC", "wav": "WAV"}[path.suffix[1:].lower()]
    soundfile.write(str(path), np.full(round(seconds * 16_000), 99, np.int16), 16_000, format=format)
    return path


# Folder


def test_a_folder_of_real_clips(clips: list) -> None:
    root = clips[0].path.parents[1]
    found = utterances(root)
    assert recognise(SourceSpec(path=str(root))).layout.name == "folder"
    assert [u.source.uri for u in found] == [str(clip.path) for clip in clips]
    assert [u.text for u in found] == [" ".join(clip.text.split()) for clip in clips]
    assert {u.text_origin for u in found} == {GIVEN}
    assert len({u.id for u in found}) == len(found)


def test_a_folder_takes_audio_only_and_pairs_transcripts(tmp_path: Path) -> None:
    for name in ("b/2.WAV", "a.flac", "b/1.wav", ".hidden/x.wav", "b/.y.wav"):
        speak(tmp_path / name)
    (tmp_path / "a.txt").write_text("\ufeffgrüß  dich\n", encoding="utf-8")
    (tmp_path / "b" / "1.lab").write_text("one")
    (tmp_path / "README.md").write_text("no audio")
    found = inputs(tmp_path)
    assert [(os.path.relpath(i.utterance.source.uri, tmp_path), i.utterance.text) for i in found] == [
        ("a.flac", "grüß dich"),
        ("b/1.wav", "one"),
        ("b/2.WAV", None),
    ]
    assert {i.container for i in found} == {str(tmp_path)}
    assert found[0].size_bytes == (tmp_path / "a.flac").stat().st_size
    assert found[0].utterance.id == records.utterance_id(tmp_path.name, "a.flac")
    assert found[2].utterance.text_origin == "unknown"


def test_ids_do_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    for place in ("here", "there/deep"):
        speak(tmp_path / place / "x" / "a.wav")
    here, there = (utterances(tmp_path / place, corpus="c")[0] for place in ("here", "there/deep"))
    assert here.id == there.id != utterances(tmp_path / "here", corpus="other")[0].id


def test_the_version_changes_with_the_bytes(tmp_path: Path) -> None:
    path = speak(tmp_path / "a.wav")
    before = inputs(tmp_path)[0]
    speak(path, 0.2)
    after = inputs(tmp_path)[0]
    assert before.version != after.version
    assert before.utterance == after.utterance


def test_pattern_and_limit(tmp_path: Path) -> None:
    for name in ("a/1.wav", "a/2.wav", "b/1.wav", "b/c/1.flac"):
        speak(tmp_path / name)

    def names(**spec: Any) -> list[str]:
        return [os.path.relpath(u.source.uri, tmp_path) for u in utterances(tmp_path, **spec)]

    assert names(pattern="b/**") == ["b/1.wav", "b/c/1.flac"]
    assert names(pattern="*/1.wav") == ["a/1.wav", "b/1.wav"]
    assert names(limit=3) == ["a/1.wav", "a/2.wav", "b/1.wav"]


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    speak(tmp_path / "a.wav")
    speak(tmp_path / "b.wav")
    (tmp_path / "a.txt").write_text("hello")
    assert [(u.text, u.source.corpus) for u in utterances(tmp_path / "a.wav")] == [("hello", "a")]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match="no such file or folder"):
        inputs(tmp_path / "absent")
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(LLaSOError, match=r"looked for .*flac.*wav"):
        inputs(tmp_path)
    with pytest.raises(LLaSOError, match="not a folder, a manifest"):
        inputs(tmp_path / "notes.md")


def test_a_transcript_that_is_not_utf8_is_a_failure_that_names_it(tmp_path: Path) -> None:
    speak(tmp_path / "a.wav")
    (tmp_path / "a.txt").write_bytes("größer".encode("latin-1"))
    ((reason, detail),) = failures(utterances(tmp_path))
    assert reason == "bad_text"
    assert str(tmp_path / "a.txt") in detail
    assert "0xf6" in detail


@pytest.mark.skipif(os.uname().sysname == "Darwin", reason="its file systems refuse such names")
def test_a_name_that_is_not_utf8_still_gives_a_record_that_can_be_stored(tmp_path: Path) -> None:
    speak(tmp_path / "a.wav")
    os.rename(tmp_path / "a.wav", os.fsencode(tmp_path) + b"/\xff.wav")
    found = utterances(tmp_path)
    assert failures(found)[0][0] == "bad_name"
    assert records.from_table(records.to_table(found, Utterance), Utterance) == found


def test_the_recipe_fills_what_rows_do_not_say(tmp_path: Path) -> None:
    speak(tmp_path / "a.wav")
    given = {
        "language": "English",
        "speaker": "june",
        "gender": "F",
        "age": "34",
        "accent": "US",
        "environment": "booth",
    }
    (found,) = utterances(tmp_path, **given)
    assert (found.language, found.language_origin) == ("en", GIVEN)
    assert found.speaker.id == Attribute("june", GIVEN)
    assert found.speaker.gender == Attribute("female", GIVEN)
    assert found.speaker.age_range == Attribute("30-39", GIVEN)
    assert found.speaker.accent == Attribute("united-states", GIVEN)
    assert found.environment == Attribute("studio", GIVEN)
    (plain,) = utterances(tmp_path)
    assert plain.speaker == records.Speaker()
    assert (plain.language, plain.language_origin) == (None, "unknown")
    for wrong in ({"language": "klingonish"}, {"gender": "loud"}, {"age": "18-25"}):
        with pytest.raises(LLaSOError, match=next(iter(wrong))):
            inputs(tmp_path, **wrong)


def test_links_to_folders_are_followed_once_even_in_a_loop(tmp_path: Path) -> None:
    root, other = tmp_path / "corpus", tmp_path / "elsewhere"
    for path in (root / "a.wav", other / "b.wav", other / "deep" / "c.wav"):
        speak(path)
    for link, target in ((root / "more", other), (root / "same", other), (other / "deep" / "back", root)):
        link.symlink_to(target, target_is_directory=True)
    (root / "d.wav").symlink_to(other / "b.wav")
    names = [os.path.relpath(u.source.uri, root) for u in utterances(root)]
    assert names == ["a.wav", "d.wav", "more/b.wav", "more/deep/c.wav"]


# LibriSpeech


def test_librispeech(tmp_path: Path) -> None:
    root = tmp_path / "LibriSpeech" / "dev-clean"
    for name in ("84/121/84-121-0000", "84/121/84-121-0001", "84/121/84-121-0002", "1272/9/1272-9-0000"):
        speak(root / f"{name}.flac")
    (root / "84/121/84-121.trans.txt").write_text("84-121-0000 GO ON\n84-121-0001 STAY\n84-121-0003 LOST\n")
    (root / "1272/9/1272-9.trans.txt").write_text("1272-9-0000 MISTER\n")
    (tmp_path / "LibriSpeech" / "SPEAKERS.TXT").write_text(
        "; comment | x | y\n84   | F | dev-clean  | 8.0 | A Reader\n1272 | M | dev-clean | 8.1 | Another\n"
    )
    assert recognise(SourceSpec(path=str(root))).layout.name == "librispeech"
    found = utterances(root)
    said = [(u.source.uri.rpartition("/")[2], u.text, u.speaker.id.value, u.speaker.gender.value) for u in found]
    assert said == [
        ("1272-9-0000.flac", "MISTER", "1272", "male"),
        ("84-121-0000.flac", "GO ON", "84", "female"),
        ("84-121-0001.flac", "STAY", "84", "female"),
        ("84-121-0002.flac", None, "84", "female"),
        ("84-121-0003.flac", "LOST", "84", "female"),
    ]
    with pytest.raises(AudioError) as caught:
        audio.decode(found[4].source.uri)
    assert caught.value.reason == "missing"


def test_librispeech_lines_that_repeat_or_break(tmp_path: Path) -> None:
    speak(tmp_path / "1/2/1-2-0000.flac")
    (tmp_path / "1/2/1-2.trans.txt").write_bytes(b"1-2-0000 A\n1-2-0000 B\n\xff\xfe X\n1-2-0001 \xe9\n")
    found = utterances(tmp_path)
    assert [(reason, detail.partition("1-2.trans.txt:")[2][0]) for reason, detail in failures(found)] == [
        ("bad_row", "2"),
        ("bad_text", "4"),
        ("bad_row", "3"),
    ]
    assert len({u.id for u in found}) == 4


# Common Voice

HEADER = "client_id\tpath\tsentence\tage\tgender\taccents\tlocale\n"


def test_common_voice(tmp_path: Path) -> None:
    root = tmp_path / "cv-corpus" / "en"
    for number in (1, 2, 3):
        speak(root / "clips" / f"common_voice_en_{number}.mp3")
    (root / "validated.tsv").write_text(
        HEADER
        + 'ab\tcommon_voice_en_2.mp3\t"Hello, he said.\ttwenties\tmale_masculine\tUnited States English\ten\n'
        + "cd\tcommon_voice_en_1.mp3\tGo on.\t\tdo_not_wish_to_say\t\ten\n"
        + "broken\trow\n"
    )
    (root / "other.tsv").write_text(HEADER + "ef\tcommon_voice_en_3.mp3\tUnchecked.\t\t\t\ten\n")
    assert recognise(SourceSpec(path=str(root))).layout.name == "common_voice"
    first, second, broken = utterances(root)
    assert (first.text, first.language, first.speaker.id.value) == ("Go on.", "en", "cd")
    assert first.speaker.gender == Attribute()
    assert second.text == '"Hello, he said.'
    assert second.speaker == records.Speaker(
        Attribute("ab", GIVEN), Attribute("male", GIVEN), Attribute("20-29", GIVEN), Attribute("united-states", GIVEN)
    )
    assert broken.failure and "validated.tsv:4" in broken.failure.detail
    assert [u.text for u in utterances(root / "other.tsv")] == ["Unchecked."]
    assert inputs(root)[0].size_bytes == (root / "clips/common_voice_en_1.mp3").stat().st_size


def test_common_voice_without_validated_and_with_several_languages(tmp_path: Path) -> None:
    for code in ("de", "fr"):
        speak(tmp_path / code / "clips" / "1.mp3")
        (tmp_path / code / "train.tsv").write_text(HEADER + f"x\t1.mp3\thi\t\t\t\t{code}\n")
        (tmp_path / code / "clip_durations.tsv").write_text("clip\tduration[ms]\n1.mp3\t100\n")
    found = inputs(tmp_path)
    assert [(i.utterance.language, os.path.basename(i.container)) for i in found] == [("de", "de"), ("fr", "fr")]


def test_common_voice_of_newer_releases(tmp_path: Path) -> None:
    for number in (1, 2):
        speak(tmp_path / "clips" / f"{number}.mp3")
    header = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tage\tgender\taccents\tvariant\tlocale\tsegment\n"
    first = 'a\t1.mp3\ts1\t"Hola, va dir\tgeneral\t\t\t\tValencià\tca\t\n'
    second = 'b\t2.mp3\ts2\tBé"\t\t\t\tBaleàric\tCentral\tca\t\n'
    (tmp_path / "validated.tsv").write_text(header + first + second, encoding="utf-8")
    notes: Counter[str] = Counter()
    found = [item.utterance for item in read(SourceSpec(path=str(tmp_path)), notes)]
    assert [(u.text, u.speaker.accent.value) for u in found] == [('"Hola, va dir', "valencià"), ('Bé"', "baleàric")]
    assert notes == {"columns not used of validated.tsv: sentence_id, sentence_domain, age, gender, segment": 5}


# Manifest

ROWS: list[dict[str, Any]] = [
    {
        "audio": "a.wav",
        "text": "one",
        "language": "en_US",
        "speaker": 7,
        "gender": "f",
        "age": 34,
        "environment": "Car",
    },
    {"audio": "./b/../b/long.wav", "text": "two", "start": 1.5, "end": 2.25},
    {"audio": "b/long.wav", "text": "three", "start": 0.0, "end": 1.0},
    {"audio": "absent.wav", "text": "four"},
]


def write_manifest(path: Path, rows: list[dict[str, Any]]) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows]), path)
    elif path.suffix in (".csv", ".tsv"):
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, names, delimiter="," if path.suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet", "json"])
def test_every_kind_of_manifest_says_the_same(tmp_path: Path, kind: str) -> None:
    speak(tmp_path / "a.wav")
    speak(tmp_path / "b" / "long.wav", 3)
    manifest = write_manifest(tmp_path / f"m.{kind}", ROWS)
    assert recognise(SourceSpec(path=str(manifest))).layout.name == "manifest"
    found = inputs(manifest)
    said = [i.utterance for i in found]
    assert [(u.text, u.source.start_s, u.source.end_s) for u in said] == [
        ("one", None, None),
        ("four", None, None),
        ("three", 0.0, 1.0),
        ("two", 1.5, 2.25),
    ]
    assert said[0].speaker.id.value == "7"
    assert (said[0].speaker.gender.value, said[0].speaker.age_range.value) == ("female", "30-39")
    assert (said[0].language, said[0].environment.value) == ("en", "vehicle")
    assert said[1].failure is None  # decoding will say that it is missing
    assert [u.id for u in said] == [
        records.utterance_id("m", "a.wav"),
        records.utterance_id("m", "absent.wav"),
        records.utterance_id("m", "b/long.wav", None, 0.0, 1.0),
        records.utterance_id("m", "b/long.wav", None, 1.5, 2.25),
    ]
    assert {i.container for i in found} == {str(manifest)}
    assert found[2].size_bytes == 32_000


@pytest.mark.parametrize("kind", ["jsonl", "csv", "tsv", "parquet"])
def test_a_folder_with_a_manifest_is_read_by_it(tmp_path: Path, kind: str) -> None:
    speak(tmp_path / "a.wav")
    write_manifest(tmp_path / f"manifest.{kind}", [{"audio": "a.wav", "text": "one"}])
    source = SourceSpec(path=str(tmp_path))
    assert recognise(source).layout.name == "manifest"
    assert [one.utterance.text for one in inputs(tmp_path)] == ["one"]


def test_other_tools_names_are_understood(tmp_path: Path) -> None:
    speak(tmp_path / "a.wav", 3)
    row = {"audio_filepath": str(tmp_path / "a.wav"), "duration": 1.0, "offset": 0.5, "text": "x", "lang": "de"}
    whole = {"audio_filepath": "a.wav", "duration": 3.0, "text": "y"}
    found = utterances(write_manifest(tmp_path / "nemo.json", [row, whole]))
    assert [(u.source.start_s, u.source.end_s, u.language) for u in found] == [(None, None, None), (0.5, 1.5, "de")]
    assert found[1].id == records.utterance_id("nemo", "a.wav", None, 0.5, 1.5)


def test_broken_rows_are_counted_with_file_and_line(tmp_path: Path) -> None:
    lines = [
        b'{"audio": "a.wav", "text": "fine"}',
        b"{not json",
        b'["a.wav"]',
        b'{"text": "no audio"}',
        b'{"audio": "a.wav", "start": "soon"}',
        b'{"audio": "a.wav", "start": 2, "end": 1}',
        b'{"audio": "a.wav", "text": "again"}',
        b"",
        b'{"audio": "b.wav", "text": "caf\xe9"}',
        b'{"audio": "c.wav", "text": "half \\ud83d emoji"}',
        b'{"audio": "d.wav", "start": NaN, "text": "x"}',
    ]
    (tmp_path / "m.jsonl").write_bytes(b"\n".join(lines))
    found = utterances(tmp_path / "m.jsonl")
    named = sorted((reason, int(detail.split("m.jsonl:")[1].split(":")[0])) for reason, detail in failures(found))
    assert named == [*(("bad_row", line) for line in (2, 3, 4, 5, 6, 7)), ("bad_text", 9), ("bad_text", 10)]
    assert len(found) == 10
    assert len({u.id for u in found}) == 10
    records.to_table(found, Utterance)


def test_a_broken_csv_row_hurts_no_other(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text('audio,text\na.wav,"two\nlines"\nb.wav,too,many\nc.wav,"quoted, comma"\n')
    found = utterances(tmp_path / "m.csv")
    assert [u.text for u in found if not u.failure] == ["two lines", "quoted, comma"]
    assert failures(found) == [("bad_row", f"{tmp_path}/m.csv:4: 3 cells where the header has 2")]


def test_a_table_in_another_encoding_is_an_error_that_can_be_printed(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_bytes("audio,text\na.wav,x\n".encode("utf-16-le")[:-1])
    with pytest.raises(LLaSOError, match="it holds NUL characters") as caught:
        inputs(tmp_path / "m.csv")
    str(caught.value).encode()


def test_a_manifest_without_an_audio_column_says_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("sound;text\na.wav;x\n")
    with pytest.raises(LLaSOError, match="no column `audio`; its columns are sound, text"):
        inputs(tmp_path / "m.csv")


# WebDataset


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


FLAC = audio.encode(np.full(1600, 50, np.int16), "flac")


def test_a_tar_of_webdataset(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "a.tar",
        {
            "x/0002.flac": FLAC,
            "x/0002.json": json.dumps({"text": "zwei", "lang": "de", "speaker": {"id": 5}}).encode(),
            "x/0001.flac": FLAC,
            "x/0001.txt": b"eins",
            "x/0001.cls": b"3",
            "x/0003.txt": b"alone",
            "x/0004.flac": FLAC,
            "x/0004.txt": "größer".encode("latin-1"),
            "x/0005.0.flac": FLAC,
            "x/0005.1.flac": FLAC,
            "x/0005.json": b'{"text": "of both"}',
        },
    )
    assert recognise(SourceSpec(path=str(tar))).layout.name == "webdataset"
    found = utterances(tar)
    fine = [(u.source.member, u.text, u.language) for u in found if not u.failure]
    assert fine == [
        ("x/0001.flac", "eins", None),
        ("x/0002.flac", "zwei", "de"),
        ("x/0005.0.flac", None, None),
        ("x/0005.1.flac", None, None),
    ]
    assert [(reason, detail.split("!")[1].split(":")[0]) for reason, detail in failures(found)] == [
        ("bad_row", "x/0003"),
        ("bad_text", "x/0004.txt"),
    ]
    assert found[0].id == records.utterance_id("a", "a.tar", "x/0001.flac")
    assert len(audio.decode(str(tar), found[0].source.member)[0]) == 1600


def test_folders_and_patterns_of_tars(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"s-{number:02d}.tar", {f"{number}.flac": FLAC})
    whole, pattern = inputs(tmp_path, corpus="c"), inputs(f"{tmp_path}/s-{{00..02}}.tar", corpus="c")
    assert whole == pattern
    assert [os.path.basename(i.container) for i in whole] == ["s-00.tar", "s-01.tar", "s-02.tar"]
    with pytest.raises(LLaSOError, match=r"1 of 4 tars are not there.*s-03\.tar"):
        inputs(f"{tmp_path}/s-{{00..03}}.tar")


def test_a_tar_cut_short_gives_its_whole_members_and_a_failure(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", {"1.flac": FLAC, "2.flac": FLAC, "3.flac": FLAC})
    tar.write_bytes(tar.read_bytes()[: 2 * (512 + len(FLAC) // 512 * 512 + 512) + 600])
    (tmp_path / "b.tar").write_text("not a tar" * 200)
    found = utterances(tmp_path)
    assert [u.source.member for u in found if not u.failure] == ["1.flac", "2.flac"]
    assert [reason for reason, _ in failures(found)] == ["truncated", "unreadable"]


def test_sources_are_read_from_an_object_store(tmp_path: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/corpus/x/a.flac", FLAC)
    store.pipe_file("/corpus/x/a.txt", b"hello")
    store.pipe_file("/corpus/m.jsonl", b'{"audio": "x/a.flac", "text": "hi"}\n')
    (found,) = utterances("memory://corpus/x")
    assert (found.source.uri, found.text) == ("memory://corpus/x/a.flac", "hello")
    (row,) = inputs("memory://corpus/m.jsonl")
    assert (row.utterance.source.uri, row.size_bytes) == ("memory://corpus/x/a.flac", len(FLAC))
    assert len(audio.decode(row.utterance.source.uri)[0]) == 1600
    store.rm("/corpus", recursive=True)


# Pure functions


@given(st.integers(0, 999), st.integers(0, 30))
def test_brace_ranges_keep_their_zeros(first: int, count: int) -> None:
    names = braces.expand_braces(f"a-{{{first:05d}..{first + count:05d}}}.tar")
    assert names == [f"a-{number:05d}.tar" for number in range(first, first + count + 1)]


def test_brace_lists_multiply() -> None:
    assert braces.expand_braces("{a,b}/{8..10}.tar") == [f"{x}/{n}.tar" for x in "ab" for n in (8, 9, 10)]


@pytest.mark.parametrize(
    ("pattern", "path", "fits"),
    [
        ("**/*", "a.wav", True),
        ("**/*", "x/y/a.wav", True),
        ("*.wav", "x/a.wav", False),
        ("x/**/a.wav", "x/a.wav", True),
        ("x/**/a.wav", "x/y/z/a.wav", True),
        ("[ab]?.wav", "b1.wav", True),
        ("[!ab]?.wav", "b1.wav", False),
        ("a+b.wav", "a+b.wav", True),
        ("a.wav", "aXwav", False),
    ],
)
def test_patterns(pattern: str, path: str, fits: bool) -> None:
    assert bool(compile_glob(pattern).fullmatch(path)) == fits
