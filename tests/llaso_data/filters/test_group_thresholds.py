"""Thresholds by corpus and language: who gets which, and that judging by them is judging each group by its own."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import pyarrow as pa
import pytest

from llaso_data.filters.group_thresholds import NO_FITS, Fit, GroupThresholds
from llaso_data.filters.rates import Rate, sentence
from llaso_data.filters.tiers import rules
from llaso_data.recipe import Confidence, Consistency, Judge
from llaso_data.records import Utterance, Verdict, from_table
from tests.llaso_data.pipeline.test_judge import judged, utterance

FITTED = GroupThresholds(
    (
        Fit(None, "en", {"consistency.llr_min": None, "confidence.border_db_max": -50.0}),
        Fit("a", "en", {"consistency.llr_min": -1.0, "consistency.packed_llr_min": -1000.0}),
        Fit("a", "fr", {"consistency.cer_max": 0.5, "confidence.border_db_max": None}),
    )
)
OF_GROUP = {
    ("a", "en"): Judge(consistency=Consistency(llr_min=-1.0, packed_llr_min=-1000.0)),
    ("b", "en"): Judge(
        confidence=Confidence(border_db_max=-50.0), consistency=Consistency(llr_min=None, packed_llr_min=-1.75)
    ),
    ("a", "fr"): Judge(confidence=Confidence(border_db_max=None), consistency=Consistency(cer_max=0.5)),
    ("b", "fr"): Judge(),
}


def some() -> list[Utterance]:
    """Of every group, around every threshold that differs."""
    made = []
    for corpus, language in OF_GROUP:
        for number, scores in enumerate(
            {"llr": llr, "border_db": border, "cer": cer} for llr in (0.0, -2.0, -9.0, -5000.0)
             for border in (-60.0, -45.0, -20.0) for cer in (0.0, 0.9)
        ):  # fmt: skip
            for decoding in ("solo", "packed"):
                made.append(
                    utterance(2 * number + (decoding == "packed"), corpus=f"{corpus}-{language}", language=language,
                              scores=scores, decoding=decoding, audio=len(made))
                )  # fmt: skip
                made[-1] = dataclasses.replace(made[-1], source=dataclasses.replace(made[-1].source, corpus=corpus))
    return made


def test_each_group_is_judged_by_its_own_thresholds(tmp_path: Path) -> None:
    ones = some()
    together = from_table(judged(tmp_path, [ones[:50], ones[50:]], fitted=FITTED).table, Verdict)
    apart = []
    for (corpus, language), section in OF_GROUP.items():
        own = [one for one in ones if (one.source.corpus, one.language) == (corpus, language)]
        apart += from_table(judged(tmp_path, [own], section).table, Verdict)
    assert [(one.id, one.verdict, one.rule, one.value, one.threshold) for one in together] == [
        (one.id, one.verdict, one.rule, one.value, one.threshold) for one in apart
    ]
    assert {one.rule for one in together} == {None, "consistency.llr", "consistency.cer", "confidence.border_db"}
    assert {one.threshold for one in together if one.rule == "confidence.border_db"} == {-50.0, -35.0}


def test_without_fits_the_rules_are_the_recipes() -> None:
    assert NO_FITS.rules(Judge()) == rules(Judge())
    assert NO_FITS.number("a", "en") == 0


def test_fits_of_the_same_values_give_one_threshold() -> None:
    same = {"consistency.llr_min": -2.0}
    fitted = GroupThresholds((Fit(None, None, same), Fit("a", "en", same)))
    (llr, _) = [rule for rule in fitted.rules(Judge()) if rule.name == "consistency.llr"]
    assert fitted.in_use(llr) == [-2.0]  # the recipe's -3.75 is nobody's
    (llr, _) = [rule for rule in FITTED.rules(Judge()) if rule.name == "consistency.llr"]
    assert FITTED.in_use(llr) == [-math.inf, -3.75, -1.0]


def test_every_row_gets_the_number_of_its_group() -> None:
    corpora, languages = zip(*OF_GROUP, strict=True)
    numbers = FITTED.numbers(pa.chunked_array([pa.array(corpora)]), pa.chunked_array([pa.array(languages)]))
    assert numbers.tolist() == [FITTED.number(*group) for group in OF_GROUP] == [2, 1, 3, 0]
    assert GroupThresholds.of_json(FITTED.to_json()) == FITTED
    assert len(FITTED.numbers(pa.array([], pa.string()), pa.array([], pa.string()))) == 0


@pytest.mark.parametrize(
    ("thresholds", "says"),
    [
        (FITTED.to_json(), "calibrated: false alarms 1.0 % (0.3-3.6), faults found 96 % on clips it was not fitted on"),
        ([], "judged by the recipe's thresholds, too few right clips to fit others: false alarms 1.0 % (0.3-3.6), "
             "faults found 96 %"),
    ],
)  # fmt: skip
def test_a_calibration_in_one_sentence(thresholds: list[object], says: str) -> None:
    found = {"false_alarms": Rate(2, 200).to_dict(), "mean_recall": 0.96, "thresholds": thresholds}
    assert sentence({"calibration": found}) == says
    assert sentence({"calibration": None, "uncalibrated": "why"}) == "judged without calibration: why"
    assert sentence({}).startswith("judged without calibration: ")
