"""Everything that did not become a pair can be listed with its place and its reason."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.report.rejections import Rejection, place, rejections
from tests.conftest import Clip
from tests.support.corpora import copy, recipe


@pytest.fixture(scope="module")
def judged(tiny_en: Path, clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, BuildSummary]:
    folder = tmp_path_factory.mktemp("rejections")
    spoken = [clip for clip in clips if clip.language == "en" and clip.path.stem != "counting"]
    for name in ("one.wav", "same.wav"):
        copy(spoken[0], folder / "corpus", name)
    other = copy(spoken[1], folder / "corpus", "wrong\ttext.wav")
    other.with_suffix(".txt").write_text("Nobody said it.", encoding="utf-8")
    (folder / "corpus" / "broken.wav").write_text("no audio")
    return folder, build_align(recipe(tiny_en, folder / "out", folder / "corpus"))


def test_every_input_that_was_not_accepted_is_listed_once(judged: tuple[Path, BuildSummary]) -> None:
    folder, summary = judged
    found = {Path(r.place).name: r for r in rejections(str(folder / "out"))}
    assert len(found) == summary.counts["inputs"] - summary.counts["accepted"] == 3
    assert found["broken.wav"].rule == "failed.unreadable" and "broken.wav" in (found["broken.wav"].detail or "")
    wrong = found["wrong\ttext.wav"]
    assert wrong.rule.startswith("consistency.") and wrong.value is not None and wrong.threshold is not None
    (again,) = (r for r in found.values() if r.verdict == "duplicate")
    assert again.duplicate_of and again.duplicate_of != again.id


def test_a_rule_or_its_group_is_chosen(judged: tuple[Path, BuildSummary]) -> None:
    out = str(judged[0] / "out")
    names = [r.rule for rule in ("failed", "failed.unreadable", "consistency") for r in rejections(out, rule)]
    assert [name.split(".")[0] for name in names] == ["failed", "failed", "consistency"]
    assert list(rejections(out, "fail")) == []


def test_the_command_prints_one_line_each(judged: tuple[Path, BuildSummary]) -> None:
    out = str(judged[0] / "out")
    rows = CliRunner().invoke(main, ["rejections", out]).output.splitlines()
    assert rows[0].split("\t") == ["verdict", "rule", "value", "threshold", "place", "detail"]
    assert len(rows) == 4 and all(row.count("\t") == 5 for row in rows)
    assert sum("wrong\\ttext.wav" in row for row in rows) == 1
    said = [json.loads(row) for row in CliRunner().invoke(main, ["rejections", out, "--json"]).output.splitlines()]
    assert [Rejection(**row) for row in said] == list(rejections(out))


def test_without_a_finished_run_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match="no finished run"):
        next(rejections(str(tmp_path)))


def test_a_place_has_its_member_and_span() -> None:
    source = {"uri": "a.tar", "member": "b.wav", "start_s": 1.5, "end_s": None}
    assert place(source) == "a.tar!b.wav 1.5-end"
    assert place({**source, "start_s": None, "end_s": 3.25}) == "a.tar!b.wav 0-3.25 s"
