"""``audiofolder``: tables that name the audio beside them, in folders or zips."""

from __future__ import annotations

import json
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.formats import read, recognise
from llaso_data.pipeline.convert.samples import Converted, samples
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip


def utterances(path: Path, notes: Counter[str] | None = None, **spec: Any) -> list[Utterance]:
    return [one.utterance for one in read(SourceSpec(path=str(path), **spec), notes)]


def placed(clips: list[Clip], folder: Path) -> list[str]:
    """Copies of clips; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{number}.wav" for number in range(len(clips))]
    for name, clip in zip(names, clips, strict=True):
        (folder / name).write_bytes(clip.path.read_bytes())
    return names


def is_clip(utterance: Utterance, clip: Clip) -> bool:
    return np.array_equal(limited.decode_source(utterance.source), audio.decode(str(clip.path))[0])


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_each_kind_of_table(tmp_path: Path, clips: list[Clip], kind: str) -> None:
    names = placed(clips[:3], tmp_path / "audio")
    rows = [{"file_name": f"audio/{name}", "transcription": f"said {name}", "speaker_id": "7"} for name in names[::-1]]
    if kind == "csv":
        lines = ["file_name,transcription,speaker_id", *(",".join(row.values()) for row in rows)]
        (tmp_path / "metadata.csv").write_text("\n".join(lines))
    elif kind == "jsonl":
        (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "metadata.parquet")
    assert recognise(SourceSpec(path=str(tmp_path))).layout.name == "audiofolder"
    found = utterances(tmp_path, corpus="c")
    assert [u.text for u in found] == [f"said {name}" for name in names]
    assert {u.speaker.id.value for u in found} == {"7"}
    assert all(is_clip(u, clip) for u, clip in zip(found, clips, strict=False))


def test_tables_in_folders_are_splits(tmp_path: Path, clips: list[Clip]) -> None:
    for split in ("train", "test"):
        (name,) = placed(clips[:1], tmp_path / split)
        (tmp_path / split / "metadata.csv").write_text(f"file_name,text\n{name},hello\n")
    placed(clips[:2], tmp_path / "rest")
    notes: Counter[str] = Counter()
    made = list(samples(SourceSpec(path=str(tmp_path)), Convert(), notes))
    assert [one.sample.split for one in made if isinstance(one, Converted)] == ["test", "train"]
    assert notes["not read: audio that no row names: rest/0.wav"] == 2
    assert [u.source.uri for u in utterances(tmp_path, pattern="train/**")] == [str(tmp_path / "train" / "0.wav")]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_audio_in_a_zip_beside_the_table(tmp_path: Path, clips: list[Clip], method: int) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w", method) as archive:
        for number, clip in enumerate(clips[:3]):
            archive.write(clip.path, f"sub/{number}.wav")
    rows = [f"sub/{number}.wav,said {number}" for number in (0, 1, 2, 9)]
    (tmp_path / "metadata.csv").write_text("\n".join(["file_name,text", *rows]))
    found = utterances(tmp_path)
    assert [(u.text, u.source.member) for u in found] == [
        ("said 9", None),
        ("said 0", "sub/0.wav"),
        ("said 1", "sub/1.wav"),
        ("said 2", "sub/2.wav"),
    ]
    assert is_clip(found[1], clips[0])
    assert is_clip(found[3], clips[2])


def test_several_files_of_a_row_share_what_it_says_but_for_the_text(tmp_path: Path, clips: list[Clip]) -> None:
    placed(clips[:4], tmp_path)
    rows = [
        {"question_file_name": "0.wav", "answer_file_name": "1.wav", "text": "whose?", "gender": "F"},
        {"question_file_name": "2.wav", "answer_file_name": None, "text": "only one", "gender": "M"},
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = utterances(tmp_path)
    assert [(u.text, u.speaker.gender.value) for u in found] == [
        (None, "female"),
        (None, "female"),
        ("only one", "male"),
    ]
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_names": ["0.wav", "3.wav"], "text": "x"}))
    assert [Path(u.source.uri).name for u in utterances(tmp_path)] == ["0.wav", "3.wav"]


def test_bad_rows_are_counted_with_file_and_line(tmp_path: Path, clips: list[Clip]) -> None:
    placed(clips[:2], tmp_path)
    lines = [
        '{"file_name": "0.wav", "text": "good"}',
        '{"file_name": "../../etc/passwd"}',
        '{"file_name": "/etc/passwd"}',
        '{"file_name": 7}',
        '{"file_name": ""}',
        '{"text": "no file"}',
        "{broken",
        '{"file_name": "1.wav", "text": ["a", "list"]}',
        '{"file_name": "a\\u0000.wav"}',
        '{"file_name": "0.wav", "text": "again"}',
        '{"file_name": "zipped.wav", "text": "not there"}',
    ]
    (tmp_path / "metadata.jsonl").write_text("\n".join(lines))
    (tmp_path / "broken.zip").write_bytes(b"PK\5\6 no zip")
    found = utterances(tmp_path)
    details = [u.failure.detail for u in found if u.failure]
    assert [u.text for u in found if not u.failure] == ["good", "not there"]
    for line in range(2, 11):
        assert sum(f"/metadata.jsonl:{line}: " in detail for detail in details) == 1, line
    assert any("broken.zip: not a readable zip" in detail for detail in details)


def test_folders_without_such_a_table_stay_what_they_are(tmp_path: Path, clips: list[Clip]) -> None:
    placed(clips[:1], tmp_path)
    (tmp_path / "metadata.csv").write_text("LJ001-0001|text|normal text\n")
    assert recognise(SourceSpec(path=str(tmp_path))).layout.name == "folder"
