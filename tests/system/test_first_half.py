"""What the first half of the project wrote is read today: a run of every command, kept under ``data/first_half``.

It was made before packages, classes and tables got the names that they have now, from the golden shards' sounds.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llaso import LLaSOModel, LLaSOProcessor
from llaso_data import cli as data_cli
from llaso_data.filters import columns
from llaso_data.pipeline import commit, load_recipe
from llaso_data.pipeline.judge import judge
from llaso_data.report.card import render
from llaso_data.shards.validate import validate
from llaso_model import cli as model_cli
from tests.support.paths import DATA, REPOSITORY

WRITTEN = DATA / "first_half"
GOLDEN = REPOSITORY / "shards" / "golden"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, with the golden shards beside it, as it lay where it was made."""
    folder = tmp_path / "first_half"
    shutil.copytree(WRITTEN, folder)
    shutil.copytree(GOLDEN, folder / "golden")
    monkeypatch.chdir(folder)
    return folder


def done(command: object, *arguments: str) -> Result:
    result = CliRunner().invoke(command, arguments)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result


def test_an_output_of_build_align_gives_the_same_verdicts_and_a_card(stored: Path) -> None:
    recipe = load_recipe.load("align/recipe.yaml")
    manifest = commit.manifest("align")
    verdicts = columns.nested(commit.verdicts_uri("align", manifest["verdicts"]), ["id"])
    judged = judge([commit.block_uri("align", name) for name in manifest["blocks"]], recipe.judge)
    assert judged.table["id"].equals(verdicts["id"]) and judged.counts == manifest["counts"]
    assert judged.rules == manifest["rules"] == {"consistency.llr": 3, "consistency.script": 1}
    assert "consistency.llr" in render("align")


def test_shards_of_then_are_valid(stored: Path) -> None:
    report = validate("shards")
    assert report.problems == () and (report.shards, report.samples) == (1, 1)
    assert json.loads(done(data_cli.main, "stats", "shards", "--json").output)["samples"] == 1


def test_a_model_and_a_run_of_then_go_on_with_the_same_losses(stored: Path) -> None:
    LLaSOProcessor.from_pretrained("model")
    LLaSOModel.from_pretrained("model")
    done(model_cli.main, "train", "train.yaml", "--out", "run", "--set", "run.max_steps=4")
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    losses = [json.loads(line) for line in Path("losses.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4]
    for line, known in zip(lines, losses, strict=True):
        assert {name: line[name] for name in known} == pytest.approx(known, rel=1e-3), line["step"]
    done(model_cli.main, "merge", "run", "--out", "merged")
    LLaSOModel.from_pretrained("merged")


def test_an_evaluation_of_then_is_reported_and_scored_again(stored: Path) -> None:
    done(model_cli.main, "report", "evaluation", "--out", "page")
    assert any("Speech recognition" in path.read_text() for path in Path("page").glob("*.html"))
    done(model_cli.main, "score", "evaluation/predictions.jsonl", "--out", "again")
    scores = [json.loads(Path(folder, "scores.json").read_text()) for folder in ("evaluation", "again")]
    figures = [[(task["name"], *task["scores"].values()) for task in one["tasks"]] for one in scores]
    assert figures[0] == figures[1] and figures[0][0][0] == "asr"
