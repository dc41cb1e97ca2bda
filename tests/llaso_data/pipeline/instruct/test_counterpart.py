"""A test set and its training set: the same rows kept apart, or an error that names what differs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums
from llaso_data.pipeline.convert.samples import Converted, samples
from llaso_data.pipeline.instruct.counterpart import with_counterparts
from llaso_data.pipeline.instruct.preview import preview
from llaso_data.pipeline.instruct.run import build_instruct
from llaso_data.recipe import Convert, SourceSpec
from tests.conftest import Clip
from tests.llaso_data.pipeline.instruct.test_build_instruct import corpus, made, recipe

APART: dict[str, Any] = {
    "split": {"train": 0.5, "test": 0.5},
    "hold_out": {"tasks": ["emotion"], "templates": ["asr/en/condition"]},
}
PLAIN = {"modalities": {"text_audio": 1.0}, "to": "samples", "leakage": {"kinds": ["sample", "text"]}}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory, clips: list[Clip]) -> Path:
    return corpus(tmp_path_factory.mktemp("corpus") / "rows", clips[:12])


@pytest.fixture(scope="module")
def train(tmp_path_factory: pytest.TempPathFactory, table: Path) -> Path:
    out = tmp_path_factory.mktemp("train") / "out"
    build_instruct(recipe(table, out=out, tasks=["asr", "gender"], **{**PLAIN, **APART}))
    return out


def eval_recipe(table: Path, against: Path | str, out: Path | None = None, **more: Any) -> Any:
    leakage = {"kinds": ["sample", "text"], "against": [str(against)]}
    return recipe(table, out=out, **{**PLAIN, **APART, "eval": {}, "leakage": leakage, **more})


def test_a_test_set_of_the_same_settings_is_compared_with_what_is_trained_on(
    tmp_path: Path, table: Path, train: Path
) -> None:
    summary = build_instruct(eval_recipe(table, train, tmp_path / "test", seed=7))
    assert summary.leakage["sounds"]["counts"] == {f"{train}/train": {"sample": 0}}
    assert summary.leakage["sounds"]["looked_up"].keys() == {"test"}
    tested, trained = speakers_in(tmp_path / "test/test"), speakers_in(train / "train")
    assert tested and trained and not tested & trained
    assert summary.layers["generalisation"]["emotion"]
    stated = [
        checksums.read_json(str(out / "build-instruct.json"), "")["kept_apart"] for out in (train, tmp_path / "test")
    ]
    assert stated[0] == stated[1] and stated[0]["hold_out"]["tasks"] == ["emotion"]


def speakers_in(out: Path) -> set[str]:
    found = samples(SourceSpec(path=str(out)), Convert(), Counter())
    return {one.sample.audios[0].speaker.id.value for one in found if isinstance(one, Converted)}


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"split": {"train": 0.9, "test": 0.1}}, r'instruct\.split: \{"test": 0\.5, "train": 0\.5\} there'),
        (
            {"hold_out": {"tasks": ["emotion", "gender"]}},
            r'hold_out\.tasks: \["emotion"\] there, \["emotion", "gender"\]',
        ),
        ({"by": "recording"}, r'instruct\.by: "speaker_and_text" there, "recording" here'),
        ({"given_splits": False}, r"instruct\.given_splits: true there, false here"),
    ],
)
def test_what_differs_is_said_by_name(table: Path, train: Path, other: dict[str, Any], said: str) -> None:
    for run in (with_counterparts, preview):
        with pytest.raises(LLaSOError, match=said):
            run(eval_recipe(table, train, **other))


def test_shares_are_compared_and_not_how_they_are_written(table: Path, train: Path) -> None:
    same = eval_recipe(table, f"{train}/build-instruct.json", split={"test": 2, "train": 2})
    assert with_counterparts(same).instruct.leakage.against == (f"{train}/train",)


def test_training_data_is_compared_with_a_test_set_alike(tmp_path: Path, table: Path, train: Path) -> None:
    build_instruct(eval_recipe(table, train, tmp_path / "test"))
    check = {"kinds": ["sample"], "against": [str(tmp_path / "test")]}
    settings = {**PLAIN, **APART, "leakage": check}
    summary = build_instruct(recipe(table, out=tmp_path / "again", tasks=["gender"], **settings))
    assert summary.leakage["sounds"]["counts"].keys() == {f"{tmp_path}/test/test", "test"}
    with pytest.raises(LLaSOError, match="hold_out"):
        build_instruct(recipe(table, out=tmp_path / "no", tasks=["gender"], leakage=check, split=APART["split"]))
    with pytest.raises(LLaSOError, match="is the set that is built"):
        with_counterparts(eval_recipe(table, train, train))


def test_sets_that_are_no_instruction_data_are_taken_as_they_are(table: Path) -> None:
    stated = eval_recipe(table, table)
    assert with_counterparts(stated) is stated
    with pytest.raises(LLaSOError, match="nowhere"):
        preview(eval_recipe(table, "nowhere"))


def test_without_splits_a_set_to_test_on_is_compared_all_the_same(
    tmp_path: Path, table: Path, clips: list[Clip]
) -> None:
    tested = corpus(tmp_path / "tested", [clips[3], clips[20]])
    check = {"kinds": ["audio"], "against": [str(tested)]}
    summary = build_instruct(recipe(table, out=tmp_path / "out", tasks=["gender"], leakage=check, to="samples"))
    assert made(summary) == {"gender": 11}
    assert summary.leakage["sounds"]["looked_up"] == {"train": 12}
