"""A user's own stage: named in the recipe, counted by its version and options, its mistakes said plainly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.estimate.quality import MEASURES
from llaso_data.pipeline.build_align import BuildSummary, build_align
from llaso_data.pipeline.observe import observing_digest
from llaso_data.records import Attribute
from tests.conftest import Clip
from tests.support import stages
from tests.support.corpora import copy, observed, recipe


@pytest.fixture(scope="module")
def corpus(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stages")
    copy(clips[1], folder, "b.wav")
    (folder / "a.wav").write_text("no audio")
    return folder


def run(model: Path, out: Path, corpus: Path, *named: dict[str, Any]) -> BuildSummary:
    options = {"observe__stages": list(named), "observe__asr__pack": False, "blocks__clips": 99}
    return build_align(recipe(model, out, corpus, **options))


def test_a_stage_adds_a_score_and_an_attribute(tiny_en: Path, corpus: Path, tmp_path: Path) -> None:
    peak = {"stage": "tests.support.stages:Peak", "options": {"studio_from": 0.01}}
    refuse = {"stage": "tests.support.stages:Refuse"}
    run(tiny_en, tmp_path, corpus, peak)
    broken, spoken = observed(tmp_path)
    assert broken.environment == Attribute() and "peak" not in broken.scores.extra
    assert spoken.environment == Attribute("studio", "tests.support.stages:Peak")
    assert 0.01 < spoken.scores.extra["peak"] == round(spoken.scores.extra["peak"], 4)
    assert spoken.scores.extra["phrase"] == 0.0  # ours are kept
    refused = run(tiny_en, tmp_path, corpus, refuse, peak)
    assert refused.rules == {"failed.refused": 1} | {k: n for k, n in refused.rules.items() if k != "failed.refused"}
    assert refused.counts["failed"] == 1 and refused.counts["accepted"] == 1


def test_options_and_version_are_part_of_what_is_observed(
    tiny_en: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(**options: Any) -> str:
        named = [{"stage": "tests.support.stages:Peak", "options": options}]
        return observing_digest(recipe(tiny_en, tmp_path, observe__stages=named).observe, ["weights"])

    first = digest()
    assert digest(studio_from=0.4) != first == digest()
    monkeypatch.setattr(stages.Peak, "version", "2")
    assert digest() != first


def test_a_stage_of_ours_that_is_off_names_no_block_anew_and_one_that_is_on_does(tiny_en: Path, tmp_path: Path) -> None:
    def digest(**options: Any) -> str:
        return observing_digest(recipe(tiny_en, tmp_path, **options).observe, ["weights"])

    assert digest() == digest(observe__quality__environment=False)
    assert (
        digest()
        != digest(observe__quality__enabled=True)
        != digest(observe__quality__enabled=True, observe__quality__environment=False)
    )


def test_quality_is_measured_where_the_recipe_says_so(tiny_en: Path, corpus: Path, tmp_path: Path) -> None:
    pytest.importorskip("speechmos")
    build_align(recipe(tiny_en, tmp_path, corpus, observe__quality__enabled=True, blocks__clips=99))
    broken, spoken = observed(tmp_path)
    assert broken.failure is not None and not broken.scores.extra.keys() & set(MEASURES)
    assert spoken.scores.extra.keys() > set(MEASURES)
    assert 1 <= spoken.scores.extra["dnsmos"] <= 5 and spoken.scores.extra["bandwidth_hz"] == 8000


@pytest.mark.parametrize(
    ("named", "said"),
    [
        (
            {"stage": "tests.support.stages:Absent"},
            "observe.stages: tests.support.stages:Absent: .*no attribute 'Absent'",
        ),
        ({"stage": "tests.nowhere:Peak"}, "observe.stages: tests.nowhere:Peak: No module named 'tests.nowhere'"),
        (
            {"stage": "tests.support.stages:Peak", "options": {"loud": 1}},
            "observe.stages: tests.support.stages:Peak does not take these options: "
            "got an unexpected keyword argument 'loud'",
        ),
    ],
)
def test_a_wrong_name_or_option_is_said_before_any_work(
    corpus: Path, tiny_en: Path, tmp_path: Path, named: dict[str, Any], said: str
) -> None:
    with pytest.raises(LLaSOError, match=said):
        run(tiny_en, tmp_path / "out", corpus, named)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Drop", "stage tests.support.stages:Drop: it must return the same utterances"),
        pytest.param("Raise", "stage tests.support.stages:Raise failed: KeyError: 'peak'", marks=pytest.mark.slow),
        ("Unmade", "stage tests.support.stages:Unmade failed: RuntimeError: its weights are not there"),
        ("nothing", "tests.support.stages:nothing: it must make a callable"),
        pytest.param(
            "Text", "stage tests.support.stages:Text: what it returns cannot be stored", marks=pytest.mark.slow
        ),
    ],
)
def test_a_stage_that_breaks_its_promise_stops_the_run_and_commits_nothing(
    corpus: Path, tiny_en: Path, tmp_path: Path, name: str, said: str
) -> None:
    with pytest.raises(LLaSOError, match=said):
        run(tiny_en, tmp_path / "out", corpus, {"stage": f"tests.support.stages:{name}"})
    assert not list((tmp_path / "out").rglob("*.parquet"))
