"""Metrics equal those of the libraries that define them, on random inputs; and small cases that one can count."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jiwer
import numpy as np
import pytest
import sacrebleu
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from llaso_model.evaluate.metrics import classes, error_rates, quantities, structured, text_generation
from llaso_model.evaluate.metrics.base import Metric
from tests.support.evaluation import prediction, scored

WORDS = st.lists(st.sampled_from(["the", "cat", "sat", "on", "a", "mat", "Mat", "über", "don't", "42"]), max_size=12)
TEXT = WORDS.map(" ".join)
SPOKEN = TEXT.filter(lambda said: bool(said.strip()))
PAIRS = st.lists(st.tuples(SPOKEN, TEXT), min_size=1, max_size=6)


def value(metric: Metric, stats: np.ndarray) -> float:
    return float(metric.value(np.asarray(stats, np.float64).sum(axis=0)))


def parted(pairs: Sequence[tuple[str, str]]) -> tuple[list[str], list[str]]:
    return [reference for reference, _ in pairs], [hypothesis for _, hypothesis in pairs]


@given(PAIRS)
def test_error_rates_are_jiwers(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = parted(pairs)
    words, characters = (
        error_rates.word_errors(references, hypotheses),
        error_rates.character_errors(references, hypotheses),
    )
    assert value(error_rates.WER, words) == pytest.approx(jiwer.wer(references, hypotheses))
    assert value(error_rates.CER, characters) == pytest.approx(jiwer.cer(references, hypotheses))
    whole = jiwer.process_words(references, hypotheses)
    assert words.sum(axis=0)[:3].tolist() == [whole.substitutions, whole.deletions, whole.insertions]


def test_an_empty_reference_has_insertions_only() -> None:
    counts = error_rates.word_errors(["", "one two"], ["a b c", "one"])
    assert counts.tolist() == [[0, 0, 3, 0], [0, 1, 0, 2]]
    assert value(error_rates.WER, counts) == 2.0


@given(PAIRS)
def test_bleu_chrf_and_ter_are_sacrebleus(pairs: list[tuple[str, str]]) -> None:
    references, hypotheses = parted(pairs)
    for metric, stats, theirs in (
        (text_generation.BLEU, text_generation.bleu_stats, sacrebleu.corpus_bleu),
        (text_generation.CHRF, text_generation.chrf_stats, sacrebleu.corpus_chrf),
        (text_generation.TER, text_generation.ter_stats, sacrebleu.corpus_ter),
    ):
        assert value(metric, stats(references, hypotheses)) == pytest.approx(theirs(hypotheses, [references]).score)
    assert all("version" in signature for signature in text_generation.signatures().values())


@given(SPOKEN, TEXT)
def test_rouge_l_is_rouge_scores(reference: str, hypothesis: str) -> None:
    from rouge_score import rouge_scorer

    theirs = rouge_scorer.RougeScorer(["rougeL"]).score(reference, hypothesis)["rougeL"].fmeasure
    assert text_generation.rouge_l(reference, hypothesis) == pytest.approx(theirs)


def test_rouge_l_of_chinese_is_by_character() -> None:
    assert text_generation.rouge_l("你好吗", "你好", "zh") == pytest.approx(2 * (2 / 2) * (2 / 3) / (1 + 2 / 3))


LABELS = st.integers(0, 3)


@given(st.lists(st.tuples(LABELS, st.integers(-1, 3)), min_size=1, max_size=40))
def test_classes_are_scikit_learns(pairs: list[tuple[int, int]]) -> None:
    wanted, answered = [a for a, _ in pairs], [b for _, b in pairs]
    stats = classes.class_stats(wanted, answered, 4)
    asked = sorted(set(wanted))
    assert value(classes.ACCURACY, stats) == pytest.approx(np.mean(np.asarray(wanted) == answered))
    theirs = f1_score(wanted, answered, labels=asked, average="macro", zero_division=0)
    assert value(classes.MACRO_F1, stats) == pytest.approx(theirs)
    recalls = [np.mean([b == a for a, b in pairs if a == label]) for label in asked]
    assert value(classes.BALANCED, stats) == pytest.approx(np.mean(recalls))
    if all(b in asked for b in answered):
        assert value(classes.BALANCED, stats) == pytest.approx(balanced_accuracy_score(wanted, answered))
    ours = classes.confusion(wanted, answered, 4)
    theirs_matrix = confusion_matrix(wanted, answered, labels=[0, 1, 2, 3, -1])[:4]
    assert np.array_equal(ours, theirs_matrix)


def test_risk_and_coverage_from_the_surest_on() -> None:
    curve = classes.risk_coverage([0.9, 0.5, 0.9, 0.1], [True, False, False, True], asked=5)
    assert curve == [(2 / 5, 1 / 2), (3 / 5, 2 / 3), (4 / 5, 2 / 4)]


def test_cider_by_hand() -> None:
    """Two references without a common word: every n-gram's idf is log 2, and cancels out in the cosine.

    "a b c d" against itself: each of the four cosines is 1, so CIDEr-D is 10. "a b" against "a b c d": unigrams share
    2 of 4 (cosine 2/(2·√2)·…), bigrams 1 of 3; lengths differ by 2 bigrams, so the damping is exp(−4/72).
    """
    references = ["a b c d", "e f g h"]
    assert text_generation.cider(references, ["a b c d", "x"]) == pytest.approx([10.0, 0.0])
    damped = math.exp(-(2**2) / (2 * 6.0**2))
    unigrams = 2 / (math.sqrt(4) * math.sqrt(2))
    bigrams = 1 / (math.sqrt(3) * math.sqrt(1))
    assert text_generation.cider(references, ["a b", "x"])[0] == pytest.approx(10 / 4 * damped * (unigrams + bigrams))


def test_cider_clips_repeated_words() -> None:
    """CIDEr-D's clipping: "a a a" is not closer to "a b" for saying a thrice."""
    once, thrice = (text_generation.cider(["a b", "c d"], [said, "x"])[0] for said in ("a", "a a a"))
    assert thrice < once


