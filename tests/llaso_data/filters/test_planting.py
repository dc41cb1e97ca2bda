"""Planted faults are faults: of every pair that can carry one, and of nothing else than what the name says."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.filters.planting import AUDIO_FAULTS, CLEAN, FAULTS, TEXT_FAULTS, Corpus, Planted, plant, units
from llaso_data.records import GIVEN, UNKNOWN, Source, Utterance, Word
from llaso_data.text import normalize

ENGLISH = ("The cat sat on the mat.", "Please press 1, or hold.", "Goodbye!", "A dog ran home in the rain")
CHINESE = ("今天天气很好。", "我们去公园吧。", "你好。")


def pair(text: str, language: str, start_s: float | None = None, origin: str = GIVEN) -> Utterance:
    words = text.split() if language == "en" else list(text)
    return Utterance(
        id=f"{abs(hash((text, language))):032x}"[:32],
        recording="0",
        source=Source(corpus="c", uri=f"{text}.wav", start_s=start_s, end_s=None if start_s is None else start_s + 4),
        duration_s=4.0,
        language=language,
        language_origin=origin,
        text=text,
        text_origin=GIVEN,
        hypothesis=text,
        words=tuple(Word(word, 1 + 0.3 * i, 1.25 + 0.3 * i) for i, word in enumerate(words)),
    )


def planted(texts: tuple[str, ...], language: str, faults: int = len(FAULTS), **options: object) -> list[Planted]:
    other = CHINESE if language == "en" else ENGLISH
    foreign = [pair(text, "zh" if language == "en" else "en") for text in other]
    return plant(Corpus(language, [pair(text, language) for text in texts], foreign), faults)


@pytest.mark.parametrize(("texts", "language"), [(ENGLISH, "en"), (CHINESE, "zh")])
def test_every_pair_stays_once_as_it_was_and_gets_every_fault_that_it_can_have(
    texts: tuple[str, ...], language: str
) -> None:
    found = planted(texts, language)
    assert len({one.utterance.id for one in found}) == len(found)
    by_fault = Counter(one.fault for one in found)
    assert by_fault[CLEAN] == len(texts) and set(by_fault) <= {CLEAN, *FAULTS}
    assert set(by_fault) == {CLEAN, *FAULTS}
    for one in found:
        assert one.utterance.recording == one.utterance.id and one.utterance.hypothesis is None
        assert one.utterance.words == () and one.utterance.text_origin == GIVEN
        (text,) = (text for text in texts if pair(text, language).id == one.origin)
        same = normalize(one.utterance.text or "", language) == normalize(text, language)
        assert same is (one.fault not in TEXT_FAULTS), one
        assert (one.utterance.source != pair(text, language).source) is (one.fault in AUDIO_FAULTS), one


def test_each_text_fault_is_what_its_name_says() -> None:
    for one in planted(ENGLISH, "en"):
        (text,) = (text for text in ENGLISH if pair(text, "en").id == one.origin)
        before, after = (normalize(each, "en").split() for each in (text, one.utterance.text or ""))
        match one.fault:
            case "word deleted":
                assert len(after) == len(before) - 1
            case "word inserted":
                assert len(after) == len(before) + 1
            case "word substituted":
                assert sum(a != b for a, b in zip(before, after, strict=True)) == 1
            case "two words swapped":
                assert sorted(a for a in before) == sorted(after) and before != after
            case "text cut at the start":
                assert before[-len(after) :] == after and len(after) < len(before)
            case "text cut at the end":
                assert before[: len(after)] == after and len(after) < len(before)
            case "sentence repeated":
                assert after == before * 2
            case "closing phrase":
                assert after[: len(before)] == before and len(after) > len(before)


@pytest.mark.parametrize("start_s", [None, 100.0])
def test_a_cut_ends_inside_the_word_at_the_edge(start_s: float | None) -> None:
    one = pair(ENGLISH[0], "en", start_s)
    sources = {each.fault: each.utterance.source for each in plant(Corpus("en", [one]), len(FAULTS))}
    offset = start_s or 0.0
    at_start, at_end = sources[AUDIO_FAULTS[0]], sources[AUDIO_FAULTS[1]]
    first, last = one.words[0], one.words[-1]
    assert at_start.start_s is not None and at_end.end_s is not None
    assert first.start_s + 0.5 * 0.25 <= at_start.start_s - offset <= first.end_s
    assert at_start.end_s == offset + 4.0 and at_end.start_s == offset
    assert last.start_s < at_end.end_s - offset <= last.start_s + 0.5 * 0.25 + 1e-3


def test_faults_come_about_equally_often_and_the_seed_decides_which() -> None:
    texts = tuple(f"This is sentence number {number} of many others" for number in range(60))
    found = planted(texts, "en", faults=3)
    counts = Counter(one.fault for one in found if one.fault != CLEAN)
    assert sum(counts.values()) == 180 and max(counts.values()) - min(counts.values()) <= 1
    corpus = Corpus("en", [pair(text, "en") for text in texts])
    assert plant(corpus, 3) == plant(corpus, 3) != plant(corpus, 3, seed=1)


def test_a_language_that_whisper_identified_is_identified_again() -> None:
    ones = plant(Corpus("en", [pair(text, "en", origin="asr") for text in ENGLISH], [pair(CHINESE[0], "zh")]), 13)
    for one in ones:
        stated = one.fault == AUDIO_FAULTS[2]
        assert one.utterance.language == ("en" if stated else None)
        assert one.utterance.language_origin == (GIVEN if stated else UNKNOWN)


@given(st.text(max_size=40), st.sampled_from(["en", "zh", "th", None]))
def test_units_are_the_whole_text(text: str, language: str | None) -> None:
    assert "".join(units(text, language)) in (text, "")
