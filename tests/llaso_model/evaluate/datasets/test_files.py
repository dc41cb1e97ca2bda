"""Whose answers a file has, linked folders, and a table that cuts no figure at any width."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_model.evaluate import score
from llaso_model.evaluate.datasets import layouts
from llaso_model.evaluate.datasets.files import parse_source
from llaso_model.evaluate.report import table
from tests.support.evaluation import TASKS

ROW = {"set": "ASR", "reference": "hello world", "answer": "hello there"}


def written(path: Path, count: int = 1, **more: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({**ROW, "id": f"q{n}", **more}) + "\n" for n in range(count)))
    return path


def systems(*sources: Any) -> list[str]:
    return list(
        dict.fromkeys(one.system for one in layouts.read_predictions(list(map(str, sources)), TASKS).predictions)
    )


@pytest.mark.parametrize(
    "name, system",
    [
        ("Qwen/ASR_test.jsonl", "Qwen"),
        ("Qwen/ASR.jsonl", "Qwen"),
        ("Qwen/asr.json", "Qwen"),
        ("Qwen/vctk_gender_classification_test.json", "Qwen"),
        ("Qwen/predictions.jsonl", "Qwen"),
        ("eval/Qwen.jsonl", "Qwen"),
        ("eval/Qwen2.5-7B.v1.jsonl", "Qwen2.5-7B.v1"),
        ("eval/Qwen.json", "Qwen"),
        ("eval/a=b.jsonl", "a=b"),
    ],
)
def test_a_file_alone_is_named_after_itself_or_after_its_folder_where_its_own_name_is_a_sets(
    tmp_path: Path, name: str, system: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path / name)
    assert systems(path) == [system]
    monkeypatch.chdir(path.parent)
    assert systems(path.name) == [system]
    assert systems(f"Mine={path}") == ["Mine"] and systems(f"Mine={path.name}") == ["Mine"]


def test_addresses_and_tars_are_named_alike() -> None:
    named = {
        "s3://bucket/Qwen/ASR_test.jsonl": "Qwen",
        "s3://bucket/eval/Qwen.jsonl": "Qwen",
        "s3://bucket/lr=0.1/Qwen.jsonl": "Qwen",
        "Mine=s3://bucket/eval/Qwen.jsonl": "Mine",
        "/somewhere/Qwen2.5.tar.xz": "Qwen2.5",
    }
    assert {said: parse_source(said).system_of([], TASKS) for said in named} == named


def test_a_name_that_is_given_holds_whatever_the_lines_say(tmp_path: Path) -> None:
    path = written(tmp_path / "mine.jsonl", system="inner")
    assert systems(path) == ["inner"] and systems(f"Mine={path}") == ["Mine"]
    assert systems(f"A={path}", f"B={path}") == ["A", "B"]
    path.write_text(path.read_text() + json.dumps({**ROW, "id": "x", "system": "other"}))
    with pytest.raises(LLaSOError, match=r"row 2: Mine= names one system, but the lines are of inner and other"):
        systems(f"Mine={path}")


def test_linked_folders_are_followed_and_none_is_read_twice(tmp_path: Path) -> None:
    written(tmp_path / "elsewhere" / "ASR.jsonl", 2)
    written(tmp_path / "elsewhere" / "deep" / "ASR.jsonl", 2)
    root = tmp_path / "all"
    written(root / "b" / "ASR.jsonl", 2)
    links = {
        "a": "../elsewhere",  # outside, with a folder in it
        "again": "../elsewhere/deep",  # which a has read
        "before": "b",  # beside it
        "b/up": "..",  # a loop
        "b/self": "self",  # one that leads to itself
        "gone": "nowhere",
        "gone.jsonl": "nowhere.jsonl",
    }
    for name, target in links.items():
        os.symlink(target, root / name)
    os.symlink("../back", tmp_path / "elsewhere" / "back")
    os.symlink("all", tmp_path / "back")  # another loop, by two links
    os.mkfifo(root / "pipe.jsonl")
    found = layouts.read_predictions([str(root)], TASKS)
    assert {one.system for one in found.predictions} == {"a", "deep", "b"} and len(found.predictions) == 6
    skipped = {line.partition(": ")[0].removeprefix(f"{root}/") for line in found.skipped}
    assert {"again", "before", "b/up", "b/self", "gone", "gone.jsonl", "pipe.jsonl"} <= skipped
    os.symlink(root, tmp_path / "link")
    assert systems(tmp_path / "link") == systems(root)
    (tmp_path / "linked.jsonl").symlink_to(root / "b" / "ASR.jsonl")
    assert systems(tmp_path / "linked.jsonl") == ["linked"]


LONG = "an-organisation/a-very-long-name-of-a-system-[bold]that-no-column-holds[/bold]-{}"


@pytest.fixture(scope="module")
def eleven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scores of eleven systems, some of long names, on two tasks."""
    folder = tmp_path_factory.mktemp("eleven")
    rows = [
        {"system": LONG.format(n) if n % 2 else f"S{n}", "set": set_, "id": str(i), "reference": right, "answer": given}
        for n in range(11)
        for set_, right, wrong in (("ASR", "one two three", "one"), ("vctk_gender_classification", "male", "female"))
        for i in range(12)
        for given in [right if i > n else wrong]
    ]
    (folder / "all.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score.score([str(folder / "all.jsonl")], str(folder), workers=1)
    return folder


@pytest.mark.parametrize("columns", [20, 60, 80, 200, None])
def test_no_figure_is_cut_at_any_width(
    eleven: Path, columns: int | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Into a pipe, which has no width of its own: 80 columns then."""
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", str(columns))
    said = score.read_scores(str(eleven))
    table.print_scores(said, str(eleven))
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    cells = [cell.strip() for line in lines if line.startswith("│") for cell in line.split("│")[2:-1]]
    for task in said["tasks"]:
        for system in said["systems"]:
            one = task["scores"][system]
            assert f"{100 * one['value']:.1f} [{100 * one['low']:.1f}, {100 * one['high']:.1f}]" in cells
    assert all(re.fullmatch(r"|–|[\d.]+ %|[\d.]+ \[[\d.]+, [\d.]+\]", cell) for cell in cells)
    assert sum("%" in cell for cell in cells) == 5 * 11 and "…" not in shown
    tables = [line for line in lines if line[:1] in "┏┃┡│├└"]
    assert all(len(line) <= max(40, columns or 80) for line in tables)
    # Names are whole, piece below piece.
    heads = [head.split("┡")[0].splitlines()[1:] for head in shown.split("┏")[1:]]
    columns_of = [zip(*(re.split("┃", line)[2:-1] for line in head), strict=True) for head in heads]
    names = ["".join(piece.strip() for piece in column) for head in columns_of for column in head]
    assert names == said["systems"]
