"""What a run is judged by: when a stored calibration counts, and when a run makes one itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llaso_data.filters.calibration import MIN_RIGHT
from llaso_data.io import checksums
from llaso_data.io.checksums import DamagedError
from llaso_data.pipeline.calibrated import (
    NAME,
    VERSION,
    Calibration,
    affordable_clips,
    follows,
    pair_cost,
    stored,
    too_small,
)
from llaso_data.pipeline.load_recipe import load
from llaso_data.recipe import Judge

RATE = {"rejected": 1, "pairs": 200, "share": 0.005, "interval": [0.0009, 0.0278]}
FINDING = {
    "corpus": "c", "language": "en", "texts": "given", "false_alarms": RATE, "alarms_by_rule": {"consistency.llr": 1},
    "recall": {"word deleted": {**RATE, "rejected": 190}, "word inserted": {**RATE, "rejected": 200}},
}  # fmt: skip
MEASURED = {"false_alarms": RATE, "recall": FINDING["recall"], "mean_recall": 0.975, "findings": [FINDING]}
FITS = [{"corpus": None, "language": None, "thresholds": {"consistency.llr_min": -2.0}}]


def report(judge: Judge | None = None, **more: Any) -> dict[str, Any]:
    section = (judge or Judge()).model_dump(mode="json")
    fitted = {"allowed": 0.03, "thresholds": FITS, "recipe": [FINDING], **MEASURED}
    stated = {"format": "llaso-calibration", "format_version": VERSION, "observing": "o", "judge": section}
    return {**stated, **MEASURED, "fitted": fitted, **more}


def test_a_calibration_counts_where_its_pairs_were_observed_as_the_run_is(tmp_path: Path) -> None:
    out, recipe = str(tmp_path), load(None)
    assert stored(out, recipe, "o") == Calibration(None)
    checksums.write_json(str(tmp_path / NAME), report())
    assert stored(out, recipe, "o").report == report()
    assert stored(out, recipe, "o").fitted.to_json() == FITS
    other = stored(out, recipe, "other models")
    assert other.report is None and other.renewable and "of other models" in other.why
    off = stored(out, load(None, ["judge.calibrate=off"]), "o")
    assert (off.report, off.renewable, off.why) == (None, False, "judge.calibrate is off")
    unscored = stored(out, load(None, ["observe.align=null"]), "o")
    assert (unscored.report, unscored.renewable) == (None, False)


def test_a_calibration_of_another_version_is_ignored_and_a_foreign_file_stays(tmp_path: Path) -> None:
    checksums.write_json(str(tmp_path / NAME), {"format": "llaso-calibration", "format_version": 1, "judge": {}})
    old = stored(str(tmp_path), load(None), "o")
    assert old.report is None and old.renewable and "another version" in old.why
    assert too_small(400, old.why).startswith(f"{old.why}; 400 utterances are too few")
    (tmp_path / NAME).write_text('{"of": "somebody"}')
    foreign = stored(str(tmp_path), load(None), "o")
    assert foreign.report is None and not foreign.renewable
    (tmp_path / NAME).write_text(json.dumps({**checksums.sealed(report()), "observing": "p"}))
    with pytest.raises(DamagedError, match="run `llaso-data calibrate"):
        stored(str(tmp_path), load(None), "o")


def test_it_follows_the_rules_and_the_share_and_nothing_else() -> None:
    judge = load(None).judge
    assert follows(report(), judge)
    assert follows(report(), load(None, ["judge.audit.items=60", "judge.max_failures=1"]).judge)
    assert not follows(report(), load(None, ["judge.false_alarms=0.05"]).judge)
    assert not follows(report(), load(None, ["judge.consistency.llr_min=-5"]).judge)


def test_what_the_manifest_says_of_it() -> None:
    said = Calibration(report()).stated()["calibration"]
    assert said["thresholds"] == FITS and said["allowed"] == 0.03 and said["false_alarms"] == RATE
    assert said["groups"] == [
        {"corpus": "c", "language": "en", "texts": "given", "false_alarms": RATE, "mean_recall": 0.975}
    ]
    assert said["digest"] != Calibration(report(seed=1)).stated()["calibration"]["digest"]
    nothing_fitted = Calibration(report(fitted=None))
    assert nothing_fitted.stated()["calibration"]["thresholds"] == [] and not nothing_fitted.fitted.fits
    assert Calibration(None, "why").stated() == {"calibration": None, "uncalibrated": "why"}


@pytest.mark.parametrize(
    ("languages", "observed", "mean_s", "clips"),
    [
        ({"en": 20_000}, 25_700, 12.0, 0),
        ({"en": 20_000}, 26_000, 12.0, 100),
        ({"en": 20_000}, 26_000, 3.0, 0),
        ({"en": 20_000}, 51_000, 3.0, 101),
        ({"en": 200_000}, 1_000_000, 12.0, 500),
        ({"en": 1_000, "fr": 99_000}, 100_000, 12.0, 193),
        ({"en": 99, "fr": 90}, 1_000_000, 12.0, 0),
        ({"en": 60, "fr": 120}, 1_000_000, 12.0, 500),
        ({}, 1_000_000, 12.0, 0),
        ({"en": 1}, 0, 0.0, 0),
    ],
)
def test_a_run_calibrates_itself_in_three_hundredths_of_its_time(
    languages: dict[str, int], observed: int, mean_s: float, clips: int
) -> None:
    found = affordable_clips(languages, observed, mean_s, 4, 2 * MIN_RIGHT, 500)
    assert found == clips
    pairs = 4 * sum(min(found, accepted) for accepted in languages.values())
    assert pair_cost(mean_s) * pairs <= 0.03 * observed


def test_a_planted_pair_of_a_short_clip_costs_more_than_twice_as_much() -> None:
    assert pair_cost(12.0) == pytest.approx(1.93, abs=0.02) and pair_cost(2.8) == pytest.approx(3.9, abs=0.1)
