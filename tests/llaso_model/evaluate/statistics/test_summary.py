"""What figures of several systems say, and what they do not hide: many systems, groups, few speakers, missing rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from llaso_model.evaluate.datasets import layouts
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.report.scores_page import leaders
from llaso_model.evaluate.report.table import print_scores
from llaso_model.evaluate.rows import score_rows
from llaso_model.evaluate.statistics.summary import summarise
from tests.support.evaluation import TASKS, prediction

GENDER = "vctk_gender_classification"


def answered(system: str, right: list[bool], set_: str = GENDER, **more: Any) -> list[Row]:
    """Rows of a set with two labels, each right or wrong; keyword arguments are lists with a value for each row."""
    labels = {GENDER: ("male", "female"), "common-voice_gender_classification": ("male", "female")}[set_]
    rows = [
        prediction(
            set_,
            labels[0] if good else labels[1],
            labels[0],
            system=system,
            id=f"{i:04d}",
            **{name: values[i] for name, values in more.items()},
        )
        for i, good in enumerate(right)
    ]
    return score_rows(set_, rows, TASKS)


@pytest.mark.parametrize("systems", [2, 8, 12, 16])
def test_a_system_that_is_right_is_significantly_better_among_any_number(systems: int) -> None:
    """94 of 100 against 6 of 100: with 12 systems the p of 66 pairs is still small enough."""
    rows = answered("best", [i % 16 > 0 for i in range(100)])
    for number in range(systems - 1):
        rows += answered(f"s{number:02d}", [(i + number) % 16 == 0 for i in range(100)])
    said = summarise(rows, TASKS)
    for on in ("set", "task"):
        pairs = [pair for pair in said["pairs"] if pair["on"] == on]
        assert len(pairs) == systems * (systems - 1) // 2
        assert all((pair["p_holm"] < 0.05) == ("best" in (pair["first"], pair["second"])) for pair in pairs)
    assert leaders(said["tasks"][0], said["pairs"]) == {"best": "best"}


def test_a_gap_is_tested_over_all_groups_and_has_no_interval() -> None:
    rng = np.random.default_rng(0)
    groups = [{"accent": f"accent {i % 8}", "gender": "male" if i % 2 else "female"} for i in range(240)]
    rows = answered("equal", list(rng.random(240) < 0.7), groups=groups)
    rows += answered("unequal", [i % 2 == 0 or i % 3 == 0 for i in range(240)], groups=groups)
    accent, gender = sorted(summarise(rows, TASKS)["sets"][0]["slices"], key=lambda one: one["group"])
    assert set(gender["gaps"]["unequal"]) == {"from", "to", "value", "p"}
    assert gender["gaps"]["unequal"]["p"] < 0.01 and gender["gaps"]["unequal"]["to"] == "female"
    assert accent["gaps"]["equal"]["value"] > 0.05 and accent["gaps"]["equal"]["p"] > 0.05


def test_too_few_speakers_are_said_and_the_interval_is_over_rows() -> None:
    right = [i % 3 > 0 for i in range(60)]
    two = summarise(answered("a", right, speaker=[f"p{i % 2}" for i in range(60)]), TASKS)
    none = summarise(answered("a", right), TASKS)
    figure = two["sets"][0]["metrics"]["a"]["accuracy"]
    assert figure == {**none["sets"][0]["metrics"]["a"]["accuracy"], "clusters": 2, "few_clusters": True}
    assert two["notes"] == [f"{GENDER}: 2 clusters: too few; its intervals are over rows"] and none["notes"] == []


def test_one_right_row_is_not_surely_100() -> None:
    said = summarise(answered("a", [True]), TASKS)
    for figure in (said["tasks"][0]["scores"]["a"], said["overall"]["all"]["a"], said["overall"]["common"]["a"]):
        assert figure == {"value": 1.0, "low": 0.025, "high": 1.0}


def test_a_task_of_one_set_has_the_interval_of_the_set() -> None:
    said = summarise(answered("a", [i % 3 > 0 for i in range(60)]), TASKS)
    figure = said["sets"][0]["normalised"]["a"]
    assert said["tasks"][0]["scores"]["a"] == {name: figure[name] for name in ("value", "low", "high")}


def test_a_system_that_answered_only_what_it_gets_right_gains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    right = [i % 2 == 0 for i in range(100)]
    rows = answered("all", right)
    chosen = [row for row in answered("chooser", right) if row.error == 0][:10]
    said = summarise([*rows, *chosen], TASKS)
    assert said["missing"] == {GENDER: {"rows": 100, "common": 10, "lacks": {"chooser": 90}}}
    (pair,) = [pair for pair in said["pairs"] if pair["on"] == "task"]
    assert (pair["rows"], pair["difference"], pair["p"]) == (10, 0.0, 1.0)
    assert said["sets"][0]["rows"] == said["tasks"][0]["rows"] == 10
    assert said["overall"]["common"]["all"]["value"] == said["overall"]["common"]["chooser"]["value"] == 1.0
    print_scores({**said, "skipped": [], "made": {}}, "out")
    shown = capsys.readouterr().out
    assert shown.index("chooser lacks 90 answers that others gave") < shown.index("Speaker gender")
    assert f"{GENDER} 90 of 100" in shown


def test_without_a_common_row_a_set_counts_in_no_score() -> None:
    rows = answered("a", [True] * 4)
    other = [row for row in answered("b", [True] * 8) if row.prediction.id >= "0004"]
    said = summarise([*rows, *other], TASKS)
    assert said["sets"] == said["tasks"] == said["pairs"] == []
    assert said["notes"][-1] == f"{GENDER}: no row that all systems answered, so it counts in no score"


def test_sets_that_a_system_did_not_answer_at_all_are_its_missing_tasks_not_rows() -> None:
    rows = [*answered("a", [True] * 30), *answered("b", [True] * 30)]
    rows += answered("a", [True] * 30, "common-voice_gender_classification")
    said = summarise(rows, TASKS)
    assert said["missing"] == {} and said["overall"]["tasks"] == {"a": ["gender"], "b": []}


def test_speakers_of_accentdb_are_numbered_anew_in_each_accent() -> None:
    found = set()
    for accent in ("american", "welsh"):
        for number in (1, 2):
            row = {
                "speaker_id": f"speaker_0{number}",
                "voice": [f"accentdb_extended/data/{accent}/speaker_0{number}\\{accent}_s0{number}_003.wav"],
                "conversations": [{"from": "human", "value": "?<audio>"}, {"from": "gpt", "value": "American"}],
                "answer": "American",
            }
            name = "accentdb_AI_classification"
            found.add(layouts.published_prediction("a", name, "here", row, TASKS.sets[name], layouts.Counter()).speaker)
    assert found == {"american/speaker_01", "american/speaker_02", "welsh/speaker_01", "welsh/speaker_02"}
