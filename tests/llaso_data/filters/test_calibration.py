"""Thresholds are fitted to a stated share of false alarms, on pairs that are not those that they are measured on."""

from __future__ import annotations

import numpy as np
import pytest

from llaso_data.filters.calibration import (
    MIN_RIGHT,
    Scored,
    choice,
    findings,
    fittable,
    fitted,
    overall,
)
from llaso_data.filters.fit import OFF, with_thresholds
from llaso_data.filters.group_thresholds import NO_FITS, user_set
from llaso_data.filters.planting import CLEAN, FAULTS
from llaso_data.filters.rates import Rate, mean_recall
from llaso_data.filters.rules import FLAGS
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Consistency, Judge

RNG = np.random.default_rng(3)


def scored(pairs: int, shift: float, given: bool = True, language: str = "en", corpus: str = "prompts") -> Scored:
    """Pairs whose faults lower the likelihood ratio, and no other score."""
    return joined((pairs, shift, given, language, corpus))


def joined(*groups: tuple[int, float, bool, str, str]) -> Scored:
    """Groups of such pairs: how many, by how much faults lower the ratio, and the rest as in :func:`scored`."""
    sizes = [group[0] for group in groups]
    pairs = sum(sizes)
    shift, given, language, corpus = (
        np.repeat(np.array([group[n] for group in groups], object), sizes) for n in range(1, 5)
    )
    fault = np.array([(CLEAN, *FAULTS)[i % (len(FAULTS) + 1)] for i in range(pairs)], object)
    names = {name for rule in rules(with_thresholds(Judge(), OFF)) for name in rule.needs()}
    found = {name: np.zeros(pairs, bool) if name in FLAGS else np.full(pairs, np.nan) for name in names}
    found["given"] = np.ones(pairs, bool)
    found["duration_s"] = np.full(pairs, 3.0)
    found["llr"] = np.where(fault == CLEAN, 0.0, shift.astype(float)) + RNG.normal(0, 1, pairs)
    return Scored(
        found,
        fault=fault,
        corpus=corpus,
        language=language,
        given=given.astype(bool),
        right=np.ones(pairs, bool),
        texts=[f"sentence {i}" for i in range(pairs)],
    )


def every(ones: Scored) -> np.ndarray:
    return np.ones(len(ones.fault), bool)


def test_what_is_fitted_holds_on_the_half_that_was_not_seen() -> None:
    ones = scored(20_000, -8.0)
    keys = fittable(Judge(), ones, every(ones), has_language_model=False)
    assert "consistency.llr_min" in keys and not {"consistency.lm_delta_min", "consistency.cer_max"} & set(keys)
    for allowed in (0.01, 0.05):
        thresholds = fitted(Judge(), ones, allowed, has_language_model=False)
        assert thresholds.fits
        (found,) = findings(Judge(), ones, ~ones.fitting, thresholds)
        assert found.false_alarms.share <= allowed + 0.01
        assert all(rate.share > 0.95 for rate in found.recall.values())
        assert set(found.recall) == set(FAULTS)


def test_what_tells_nothing_stays_at_the_recipes_where_right_pairs_allow_it() -> None:
    ones = scored(5_000, 0.0)
    ones.found["packed"] = RNG.random(len(ones.fault)) < 0.5
    ones.found["llr"] = np.where(ones.found["packed"], 0.0, ones.found["llr"])
    (first, *_) = fitted(Judge(), ones, 0.03, has_language_model=False).fits
    assert first.thresholds == {"consistency.llr_min": -3.75, "consistency.packed_llr_min": -1.75}


def test_what_tells_nothing_and_costs_right_pairs_is_off() -> None:
    ones = scored(5_000, 0.0)
    ones.found["packed"] = RNG.random(len(ones.fault)) < 0.5
    ones.found["llr"] = np.where(ones.fault == CLEAN, -21.0, 0.0)  # beyond all places
    (first, *others) = fitted(Judge(), ones, 0.03, has_language_model=False).fits
    assert first.thresholds == {
        "consistency.llr_min": None,
        "consistency.packed_llr_min": OFF["consistency.packed_llr_min"],
    }
    assert [(fit.corpus, fit.language) for fit in others] == [(None, "en"), ("prompts", "en")]
    assert all(fit.thresholds == first.thresholds for fit in others)


def test_what_tells_nothing_and_costs_right_pairs_stands_as_near_to_the_recipes_as_they_allow() -> None:
    ones = scored(5_000, 0.0)
    ones.found["llr"] = np.where(ones.fault == CLEAN, -10.2, 0.0)
    (first, *_) = fitted(Judge(), ones, 0.03, has_language_model=False).fits
    assert first.thresholds == {"consistency.llr_min": -10.5}


