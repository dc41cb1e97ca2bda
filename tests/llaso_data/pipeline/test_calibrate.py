"""What the filters find is measured on the corpus's own clips, with its own models, and nothing is heard twice."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.filters import calibration
from llaso_data.filters.fit import with_thresholds
from llaso_data.filters.planting import AUDIO_FAULTS, FAULTS
from llaso_data.pipeline import build_align as pipeline_build
from llaso_data.pipeline import calibrated, commit
from llaso_data.pipeline.build_align import build_align
from llaso_data.pipeline.calibrate import FAULTS_EACH, Draw, calibrate
from llaso_data.pipeline.calibrated import NAME
from llaso_data.recipe import Recipe
from llaso_data.report.card_data import collect
from llaso_data.report.rejections import rejections
from tests.conftest import Clip
from tests.support.corpora import english, files, recipe


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip], tiny_en: Path) -> Recipe:
    folder = tmp_path_factory.mktemp("calibrate")
    wanted = recipe(tiny_en, folder / "out", english(folder / "corpus", clips))
    build_align(wanted)
    return wanted


@pytest.fixture(scope="module")
def report(built: Recipe) -> dict[str, Any]:
    return calibrate(built)


def test_faults_are_found_and_right_pairs_are_not_rejected(built: Recipe, report: dict[str, Any]) -> None:
    (finding,) = report["findings"]
    assert (finding["corpus"], finding["language"], finding["texts"]) == ("test", "en", "given")
    drawn = report["drawn"]["en"]
    assert finding["false_alarms"]["pairs"] == drawn >= 6
    assert finding["false_alarms"]["share"] <= 0.2
    rates = finding["recall"].values()
    assert set(finding["recall"]) <= set(FAULTS) - {AUDIO_FAULTS[2], "text of another language"}
    assert sum(rate["pairs"] for rate in rates) == drawn * FAULTS_EACH
    assert sum(rate["rejected"] for rate in rates) >= 0.8 * drawn * FAULTS_EACH
    assert sum(report["notes"].values()) + drawn == len(list(commit.observed(str(built.out))))
    assert set(report["choice"]) == set(finding["recall"]) - set(AUDIO_FAULTS)
    assert all(rate["confirmed"] == 0 for rate in report["choice"].values())
    assert (report["false_alarms"], report["recall"]) == (finding["false_alarms"], finding["recall"])
    assert report["fitted"] is None  # six clips are too few
    assert report["out"] == f"{built.out}/{NAME}"


def test_again_it_observes_nothing_and_other_thresholds_count(built: Recipe, report: dict[str, Any]) -> None:
    before = files(Path(str(built.out)))
    Path(str(built.out), NAME).write_text('{"format": "llaso-calibration", "format_version": 1}')  # an earlier one
    assert calibrate(built) == report and files(Path(str(built.out))) == before
    lax = built.model_copy(deep=True)
    nothing = {name: None for name in type(lax.judge.consistency).model_fields if name.endswith(("_min", "_max"))}
    judge = lax.judge.model_copy(
        update={
            "confidence": lax.judge.confidence.model_copy(update={"border_db_max": None}),
            "consistency": lax.judge.consistency.model_copy(update=nothing),
        }
    )
    (finding,) = calibrate(lax.model_copy(update={"judge": judge}))["findings"]
    found = sum(rate["rejected"] for rate in finding["recall"].values())
    assert found < sum(rate["rejected"] for rate in report["findings"][0]["recall"].values())
    after = files(Path(str(built.out)))
    assert {name for name in after if after[name] != before.get(name)} == {NAME}


def test_the_command_prints_it(built: Recipe, report: dict[str, Any]) -> None:
    ended = CliRunner().invoke(main, ["calibrate", str(built.out), "--engine", "local"])
    assert ended.exit_code == 0, ended.output
    assert "right pairs (false alarms)" in ended.output and "word substituted" in ended.output
    assert json.loads(Path(str(built.out), NAME).read_text())["findings"] == report["findings"]


def test_texts_that_whisper_wrote_are_judged_without_a_comparison(
    tmp_path: Path, clips: list[Clip], tiny_en: Path
) -> None:
    corpus = english(tmp_path / "corpus", clips, gains=(1.0,))
    for path in corpus.glob("*.txt"):
        path.unlink()
    wanted = recipe(tiny_en, tmp_path / "out", corpus)
    build_align(wanted)
    (finding,) = calibrate(wanted)["findings"]
    assert finding["texts"] == "asr" and finding["false_alarms"]["pairs"] >= 2
    assert not {"consistency.llr", "consistency.surplus"} & set(finding["alarms_by_rule"])


def test_every_language_is_drawn_though_its_blocks_come_late(
    tmp_path: Path, clips: list[Clip], whisper_base: Path
) -> None:
    for clip in clips:
        if clip.language in ("en", "es"):
            (tmp_path / "corpus" / clip.language).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip.path, tmp_path / "corpus" / clip.language)
            (tmp_path / "corpus" / clip.language / f"{clip.path.stem}.txt").write_text(clip.text, encoding="utf-8")
    wanted = recipe(whisper_base, tmp_path / "out", tmp_path / "corpus")
    build_align(
        wanted.model_copy(
            update={
                "sources": [
                    wanted.sources[0].model_copy(update={"path": str(path), "language": path.name})
                    for path in sorted((tmp_path / "corpus").iterdir())
                ]
            }
        )
    )
    found = calibrate(wanted, Draw(clips=1, faults=1))
    accepted = commit.manifest(str(wanted.out))["languages"]
    assert set(found["drawn"]) == set(accepted) == {"en", "es"}
    assert set(found["drawn"].values()) == {1}


def test_what_it_cannot_measure_is_an_error(built: Recipe, tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match="no finished run of build-align"):
        calibrate(built.model_copy(update={"out": str(tmp_path / "nothing")}))
    other = built.observe.model_copy(update={"asr": built.observe.asr.model_copy(update={"gap_s": 0.7})})
    with pytest.raises(LLaSOError, match="was observed by other models, other settings or another version"):
        calibrate(built.model_copy(update={"observe": other}))
    out = shutil.copytree(str(built.out), tmp_path / "copy")
    (out / NAME).write_text("{}")
    with pytest.raises(LLaSOError, match=r"calibration\.json exists and was not written by `llaso-data calibrate`"):
        calibrate(built.model_copy(update={"out": str(out)}))
    with pytest.raises(LLaSOError, match=r"observe\.align is null"):
        (out / NAME).unlink()
        calibrate(
            built.model_copy(update={"out": str(out), "observe": built.observe.model_copy(update={"align": None})})
        )


@pytest.fixture
def fitted_on_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a handful of clips were enough to fit thresholds, and planted pairs might take all of a run's time."""
    monkeypatch.setattr(calibration, "MIN_RIGHT", 1)
    monkeypatch.setattr(pipeline_build, "MIN_RIGHT", 1)
    monkeypatch.setattr(calibrated, "_MOST_SHARE", 100.0)