@pytest.mark.parametrize(
    ("ipa", "wanted"),
    [
        ("ˈtɪm.ə.θi", ["t", "ɪ", "m", "ə", "θ", "i"]),
        ("biː", ["b", "iː"]),
        ("t͡ʃɛɹ", ["t͡ʃ", "ɛ", "ɹ"]),
        ("pʰɪn", ["pʰ", "ɪ", "n"]),
        ("mɑ̃", ["m", "ɑ̃"]),
        ("ðə ɹiːəlᵻzeɪʃən", ["ð", "ə", "ɹ", "iː", "ə", "l", "ᵻ", "z", "e", "ɪ", "ʃ", "ə", "n"]),
        ("/kæt/", ["k", "æ", "t"]),
    ],
)  # fmt: skip
def test_segments(ipa: str, wanted: list[str]) -> None:
    assert [one.replace("ɑ̃", "ɑ̃") for one in error_rates.ipa_segments(ipa)] == wanted


@given(st.text(max_size=40))
def test_segments_lose_no_letter(said: str) -> None:
    joined = "".join(error_rates.ipa_segments(said))
    assert sum(map(str.isalpha, joined)) >= sum(c.isalpha() for c in said if c not in error_rates._IPA_SKIPPED)


@given(st.floats(0, 127), st.one_of(st.none(), st.floats(-1000, 1000)))
def test_no_answer_is_never_better_than_one(wanted: float, said: float | None) -> None:
    worst, _ = quantities.charged_error(None, wanted, (0, 127))
    error, answered = quantities.charged_error(said, wanted, (0, 127))
    assert 0 <= error <= worst
    assert answered == float(said is not None)


def test_pronunciation_scores_are_read_in_both_orders() -> None:
    wanted = {"accuracy": 9.0, "prosodic": 8.0, "fluency": 7.0, "total": 9.0}
    said = "Mark is here. For the sentence: accuracy is 9, prosodic is 8, fluency is 7 total score is 9."
    assert quantities.sentence_scores(said) == wanted
    assert quantities.sentence_scores("Accuracy: 9/10, prosody: 8/10, fluency: 7/10, total score: 9/10") == wanted
    assert quantities.sentence_scores("9 for accuracy, 8 for prosody, 7 for fluency and 9 for total") == wanted
    assert quantities.sentence_scores("I cannot rate it.") == {}
    assert quantities.leading_transcript(said) == "Mark is here."