def test_a_corpus_gets_its_own_thresholds_else_those_of_its_language_else_of_everything() -> None:
    ones = joined((5_000, -8.0, True, "en", "loud"), (5_000, -3.0, True, "en", "quiet"), (400, -8.0, True, "fr", "few"))
    thresholds = fitted(Judge(), ones, 0.03, has_language_model=False)
    groups = [(fit.corpus, fit.language) for fit in thresholds.fits]
    assert groups == [(None, None), (None, "en"), ("loud", "en"), ("quiet", "en")]
    assert thresholds.number("loud", "en") == 3 and thresholds.number("new", "en") == 2
    assert thresholds.number("few", "fr") == thresholds.number("loud", "fr") == 1
    found = {one.corpus: one for one in findings(Judge(), ones, ~ones.fitting, thresholds)}
    assert set(found) == {"loud", "quiet", "few"}
    assert all(found[corpus].false_alarms.share <= 0.05 for corpus in ("loud", "quiet"))
    of_all, recall = overall(list(found.values()))
    assert of_all.pairs == sum(one.false_alarms.pairs for one in found.values())
    stored = {fault: rate.to_dict() for fault, rate in recall.items()}
    assert mean_recall(stored) == pytest.approx(np.mean([recall[fault].share for fault in FAULTS]), abs=1e-4)
    assert mean_recall({}) is None


def test_given_texts_and_those_of_whisper_both_keep_to_the_share() -> None:
    ones = joined((10_000, -8.0, True, "en", "c"), (2_000, -8.0, False, "en", "c"))
    for name in ("min_word_logprob", "llr"):
        ones.found[name] = RNG.normal(-5, 3, 12_000)
    thresholds = fitted(Judge(), ones, 0.03, has_language_model=False)
    assert all(one.false_alarms.share <= 0.03 for one in findings(Judge(), ones, ones.fitting, thresholds))


def test_a_threshold_that_the_user_set_is_kept_and_the_others_are_fitted_around_it() -> None:
    ones = scored(10_000, -8.0)
    ones.found["packed"] = RNG.random(len(ones.fault)) < 0.5
    section = Judge(consistency=Consistency(llr_min=-20.0))
    assert list(user_set(section)) == ["consistency.llr_min"]
    for fit in fitted(section, ones, 0.03, has_language_model=False).fits:
        assert list(fit.thresholds) == ["consistency.packed_llr_min"]


def test_a_threshold_that_looks_at_no_right_pair_is_not_fitted() -> None:
    ones = scored(1_000, -8.0)
    ones.found["packed"] = ones.fault == CLEAN
    assert "consistency.llr_min" not in fittable(Judge(), ones, every(ones), False)
    assert "consistency.packed_llr_min" in fittable(Judge(), ones, every(ones), False)
    for_all = Judge(consistency=Consistency(packed_llr_min=None))
    assert "consistency.llr_min" in fittable(for_all, ones, every(ones), False)


def test_a_text_of_whisper_is_not_compared_with_itself() -> None:
    ones = scored(1_000, -8.0, given=False)
    assert not {"consistency.llr_min", "consistency.surplus_max"} & set(fittable(Judge(), ones, every(ones), True))
    (found,) = findings(Judge(), ones, every(ones))
    assert found.texts == "asr" and "consistency.llr" not in found.alarms_by_rule


def test_few_right_pairs_fit_nothing() -> None:
    assert fitted(Judge(), scored(MIN_RIGHT, -8.0), 0.03, has_language_model=False) == NO_FITS


def test_a_wrong_text_that_whisper_hears_would_be_taken_as_right() -> None:
    fault = ["word deleted", "word deleted", "word substituted", CLEAN, "audio cut at the end"]
    planted = ["Please hold", "please", "please fold", "Please hold.", "Please hold."]
    found = choice(fault, planted, ["please hold."] * 5, ["en"] * 5)
    assert found == {"word substituted": Rate(0, 1), "word deleted": Rate(1, 2)}


def test_an_interval_holds_the_share() -> None:
    assert Rate(0, 0).interval == (0.0, 1.0)
    for rejected, pairs in ((0, 10), (5, 10), (10, 10), (95, 100)):
        low, high = Rate(rejected, pairs).interval
        assert 0.0 <= low <= rejected / pairs <= high <= 1.0
    # statsmodels' proportion_confint(5, 100, method="wilson")
    assert Rate(5, 100).interval == pytest.approx((0.02154, 0.11175), abs=1e-4)