def copied(built: Recipe, to: Path) -> Recipe:
    return built.model_copy(update={"out": str(shutil.copytree(str(built.out), to, symlinks=True))})


def test_a_run_is_judged_by_the_calibration_that_lies_in_its_output(
    built: Recipe, report: dict[str, Any], tmp_path: Path, fitted_on_few: None
) -> None:
    wanted = copied(built, tmp_path / "out")
    before = commit.manifest(str(built.out))
    assert before["calibration"] is None and "utterances are too few" in before["uncalibrated"]
    made = calibrate(wanted)
    assert {(fit["corpus"], fit["language"]) for fit in made["fitted"]["thresholds"]} >= {(None, None), (None, "en")}
    summary = build_align(wanted)
    assert summary.blocks_observed == 0 and summary.calibration is not None and summary.judged
    after = commit.manifest(str(wanted.out))
    assert after["calibration"] == summary.calibration and "uncalibrated" not in after
    assert after["verdicts"] != before["verdicts"]
    assert after["calibration"]["thresholds"] == made["fitted"]["thresholds"]
    assert after["calibration"]["false_alarms"] == made["fitted"]["false_alarms"]
    again = build_align(wanted)
    assert (again.verdicts, again.judged) == (summary.verdicts, False)
    assert sum(1 for _ in rejections(str(wanted.out))) == after["counts"]["inputs"] - after["counts"]["accepted"]
    assert collect(str(wanted.out), 1).manifest == after  # its numbers are those of the verdicts

    planted = files(f"{wanted.out}/calibration")
    off = wanted.model_copy(update={"judge": wanted.judge.model_copy(update={"calibrate": "off"})})
    assert build_align(off).verdicts == before["verdicts"]
    mine = with_thresholds(wanted.judge, {"consistency.llr_min": -19.0})
    own = build_align(wanted.model_copy(update={"judge": mine}))
    assert own.calibration is not None and files(f"{wanted.out}/calibration") == planted
    assert all("consistency.llr_min" not in fit["thresholds"] for fit in own.calibration["thresholds"])
    assert build_align(wanted).verdicts == summary.verdicts


def test_a_run_calibrates_itself_and_a_killed_one_ends_with_the_same_bytes(
    built: Recipe, report: dict[str, Any], tmp_path: Path, fitted_on_few: None
) -> None:
    wanted = copied(built, tmp_path / "out")
    out = Path(str(wanted.out))
    shutil.rmtree(out / "verdicts")
    (out / NAME).unlink()
    summary = build_align(wanted)
    assert summary.blocks_observed == 0 and summary.calibration is not None
    whole = files(out)
    for lost in (["manifest.json"], [NAME, "manifest.json"], [NAME, "manifest.json", "calibration", "verdicts"]):
        for name in lost:
            shutil.rmtree(out / name) if (out / name).is_dir() else (out / name).unlink()
        build_align(wanted)
        assert files(out) == whole
