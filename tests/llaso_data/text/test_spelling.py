"""Characters that writers vary and speakers do not, and words that stand side by side without a space."""

from __future__ import annotations

import pytest

from llaso_data import text
from llaso_data.align.backward import in_whisper_style
from llaso_data.text.characters import APOSTROPHES
from llaso_data.text.markup import clean
from llaso_model.evaluate.metrics import error_rates
from tests.llaso_data.asr.test_given import divided

UNSEEN = (
    "\u00ad\u200b\u200c\u200d\u200e\u200f\u202a\u202e\u2060\u2066\u2069\ufeff\ufe0f\u034f\u061c\u3164\x01\x7f\U000e0041"
)


@pytest.mark.parametrize(
    ("language", "plain"),
    [
        ("en", "Don't they say it's John's? 'Tis the '90s, o'clock; we'll've 'seen' dogs'."),
        ("fr", "L'homme qu'il a vu aujourd'hui"),
        ("it", "dell'arte un po'"),
        ("uk", "п'ять об'єктів"),
        ("he", "צ'יפס ג'ירפה"),
        ("haw", "Hawai'i 'ōlelo"),
        ("tr", "Ankara'da"),
        ("sw", "ng'ombe"),
        ("uz", "o'zbek"),
        (None, "c'hoar don't"),
    ],
)
def test_every_apostrophe_is_the_plain_one(language: str | None, plain: str) -> None:
    assert len(set(APOSTROPHES)) > 30
    for other in APOSTROPHES:
        written = plain.replace("'", other)
        assert text.tokens(written, language) == text.tokens(plain, language), hex(ord(other))
        assert error_rates.whisper_normalise(written, language) == error_rates.whisper_normalise(plain, language), hex(
            ord(other)
        )


def test_quotes_of_a_phrase_are_no_apostrophes() -> None:
    assert text.normalize("he said ‘stop’ and ‘s’ twice", "en") == "he said stop and s twice"


def test_the_text_that_is_forced_has_plain_apostrophes_and_its_length() -> None:
    assert in_whisper_style("Don’t — it`s “John’s” 5′") == "Don't — it's “John's” 5'"
    assert in_whisper_style("DON’T GO") == "Don't go"


def test_gershayim_are_one_however_they_are_written() -> None:
    assert len({text.normalize(f"צה{mark}ל", "he") for mark in '"״”“'}) == 1


@pytest.mark.parametrize(
    ("language", "plain"),
    [
        ("en", "don't stop 25"),
        ("de", "Auflage"),
        ("fa", "می خواهم"),
        ("hi", "क्षत्रिय"),
        ("zh", "你好"),
        ("ko", "안녕"),
        ("km", "សួស្តី"),
    ],
)
def test_what_is_not_seen_is_not_compared(language: str, plain: str) -> None:
    for unseen in UNSEEN:
        for place in range(len(plain) + 1):
            written = plain[:place] + unseen + plain[place:]
            assert text.normalize(written, language) == text.normalize(plain, language), (hex(ord(unseen)), place)
            assert error_rates.whisper_normalise(written, language) == error_rates.whisper_normalise(plain, language), (
                hex(ord(unseen)),
                place,
            )


def test_joiners_stay_in_the_text_where_they_shape_letters() -> None:
    assert clean("\ufeffmy so\u00adft\u200b hy\u200cphen").text == "my soft hyphen"
    assert clean("می\u200cخواهم").text == "می\u200cخواهم" and clean("क्\u200dष").text == "क्\u200dष"


def words(written: str, language: str = "en") -> list[str]:
    return [written[start:end] for start, end in text.word_spans(written, language)]


@pytest.mark.parametrize("mark", ["—", "–", "--", "...", "…", "/", ".", ";", "!", "?", ",", ".”", ",—", "; ", " "])
@pytest.mark.parametrize(
    ("language", "before", "after"),
    [
        ("en", "home", "then"),
        ("en", "don’t", "Then"),
        ("fr", "maison", "puis"),
        ("ru", "дом", "потом"),
        ("ar", "بيت", "ثم"),
        ("hi", "घर", "फिर"),
        ("ko", "집", "그때"),
    ],
)
def test_words_are_parted_by_punctuation_without_a_space(language: str, before: str, after: str, mark: str) -> None:
    assert words(f"{before}{mark}{after}", language) == [f"{before}{mark}".strip(), after]


@pytest.mark.parametrize(
    "whole",
    [
        *("3.5", "9:30", "10–12", "10-12", "10..12", "1,000", "1/2", "12/05/2024", "24/7", "v2.0", "3.5kg", "C++"),
        *("U.S.", "U.S.A", "e.g.", "a.m.", "Ph.D.", "z.B.", "т.е.", "J.R.R.Tolkien", "w/o", "AT&T", "Yahoo!'s"),
        *("well-known", "well‐known", "don’t", "rock'n'roll", "O’Neill's", "(yes)", "“No!”", "...", "—"),
        *("example.com,", "www.a.de/x--y", "john.doe@mail.org", "https://a.b/c...d?", "node.js"),
    ],
)
def test_what_is_one_word_stays_one(whole: str) -> None:
    assert words(whole) == [whole]


@pytest.mark.parametrize(
    ("written", "parted"),
    [
        ("Mr.Smith No.5", ["Mr.", "Smith", "No.", "5"]),
        ("and/or he/she", ["and/", "or", "he/", "she"]),
        ("said“hello”to", ["said", "“hello”", "to"]),
        ("the end.2 dogs", ["the", "end.", "2", "dogs"]),
        ("etc.—and U.S.—that", ["etc.—", "and", "U.S.—", "that"]),
        ("1...2...3", ["1...", "2...", "3"]),
    ],
)
def test_where_words_are_parted(written: str, parted: list[str]) -> None:
    assert words(written) == parted


def test_other_languages_have_other_colons_and_addresses() -> None:
    assert words("EU:n YK:ssa", "fi") == ["EU:n", "YK:ssa"]
    assert words("spiegel.de", "de") == ["spiegel.de"] and words("casa.de", "es") == ["casa.", "de"]
    assert words("用Hello.World...iPad—好", "zh") == ["用", "Hello.", "World...", "iPad—", "好"]
    assert words("दुनिया।और", "hi") == ["दुनिया।", "और"] and words("ذهب،ثم", "ar") == ["ذهب،", "ثم"]


@pytest.mark.parametrize("mark", ["—", "...", "…", "--", "/", "."])
def test_sentences_without_a_space_between_go_to_their_segments(mark: str) -> None:
    said = ["We went home", "Then it rained all night", "Nobody came"]
    assert divided(mark.join(said), said, "en") == [*(one + mark for one in said[:-1]), said[-1]]
