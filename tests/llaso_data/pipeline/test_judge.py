"""Judging: every input gets one verdict, by name, and the audit's draw looks at no score."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llaso_data.errors import LLaSOError
from llaso_data.filters import audit_draw, columns, duplicates
from llaso_data.filters.group_thresholds import NO_FITS, GroupThresholds
from llaso_data.pipeline.judge import JudgeResult, judge
from llaso_data.recipe import Audit, Confidence, Consistency, Duplicates, Judge
from llaso_data.records import Scores, Source, Utterance, Verdict, digest, failed, from_table, schema, to_table

CLEAN = Scores(
    avg_logprob=-0.2,
    no_speech_prob=0.01,
    language_prob=1.0,
    compression_ratio=1.1,
    chars_per_s=12.0,
    min_word_logprob=-1.0,
    eot_logprob=-0.5,
    llr=0.0,
    cer=0.0,
    surplus=0.0,
    repetition=0.1,
    speech_ratio=0.8,
    rms_dbfs=-20.0,
    clipped_ratio=0.0,
    border_db=-60.0,
)


def utterance(number: int = 0, *, corpus: str = "prompts", audio: int | None = None, **fields: Any) -> Utterance:
    """A clean utterance of its own audio; `fields` replace its fields, and `scores` its scores by name."""
    id_ = digest(corpus, number)
    clean = Utterance(
        id=id_,
        recording=id_,
        source=Source(corpus=corpus, uri=f"{number}.wav"),
        audio_id=digest("audio", number if audio is None else audio),
        duration_s=3.6,
        language="en",
        language_origin="given",
        text="please hold",
        text_origin="given",
        hypothesis="please hold",
        decoding="solo",
    )
    scores = dataclasses.replace(CLEAN, **fields.pop("scores", {}))
    return dataclasses.replace(clean, scores=scores, **fields)


def judged(
    folder: Path,
    parts: Sequence[Sequence[Utterance]],
    section: Judge | None = None,
    fitted: GroupThresholds = NO_FITS,
) -> JudgeResult:
    uris = []
    for number, utterances in enumerate(parts):
        uris.append(str(folder / f"{number}.parquet"))
        pq.write_table(to_table(utterances, Utterance), uris[-1])
    return judge(uris, section or Judge(), fitted)


ALL_ON = {
    "confidence": Confidence(given_avg_logprob_min=-1.4, border_db_max=-35.0),
    "consistency": Consistency(
        min_word_logprob_min=-9.0, packed_min_word_logprob_min=-9.0, packed_eot_logprob_min=-5.0,
        llr_min=-5.0, packed_llr_min=-5.0, cer_max=1.0, surplus_max=0.35,
    ),
}  # fmt: skip
"""Every rule with a threshold, those included that are off by default."""


def one(folder: Path, item: Utterance, **sections: Any) -> Verdict:
    return from_table(judged(folder, [[item]], Judge(**(ALL_ON | sections))).table, Verdict)[0]


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"scores": {"avg_logprob": -2.0, "cer": 0.1}}, "confidence.avg_logprob"),
        ({"scores": {"avg_logprob": -1.3}, "text_origin": "asr"}, "confidence.avg_logprob"),
        ({"scores": {"no_speech_prob": 0.7}}, "confidence.no_speech_prob"),
        ({"scores": {"compression_ratio": 2.5}}, "confidence.compression_ratio"),
        ({"scores": {"language_prob": 0.4}}, "confidence.language_prob"),
        ({"scores": {"rms_dbfs": -70.0}}, "confidence.rms_dbfs"),
        ({"scores": {"clipped_ratio": 0.2}}, "confidence.clipped_ratio"),
        ({"scores": {"border_db": -9.0}}, "confidence.border_db"),
        ({"scores": {"avg_logprob": math.nan}}, "confidence.not_a_number"),
        ({"scores": {"extra": {"no_speech": 1.0}}, "text": None}, "confidence.no_speech"),
        ({"duration_s": 0.1}, "confidence.duration_min_s"),
        ({"duration_s": None}, "confidence.duration_min_s"),
        ({"duration_s": 31.0}, "confidence.duration_max_s"),
        ({"scores": {"chars_per_s": 0.5}}, "confidence.chars_per_s_min"),
        ({"scores": {"chars_per_s": 31.0}}, "confidence.chars_per_s_max"),
        ({"scores": {"chars_per_s": 16.0}, "language": "zh", "text": "请稍候"}, "confidence.cjk_chars_per_s_max"),
        ({"text": None}, "confidence.no_text"),
        ({"text": " ... "}, "confidence.no_text"),
        ({"scores": {"extra": {"given_unmatched": 1.0}}, "text": None}, "consistency.given_unmatched"),
        ({"scores": {"extra": {"script_mismatch": 1.0, "phrase": 0.0}}}, "consistency.script"),
        ({"scores": {"extra": {"phrase": 1.0}}}, "consistency.phrase"),
        ({"scores": {"repetition": 0.7}}, "consistency.repetition"),
        ({"scores": {"min_word_logprob": -9.5}}, "consistency.min_word_logprob"),
        ({"scores": {"eot_logprob": -5.5}}, "consistency.eot_logprob"),
        ({"scores": {"min_word_logprob": -9.5}, "decoding": "packed"}, "consistency.min_word_logprob"),
        ({"scores": {"min_word_logprob": None, "eot_logprob": None}}, "consistency.unscored"),
        ({"scores": {"llr": -30.0}}, "consistency.llr"),
        ({"scores": {"llr": -30.0}, "decoding": "packed"}, "consistency.llr"),
        ({"scores": {"cer": 2.0}}, "consistency.cer"),
        ({"scores": {"surplus": 0.5}}, "consistency.surplus"),
    ],
)
def test_a_bad_score_is_rejected_under_its_rule_with_value_and_threshold(
    tmp_path: Path, fields: dict[str, Any], rule: str
) -> None:
    verdict = one(tmp_path, utterance(**fields))
    assert (verdict.verdict, verdict.rule) == ("rejected", rule)
    assert verdict.threshold is not None
    assert verdict.value is None or verdict.value != verdict.threshold


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"scores": {"min_word_logprob": -8.5, "eot_logprob": -4.5, "llr": -4.5}, "decoding": "packed"},
        {"scores": {"chars_per_s": 12.0}, "language": "ja", "text": "お待ちください"},
        {"scores": {"cer": None, "wer": None, "lm_delta": None}, "text_origin": "asr"},
        {"scores": {"avg_logprob": -1.4, "cer": 1.0}},
        {"scores": {"avg_logprob": -3.0}},  # Whisper is not sure, and hears the transcript
        {"language": "hi", "text": "कृपया"},
    ],
)
def test_what_is_within_the_thresholds_is_accepted(tmp_path: Path, fields: dict[str, Any]) -> None:
    assert one(tmp_path, utterance(**fields)).verdict == "accepted"


def test_a_null_threshold_is_off_and_a_null_packed_threshold_falls_back(tmp_path: Path) -> None:
    weak = utterance(scores={"min_word_logprob": -4.5}, decoding="packed")
    apart = Consistency(min_word_logprob_min=-4.0, packed_min_word_logprob_min=-5.0)
    assert one(tmp_path, weak, consistency=apart).verdict == "accepted"
    together = apart.model_copy(update={"packed_min_word_logprob_min": None})
    assert one(tmp_path, weak, consistency=together).verdict == "rejected"
    off = Consistency(min_word_logprob_min=None, packed_min_word_logprob_min=None)
    assert one(tmp_path, weak, consistency=off).verdict == "accepted"


def test_a_limit_of_all_hypotheses_is_one_of_those_that_are_as_given_too(tmp_path: Path) -> None:
    unsure = utterance(scores={"avg_logprob": -1.3})
    assert one(tmp_path, unsure, confidence=Confidence()).verdict == "accepted"
    every = Confidence(given_avg_logprob_min=None)
    assert one(tmp_path, unsure, confidence=every).rule == "confidence.avg_logprob"


def with_borders(levels: Sequence[float], corpus: str = "prompts", **fields: Any) -> list[Utterance]:
    return [utterance(n, corpus=corpus, scores={"border_db": level}, **fields) for n, level in enumerate(levels)]


def rejected_borders(result: JudgeResult) -> list[tuple[float | None, float | None]]:
    found = [verdict for verdict in from_table(result.table, Verdict) if verdict.rule == "confidence.border_db"]
    return [(verdict.value, verdict.threshold) for verdict in found]


WITH_MARGIN = Judge(confidence=Confidence(border_margin_db=9.0))


def test_a_border_is_judged_by_what_is_usual_in_its_corpus(tmp_path: Path) -> None:
    quiet = with_borders([-60.0] * 30 + [-34.0, -36.0], "quiet")
    trimmed = with_borders([-20.0, -15.0, -25.0] * 10 + [-34.0, -7.0, -5.0], "trimmed")
    few = with_borders([-20.0] * 19, "few")
    result = judged(tmp_path, [quiet[:7] + trimmed[:20], quiet[7:] + few, trimmed[20:]], WITH_MARGIN)
    assert sorted(rejected_borders(result)) == [(-34.0, -35.0), *[(-20.0, -35.0)] * 19, (-5.0, -6.0)]
    assert result.border_limits == [("quiet", "en", -51.0), ("trimmed", "en", -6.0)]
    assert len(rejected_borders(judged(tmp_path, [trimmed]))) == 33


def test_a_border_is_judged_alike_in_sets_of_any_size_and_whoever_else_is_in_them(tmp_path: Path) -> None:
    """Few or many, and all of them cut: what a border must be depends on no other clip."""
    for count in (1, 5, 200):
        result = judged(tmp_path, [with_borders([-20.0] * count), with_borders([-50.0] * count, "whole")])
        assert (len(rejected_borders(result)), result.border_limits) == (count, [])


def test_languages_of_a_corpus_have_borders_of_their_own(tmp_path: Path) -> None:
    both = with_borders([-60.0] * 25 + [-20.0]) + with_borders([-18.0] * 26, "x", language="it", text="attenda")
    both = [dataclasses.replace(item, source=dataclasses.replace(item.source, corpus="one")) for item in both]
    assert rejected_borders(judged(tmp_path, [both], WITH_MARGIN)) == [(-20.0, -35.0)]


def test_a_quarter_of_a_corpus_may_be_cut_and_is_found(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).normal(-50, 4, 300).round(4).tolist()
    assert len(rejected_borders(judged(tmp_path, [with_borders([*levels, *[-8.0] * 90])], WITH_MARGIN))) >= 90


def test_a_border_takes_its_place_among_the_rules(tmp_path: Path) -> None:
    rest = with_borders([-60.0] * 30)
    twice = utterance(90, scores={"border_db": -9.0, "avg_logprob": -3.0, "cer": 0.2})
    before = utterance(91, scores={"border_db": -9.0, "rms_dbfs": -70.0})
    usual = utterance(92, scores={"border_db": -52.0, "avg_logprob": -3.0, "cer": 0.2})
    result = judged(tmp_path, [[*rest, twice, before, usual]], WITH_MARGIN)
    rules = [verdict.rule for verdict in from_table(result.table, Verdict)][-3:]
    assert rules == ["confidence.border_db", "confidence.rms_dbfs", "confidence.avg_logprob"]


def test_tier_1_names_the_rejection_before_tier_2(tmp_path: Path) -> None:
    both = utterance(scores={"cer": 1.9, "avg_logprob": -3.0})
    assert one(tmp_path, both) == Verdict(
        id=both.id, verdict="rejected", rule="confidence.avg_logprob", value=-3.0, threshold=-1.4
    )
    tier_2 = one(tmp_path, both, confidence=Confidence(given_avg_logprob_min=-5.0))
    assert (tier_2.rule, tier_2.value, tier_2.threshold) == ("consistency.cer", 1.9, 1.0)


def test_phrases_of_the_recipe_reject_the_whole_text_in_its_language_only(tmp_path: Path) -> None:
    items = [
        utterance(1),
        utterance(2, text="Please, HOLD!"),
        utterance(3, text="please hold on"),
        utterance(4, language="es"),
    ]
    section = Judge(consistency=Consistency(phrases={"en": ("Please hold.",)}))
    verdicts = from_table(judged(tmp_path, [items], section).table, Verdict)
    assert [v.rule for v in verdicts] == ["consistency.phrase", "consistency.phrase", None, None]


def test_the_smallest_corpus_and_id_of_one_audio_stays_whatever_the_order(tmp_path: Path) -> None:
    copies = [utterance(1, corpus="b", audio=9), utterance(2, corpus="a", audio=9), utterance(3, corpus="a", audio=9)]
    worse = utterance(0, corpus="a", audio=9, scores={"avg_logprob": -5.0, "cer": 0.2})
    winner = min(copies[1:], key=lambda u: u.id)
    for parts in ([[worse, *copies]], [copies[::-1], [worse]]):
        result = judged(tmp_path, parts)
        verdicts = {v.id: v for v in from_table(result.table, Verdict)}
        assert verdicts.pop(worse.id).rule == "confidence.avg_logprob"
        assert verdicts.pop(winner.id).verdict == "accepted"
        assert {(v.verdict, v.rule, v.duplicate_of) for v in verdicts.values()} == {
            ("duplicate", "duplicates.audio", winner.id)
        }
        assert result.counts["duplicates"] == 2
    kept = judged(tmp_path, [copies], Judge(duplicates=Duplicates(exact=False)))
    assert kept.counts["accepted"] == 3


def test_everything_is_counted_once(tmp_path: Path) -> None:
    first = [utterance(n) for n in range(6)]
    segments = [dataclasses.replace(utterance(20 + n, language="fr"), recording=digest("long")) for n in range(3)]
    second = [
        failed(dataclasses.replace(utterance(10), audio_id=None, duration_s=None), "unreadable", "10.wav"),
        failed(dataclasses.replace(utterance(11), audio_id=None, duration_s=None), "missing", "11.wav"),
        utterance(2),
        utterance(12, audio=0),
        utterance(13, scores={"cer": 2.0}),
    ]
    result = judged(tmp_path, [first, segments, second], Judge(consistency=Consistency(cer_max=1.0)))
    assert result.counts == {
        "inputs": 14, "recordings": 11, "accepted": 9, "rejected": 2, "duplicates": 1, "failed": 2, "audited": 9,
    }  # fmt: skip
    assert result.rules == {
        "consistency.cer": 1, "duplicates.audio": 1, "failed.missing": 1, "failed.unreadable": 1, "repeated_id": 1,
    }  # fmt: skip
    assert result.languages == {"en": {"accepted": 6, "hours": 0.006}, "fr": {"accepted": 3, "hours": 0.003}}
    assert result.hours == {"observed": 0.012, "accepted": 0.009, "rejected": 0.002, "duplicates": 0.001}
    assert result.failed_share == 2 / 14
    assert result.table.schema == schema(Verdict)
    assert result.table["id"].to_pylist() == [u.id for u in [*first, *segments, *second]]


def test_no_observations_give_an_empty_table() -> None:
    result = judge([], Judge())
    assert result.table.schema == schema(Verdict) and result.counts["inputs"] == len(result.table) == 0


def test_a_missing_or_foreign_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(LLaSOError, match=r"gone\.parquet.*run `llaso-data build-align` again"):
        judge([str(tmp_path / "gone.parquet")], Judge())
    pq.write_table(to_table([utterance()], Utterance).drop_columns(["scores"]), tmp_path / "old.parquet")
    with pytest.raises(LLaSOError, match=r"old\.parquet.*scores\.avg_logprob"):
        judge([str(tmp_path / "old.parquet")], Judge())
    (tmp_path / "text.parquet").write_text("not parquet")
    with pytest.raises(LLaSOError, match=r"text\.parquet"):
        judge([str(tmp_path / "text.parquet")], Judge())


def test_the_draw_is_proportional_and_blind_to_scores_and_order(tmp_path: Path) -> None:
    english = [utterance(n) for n in range(60)]
    french = [utterance(n, corpus="contes", language="fr") for n in range(100, 130)]
    section = Judge(audit=Audit(items=9, seed=3))

    def drawn(parts: Sequence[Sequence[Utterance]], with_section: Judge = section) -> set[str]:
        table = judged(tmp_path, parts, with_section).table
        return {v.id for v in from_table(table, Verdict) if v.audited}

    sample = drawn([english, french])
    assert len(sample & {u.id for u in english}) == 6 and len(sample) == 9
    rescored = [dataclasses.replace(u, scores=dataclasses.replace(CLEAN, avg_logprob=-0.9)) for u in english]
    assert drawn([french[::-1], rescored[::-1]]) == sample
    assert drawn([english, french], Judge(audit=Audit(items=9, seed=4))) != sample


def test_only_the_accepted_are_drawn(tmp_path: Path) -> None:
    items = [utterance(n, scores={"cer": n / 10}) for n in range(10)]
    table = judged(tmp_path, [items], Judge(audit=Audit(items=4))).table
    assert all(v.verdict == "accepted" for v in from_table(table, Verdict) if v.audited)
    assert sum(table["audited"].to_pylist()) == 4


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(0, 3000))
def test_quotas_are_within_one_of_the_exact_share(sizes: list[int], items: int) -> None:
    given_out = audit_draw.quotas(sizes, items)
    assert sum(given_out) == min(items, sum(sizes))
    for size, quota in zip(sizes, given_out, strict=True):
        assert 0 <= quota <= size
        assert items >= sum(sizes) or abs(quota - items * size / sum(sizes)) < 1


@given(st.lists(st.integers(0, 1000), max_size=12), st.integers(0, 3000), st.integers(0, 2**64 - 1))
def test_shares_of_the_audit_are_within_one_of_the_exact_share(sizes: list[int], items: int, start: int) -> None:
    given_out = audit_draw.distributed(sizes, items, start)
    assert sum(given_out) == min(items, sum(sizes))
    for size, quota in zip(sizes, given_out, strict=True):
        assert 0 <= quota <= size
        assert items >= sum(sizes) or abs(quota - items * size / sum(sizes)) < 1


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8), st.integers(0, 40))
def test_every_utterance_has_the_same_chance_to_be_drawn_for_the_audit(sizes: list[int], items: int) -> None:
    total = sum(sizes)
    over_all_starts = np.array([audit_draw.distributed(sizes, items, start) for start in range(max(1, total))]).sum(
        axis=0
    )
    assert over_all_starts.tolist() == [max(1, total) * size if items >= total else items * size for size in sizes]


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.booleans()), max_size=40))
def test_duplicates_agree_with_the_plain_definition(rows: list[tuple[int, int, bool]]) -> None:
    """Rows are (audio, corpus, eligible); ids are unique."""
    ids = np.array([[7 * n % 41, n] for n in range(len(rows))], np.uint64).reshape(-1, 2)
    audio = np.array([[r[0], 1] for r in rows], np.uint64).reshape(-1, 2)
    corpus = np.array([r[1] for r in rows], np.int32)
    eligible = np.array([r[2] for r in rows], bool)
    expected = [-1] * len(rows)
    for n, row in enumerate(rows):
        rivals = [m for m, other in enumerate(rows) if other[2] and other[0] == row[0]]
        best = min(rivals, key=lambda m: (rows[m][1], tuple(ids[m])), default=n)
        expected[n] = best if row[2] and best != n else -1
    assert duplicates.exact(audio, ids, corpus, eligible).tolist() == expected


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=20))
def test_ids_survive_the_way_to_numbers_and_back(ids: list[bytes]) -> None:
    text = [i.hex() for i in ids]
    column = pa.chunked_array([pa.array(["-", *text]).slice(1), pa.array(text, pa.string())])
    assert columns.hex_strings(columns.hashes(column, "id")).to_pylist() == text * 2


def test_an_id_that_is_not_a_hash_is_an_error(tmp_path: Path) -> None:
    for bad in ("short", "g" * 32):
        with pytest.raises(LLaSOError, match="32 hexadecimal digits"):
            judged(tmp_path, [[dataclasses.replace(utterance(), id=bad)]])
