"""Every corpus's spelling ends in one vocabulary."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import languages
from llaso_data.formats.rows import vocabulary


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("M", "male"),
        ("male_masculine", "male"),
        ("Female", "female"),
        ("female_feminine", "female"),
        ("non-binary", "other"),
        ("do_not_wish_to_say", "unknown"),
        ("", "unknown"),
        ("spectrogram", "unknown"),
    ],
)
def test_gender(said: str, meant: str) -> None:
    assert vocabulary.gender(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("twenties", "20-29"),
        ("fourties", "40-49"),
        ("34", "30-39"),
        ("34.0", "30-39"),
        ("7 years", "0-9"),
        ("60s", "60-69"),
        ("20-29", "20-29"),
        ("18-25", "unknown"),
        ("101", "100+"),
        ("1984", "unknown"),
        ("-3", "unknown"),
        ("", "unknown"),
    ],
)
def test_age_range(said: str, meant: str) -> None:
    assert vocabulary.age_range(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("English", "en"),
        ("en_US", "en"),
        ("eng", "en"),
        ("zh-CN", "zh"),
        ("cmn-Hans-CN", "zh"),
        ("pt-BR", "pt"),
        ("jw", "jv"),
        ("Norwegian Bokmål", "no"),
        ("Haitian Creole", "ht"),
        ("fil", "tl"),
        ("yue", "yue"),
        ("Klingonish", None),
        ("", None),
        ("english-speaking", None),
    ],
)
def test_language(said: str, meant: str | None) -> None:
    assert languages.language(said) == meant


def test_the_sixteen_languages_are_known_by_code_and_by_name() -> None:
    for code in ["en", "zh", "es", "fr", "de", "it", "pt", "ru", "ja", "ko", "ar", "hi", "pl", "nl", "tr", "vi"]:
        assert languages.language(code) == code
        assert languages.language(languages.language_name(code)) == code


def test_every_language_that_whisper_knows_has_a_code() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    expected = {"jw": "jv"}
    assert {code: languages.language(code) for code in _LANGUAGE_CODES} == {
        code: expected.get(code, code) for code in _LANGUAGE_CODES
    }


def test_accent_keeps_what_it_does_not_know_as_a_slug() -> None:
    assert vocabulary.accent("United States English") == vocabulary.accent("us") == "united-states"
    assert vocabulary.accent("Midwestern, Low") == "midwestern-low"
    assert vocabulary.accent("广东") == "广东"
    assert vocabulary.accent("  ") == "unknown"


def test_environment() -> None:
    assert vocabulary.environment("In Car") == "vehicle"
    assert vocabulary.environment("Recording studio") == "studio"
    assert vocabulary.environment("Submarine (deep)") == "submarine-deep"
    assert vocabulary.environment("N/A") == "unknown"


@given(st.text())
def test_mapping_twice_changes_nothing(said: str) -> None:
    for function in (vocabulary.gender, vocabulary.age_range, vocabulary.accent, vocabulary.environment):
        once = function(said)
        assert once and function(once) == once
    assert vocabulary.gender(said) in vocabulary.GENDERS
    assert vocabulary.age_range(said) in vocabulary.AGE_RANGES
