"""SpeechBrain's tables: placeholders in paths, spans in samples."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llaso_data import formats, records
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.recipe import SourceSpec
from llaso_data.records import Utterance
from tests.conftest import Clip


def read(path: Path, **spec: Any) -> tuple[list[Utterance], Counter[str]]:
    notes: Counter[str] = Counter()
    return [item.utterance for item in formats.read(SourceSpec(path=str(path), **spec), notes)], notes


@pytest.fixture
def data(tmp_path: Path, clips: list[Clip]) -> Path:
    """Audio in a folder, and tables in another."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / "data" / "x").mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips[0].path, tmp_path / "data" / "x" / name)
    (tmp_path / "tables").mkdir()
    return tmp_path / "data"


def test_csv(tmp_path: Path, data: Path) -> None:
    table = tmp_path / "tables" / "train.csv"
    table.write_text(
        "ID, duration, wav, spk_id, wrd, phn\n"
        "2, 1.5, $data_folder/x/b.wav, s2, GO ON, g ow\n"
        f"1, 1.5, {data}/x/a.wav, s1, STAY, s t\n"
    )
    assert formats.recognise(SourceSpec(path=str(table))).layout.name == "speechbrain"
    found, notes = read(table, root=str(data), corpus="c")
    assert [(u.text, u.speaker.id.value, u.source.uri) for u in found] == [
        ("STAY", "s1", f"{data}/x/a.wav"),
        ("GO ON", "s2", f"{data}/x/b.wav"),
    ]
    assert [u.id for u in found] == [records.utterance_id("c", f"x/{name}.wav") for name in "ab"]
    assert notes == {"columns not used of train.csv: phn": 1}


def test_json(tmp_path: Path, data: Path) -> None:
    table = tmp_path / "tables" / "train.json"
    rows = {
        "u1": {"wav": "{data_root}/x/a.wav", "length": 1.5, "words": "go on", "spk_id": "s1", "gender": "F"},
        "u2": {"wav": {"file": "{data_root}/x/b.wav", "start": 4000, "stop": 12000}, "words": ["stay", "here"]},
        "u3": {"wav": "../data/x/b.wav", "length": 3.0, "words": "no placeholder"},
    }
    table.write_text(json.dumps(rows, indent=2))
    assert formats.recognise(SourceSpec(path=str(table))).layout.name == "speechbrain"
    found, notes = read(table, root=str(data))
    assert [(u.text, u.source.start_s, u.source.end_s, u.source.uri) for u in found] == [
        ("no placeholder", None, None, f"{data}/x/b.wav"),
        ("go on", None, None, f"{data}/x/a.wav"),
        ("stay here", 0.25, 0.75, f"{data}/x/b.wav"),
    ]
    assert len(limited.decode_source(found[2].source)) == 8000
    assert (found[1].speaker.id.value, found[1].speaker.gender.value) == ("s1", "female")
    table.write_text(json.dumps(rows))
    assert [u.id for u in read(table, root=str(data))[0]] == [u.id for u in found]
    assert not notes


def test_a_placeholder_without_a_folder_fails_with_the_remedy(tmp_path: Path, data: Path) -> None:
    table = tmp_path / "tables" / "a.json"
    table.write_text('{"u1": {"wav": "{data_root}/x/a.wav"}, "u2": {"wav": "${data_folder}/x/b.wav"}}')
    found, _ = read(table)
    assert [u.failure.detail.partition("a.json:1: ")[2] for u in found if u.failure] == [
        "{data_root} stands for a folder that nobody names; give it as --root, or `root` in the recipe",
        "${data_folder} stands for a folder that nobody names; give it as --root, or `root` in the recipe",
    ]
    shutil.move(table, data / "a.json")  # the table lies where its paths begin
    assert [u.failure for u in read(data / "a.json")[0]] == [None, None]


@pytest.mark.parametrize(
    ("columns", "span"),
    [
        ("8000,16000,1.5", (0.5, 1.0)),
        ("4000,8000,0.5", (0.5, 1.0)),  # 8 kHz, by the length
        ("0,0,1.5", (0.0, None)),
        ("0.5,1.0,1.5", (0.5, 1.0)),
        (",,1.5", (None, None)),
    ],
)
def test_spans_are_samples_unless_they_have_a_point(
    tmp_path: Path, columns: str, span: tuple[float | None, float | None]
) -> None:
    table = tmp_path / "a.csv"
    table.write_text(f"ID,start,stop,duration,wav\n1,{columns},a.wav\n")
    (found,), _ = read(table)
    assert (found.source.start_s, found.source.end_s) == span and found.failure is None


def test_broken_rows_are_counted(tmp_path: Path) -> None:
    rows = [
        "1,1.0,a.wav",
        "1,1.0,b.wav",
        "2,1.0",
        ",1.0,c.wav",
        "3,1.0,",
        "4,1.0,$root",
        "5,1.0,local:///x",
        "6,1.0,d.wav",
    ]
    (tmp_path / "a.csv").write_text("\n".join(["ID,duration,wav", *rows]))
    found, _ = read(tmp_path / "a.csv")
    lines = sorted(int(u.failure.detail.partition("a.csv:")[2][0]) for u in found if u.failure)
    assert lines == [3, 4, 5, 6, 7, 8]
    assert len({u.id for u in found}) == 8
    members = ['  "a": {"wav": "a.wav"}', '  "b": {"wav": 7}', '  "d": [1]', '  "c": {"wav": "c".wav"}', '  "e": {}']
    text = "{\n" + ",\n".join([*members, '  "f": {"wav": "f.wav"}'])
    for closed in (text + "\n}", text):
        (tmp_path / "a.json").write_text(closed)
        found, _ = read(tmp_path / "a.json")
        lines = sorted(int(u.failure.detail.partition("a.json:")[2][0]) for u in found if u.failure)
        assert lines == [3, 4, 5, 6, *([] if closed.endswith("}\n}") else [7])]
        assert sorted(Path(u.source.uri).name for u in found if not u.failure) == ["a.wav", "f.wav"]


def test_manifests_stay_manifests(tmp_path: Path) -> None:
    for name, text in {
        "a.csv": "id,wav,text\n1,a.wav,x\n",
        "b.json": '{"wav": "a.wav", "text": "x"}\n{"wav": "b.wav"}\n',
        "c.json": '[{"wav": "a.wav"}]',
        "d.json": '{"audio": {"path": "a.wav"}, "text": "x"}',
    }.items():
        (tmp_path / name).write_text(text)
        assert formats.recognise(SourceSpec(path=str(tmp_path / name))).layout.name == "manifest"
    with pytest.raises(LLaSOError, match=r"a\.csv: no column ID"):
        read(tmp_path / "a.csv", type="speechbrain")
    (tmp_path / "e.csv").write_text("ID,duration,wav\n")
    with pytest.raises(LLaSOError, match="the table holds no row"):
        read(tmp_path / "e.csv")