def test_scores_of_words_know_their_occurrence() -> None:
    said = (
        'Go go. For "go", accuracy is 9, stress is 8, and total score is 7. '
        'For "go", accuracy is 1, stress is 2, total score is 3.'
    )
    found = quantities.word_scores(said)
    assert found[("go", 0, "accuracy")] == 9 and found[("go", 1, "total")] == 3
    assert len(found) == 6


def test_entities_in_brackets_and_json() -> None:
    wanted = structured.parse_entities("put [event_name : meeting] with [person : pawel] for [date : tomorrow]")
    assert wanted == [("event_name", "meeting"), ("person", "pawel"), ("date", "tomorrow")]
    found = structured.parse_entities('{"event name": "Meeting.", "person": "Paul"}')
    assert structured.match_counts(found, wanted) == (1.0, 2.0, 3.0)
    assert structured.type_match_counts(found, wanted) == (2.0, 2.0, 3.0)
    twice = structured.parse_entities("[date : monday] [date : monday]")
    assert structured.match_counts(twice, twice[:1]) == (1.0, 2.0, 1.0)


def test_error_rates_of_languages_without_spaces_are_by_character() -> None:
    assert error_rates.whisper_normalise("今天天气很好。", "zh") == "今 天 天 气 很 好"
    assert error_rates.whisper_normalise("Mr. Smith's colour — twenty-one!", "en") == "mister smith is color 21"
    assert (
        error_rates.whisper_normalise("the cause", "en") == "the cause"
    )  # openai's rules, not the package's "because"


CHINESE, JAPANESE = "今天天气很好，我们去公园散步。", "今日は天気がいいので公園へ行きます。"


@pytest.mark.parametrize("said", ["zh", "zho", "cmn", "chi", "Chinese", "Mandarin", "zh-CN", "zh_TW", "cn"])
def test_a_language_in_any_spelling_is_that_language(said: str) -> None:
    (row,) = scored([prediction("ASR", CHINESE.replace("公园", "花园"), CHINESE, language=said)])
    assert row.stats["wer"] == (1.0, 0.0, 0.0, 13.0)
    assert error_rates.whisper_normalise(CHINESE, said) == error_rates.whisper_normalise(CHINESE, "zh")


@pytest.mark.parametrize("said", ["jp", "jpn", "Japanese", "ja-JP"])
def test_so_is_japanese(said: str) -> None:
    assert (
        error_rates.whisper_normalise(JAPANESE, said)
        == error_rates.whisper_normalise(JAPANESE, "ja")
        == " ".join(JAPANESE[:-1])
    )


@pytest.mark.parametrize("said", ["English", "eng", "en-US", "EN", "en_gb", None, ""])
def test_english_in_any_spelling_has_its_normaliser(said: str | None) -> None:
    assert (
        error_rates.whisper_normalise("I won't pay twenty dollars, colour it!", said) == "i will not pay $20 color it"
    )


@pytest.mark.parametrize("language", ["zh", "Chinese", "ja", "jp", "th", None, "en"])
def test_bleu_of_what_is_identical_is_100(language: str | None) -> None:
    texts = {"th": ["สวัสดีครับวันนี้อากาศดี"], "ja": [JAPANESE], "jp": [JAPANESE]}.get(language or "", [CHINESE])
    rows = scored([prediction("dolly_input_1", text, text, language=language) for text in texts])
    assert text_generation.BLEU.value(np.asarray(rows[0].stats["bleu"])) == pytest.approx(100)
    (other,) = scored([prediction("dolly_input_1", "完全不同的回答", CHINESE, language=language)])
    assert text_generation.BLEU.value(np.asarray(other.stats["bleu"])) < 20


def test_training_scores_the_words_that_evaluation_scores() -> None:
    from llaso_model import demo
    from llaso_model.train import validate

    assert (
        validate.word_error_count is error_rates.word_error_count
        and demo.word_error_count is error_rates.word_error_count
    )
