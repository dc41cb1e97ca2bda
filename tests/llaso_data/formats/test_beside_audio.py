"""What a corpus says beside its audio is read, or the summary names what was not."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llaso_data import audio, formats
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.support.tars import packed

WAV = audio.encode(np.full(800, 50, np.int16), "wav")


def read(path: Path) -> tuple[list[Utterance], Counter[str]]:
    notes: Counter[str] = Counter()
    return [item.utterance for item in formats.read(SourceSpec(path=str(path)), notes)], notes


def put(folder: Path, name: str, data: str | bytes = WAV) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())


@pytest.mark.parametrize("ending", ["TXT", "Txt", "LAB", "txt"])
def test_letter_case_of_endings_does_not_matter(tmp_path: Path, ending: str) -> None:
    put(tmp_path, "a.WAV")
    put(tmp_path, f"a.{ending}", "one two")
    (found,), notes = read(tmp_path)
    assert found.text == "one two" and not notes


@pytest.mark.parametrize("data", ["0 3000000 sil\n3000000 7000000 hh\n", "0 100000 a", "0 90000 x^sil-h+e=l\n"])
@pytest.mark.parametrize("ending", ["lab", "txt"])
def test_labels_of_phones_are_no_transcript(tmp_path: Path, data: str, ending: str) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, f"a.{ending}", data)
    (found,), notes = read(tmp_path)
    assert found.text is None and found.failure is None
    assert notes == {f"not read: labels of phones: a.{ending}": 1}


@pytest.mark.parametrize("data", ["1 2 buckle my shoe", "3 4", "12 30", "2.5 million"])
def test_numbers_are_a_transcript(tmp_path: Path, data: str) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, "a.lab", data)
    (found,), notes = read(tmp_path)
    assert found.text == data and not notes


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("metadata.csv", "name,transcription\na.wav,one\n"),
        ("metadata.jsonl", '{"name": "a.wav"}\n'),
        ("train/metadata.parquet", "PAR1"),
        ("metadata.csv", "a|one|one\n"),
        ("transcripts.txt", "a\tone\n"),
        ("text", "a one\n"),
        ("txt.done.data", "( a one )\n"),
        ("a.srt", "1\n"),
        ("a.en.vtt", "WEBVTT\n"),
        ("a.TextGrid", ""),
        ("a.TRN", "one"),
        ("a.json", "{}"),
        ("a.wav.txt", "one"),
        ("a.normalized.txt", "one"),
        ("a.eaf", ""),
        ("all.stm", ""),
        ("txt/a.txt", "one"),
    ],
)
def test_what_looks_like_transcripts_and_is_not_read_is_named(tmp_path: Path, name: str, data: str) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, name, data)
    put(tmp_path, "README.txt", "hello")
    (found,), notes = read(tmp_path)
    assert found.text is None
    (note,) = notes
    assert note.startswith("not read: ") and name in note


def test_a_table_that_a_reader_takes_says_so(tmp_path: Path) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, "metadata.csv", "wav,transcription\na.wav,one\n")
    assert "name the table as the source" in next(iter(read(tmp_path)[1]))
    (found,), _ = read(tmp_path / "metadata.csv")
    assert found.text == "one"


def test_metadata_with_names_of_files_beside_it_is_read(tmp_path: Path) -> None:
    put(tmp_path, "a.wav")
    put(tmp_path, "metadata.csv", "file_name,transcription\na.wav,one\n")
    (found,), _ = read(tmp_path)
    assert found.text == "one"


@pytest.mark.parametrize("name", ["txt", "WRD", "target", "normalized_text", "raw_transcription", "Transcription"])
def test_texts_of_manifests_have_many_names(tmp_path: Path, name: str) -> None:
    put(tmp_path, "m.jsonl", json.dumps({"audio": "a.wav", name: "one", "snr": 3, "duration": 1.0}) + "\n")
    (found,), notes = read(tmp_path / "m.jsonl")
    assert found.text == "one" and notes == {"columns not used of m.jsonl: snr": 1}


def test_of_two_texts_the_first_of_the_list_is_read_and_the_other_named(tmp_path: Path) -> None:
    put(tmp_path, "m.csv", "audio,raw_transcription,transcription,id\na.wav,One.,one,7\n")
    (found,), notes = read(tmp_path / "m.csv")
    assert found.text == "one" and notes == {"columns not used of m.csv: raw_transcription, id": 2}


def test_members_with_dots_in_their_names_are_paired(tmp_path: Path) -> None:
    spans = ["talk_11.708_13.970", "talk_14.2_15.9", "talk_11.8_13.970"]
    entries = [(f"{span}.{kind}", data) for span in spans for kind, data in (("wav", WAV), ("txt", span.encode()))]
    for some in (entries[:2], entries):
        (tmp_path / "a.tar").write_bytes(packed(some))
        found, _ = read(tmp_path / "a.tar")
        assert {u.source.member: u.text for u in found} == {f"{span}.wav": span for span in spans[: len(some) // 2]}
