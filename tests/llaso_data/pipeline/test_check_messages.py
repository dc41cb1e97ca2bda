"""``llaso-data validate`` of one's own JSON: every problem with file and line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.pipeline.check_messages import check_messages, holds_messages
from tests.conftest import Clip
from tests.support.fuzz_targets import GOLDEN
from tests.support.paths import REPOSITORY

PAGE = REPOSITORY / "docs" / "data-format.md"


def row(**more: Any) -> dict[str, Any]:
    turns = [{"role": "user", "content": "<audio>What is said?"}, {"role": "assistant", "content": "Hello."}]
    return {"messages": turns, "audios": ["a.wav"], **more}


@pytest.fixture
def folder(tmp_path: Path, clips: Sequence[Clip]) -> Path:
    shutil.copyfile(clips[0].path, tmp_path / "a.wav")
    (tmp_path / "broken.wav").write_bytes((tmp_path / "a.wav").read_bytes()[:900])
    return tmp_path


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in rows), encoding="utf-8")
    return path


def test_a_good_file_has_no_problem(folder: Path) -> None:
    path = write(folder / "data.jsonl", row(), row(task="asr", language="en", split="train", audio_info=[{"age": 30}]))
    done = CliRunner().invoke(main, ["validate", str(path)])
    assert (done.exit_code, "no problems" in done.output) == (0, True)
    report = check_messages(str(folder))
    assert (report.ok, report.files, report.rows, report.audios) == (True, 1, 2, 1)
    assert report.hours > 0


def test_every_problem_has_its_file_and_line(folder: Path) -> None:
    rows: list[tuple[Any, str]] = [
        (row(audios=["none.wav"]), "none.wav: no such audio"),
        (row(audios=["a.wav", "a.wav"]), "1 audio tag and 2 audios"),
        (row(audios=["broken.wav"]), "broken.wav"),
        (row(language="englisch"), "is no language"),
        (row(task="juggling"), "there is no task 'juggling'; there are accent"),
        (row(audio_info=[{"start": 0, "end": 9999}]), "a.wav"),
        (row(audios="a.wav"), r"$.audios: 'a.wav' is not of type 'array'"),
        ({"query": "<audio>", "response": 5, "audios": ["a.wav"]}, "`query` and `response` are texts"),
    ]
    path = write(folder / "data.jsonl", row(), *(one for one, _ in rows))
    report = check_messages(str(path))
    assert [problem["shard"] for problem in report.problems] == [f"data.jsonl:{n}" for n in range(2, len(rows) + 2)]
    for problem, (_, what) in zip(report.problems, rows, strict=True):
        assert what in str(problem["what"])
    done = CliRunner().invoke(main, ["validate", str(path)])
    assert done.exit_code == 1
    assert "data.jsonl:3: 1 audio tag and 2 audios; write one tag (<audio>) for each audio" in done.output
    assert f"{path}: {len(rows)} problems" in done.output


def test_other_forms_that_convert_reads_are_no_problem_and_an_empty_file_is_one(folder: Path) -> None:
    write(folder / "data.jsonl", {"query": "<audio>", "response": "x", "audios": ["a.wav"]})
    assert check_messages(str(folder / "data.jsonl")).ok
    (folder / "empty.jsonl").touch()
    assert [one["what"] for one in check_messages(str(folder / "empty.jsonl")).problems] == ["it has no row"]


@pytest.mark.parametrize(
    ("line", "layout"),
    [
        ({"audio": "a.wav", "text": "hi"}, "manifest"),
        ({"audio_filepath": "a.wav", "text": "hi", "duration": 1}, "nemo"),
        ({"voice": "a.wav", "conversations": []}, "llaso_json"),
    ],
)
def test_what_has_another_layout_is_not_measured_by_messages(folder: Path, line: dict[str, Any], layout: str) -> None:
    path = write(folder / "manifest.jsonl", line)
    for place in (path, folder):
        done = CliRunner().invoke(main, ["validate", str(place)])
        assert done.exit_code == 2
        assert f"{place} is read as {layout}" in done.output
        assert f"`llaso-data convert {place} --check`" in done.output


def test_shards_are_checked_as_before(folder: Path) -> None:
    assert not holds_messages(str(GOLDEN))
    assert CliRunner().invoke(main, ["validate", str(GOLDEN)]).exit_code == 0
    assert CliRunner().invoke(main, ["validate", str(folder / "nothing")]).exit_code == 2


def test_the_examples_of_the_page_are_good(folder: Path) -> None:
    examples = re.findall(r"```json\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 3
    path = folder / "data.jsonl"
    path.write_text("".join(json.dumps(json.loads(example)) + "\n" for example in examples), encoding="utf-8")
    shutil.copyfile(folder / "a.wav", folder / "b.wav")
    assert check_messages(str(path)).problems == []
