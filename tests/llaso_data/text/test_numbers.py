"""Numbers are compared in one form, in words or in figures, and a wrong one stays wrong; Chinese in one script."""

from __future__ import annotations

import dataclasses
import re

import pytest

from llaso_data import text
from llaso_data.align.differences import rewrite
from llaso_data.asr.texts import with_hypothesis
from llaso_data.filters.text_scores import score_text
from llaso_data.records import GIVEN, Source, Utterance
from llaso_data.text.numerals import NUMERAL_LANGUAGES
from llaso_model.evaluate.metrics import error_rates
from tests.llaso_data.asr.test_given import divided
from tests.support.paths import DATA

SENTENCES = [line.split("\t") for line in (DATA / "numbers.tsv").read_text(encoding="utf-8").splitlines()]
"""Language, a sentence with a number in words (num2words', indic-numtowords'), and with the same in figures."""


def test_sentences_with_numbers_are_right_in_words_and_in_figures() -> None:
    assert len(SENTENCES) >= 200 and {language for language, _, _ in SENTENCES} == NUMERAL_LANGUAGES - {"yue"} | {"en"}
    for language, words, figures in SENTENCES:
        for given, heard in ((words, figures), (figures, words)):
            assert text.wer(given, heard, language) == text.cer(given, heard, language) == 0.0, (given, heard)
            assert text.surplus(given, heard, language) == 0.0
            assert error_rates.normalise_pair(given, heard, language)[0] == error_rates.normalise_pair(
                given, heard, language
            )[1] or (language == "en")


def test_another_number_is_an_error() -> None:
    for language, words, figures in SENTENCES:
        place = max(match.start() for match in re.finditer(r"\d", figures))
        for other in {"0", "1", "5", "8"} - {figures[place]}:
            wrong = figures[:place] + other + figures[place + 1 :]
            assert text.wer(words, wrong, language) > 0.0, (words, wrong)
            assert text.wer(wrong, words, language) > 0.0, (wrong, words)


@pytest.mark.parametrize(
    ("language", "words", "figures"),
    [
        ("es", "mil novecientos ochenta y cuatro", "1984"),
        ("es", "diecinueve ochenta y cuatro", "1984"),
        ("es", "seiscientos doce treinta y cuatro cincuenta y seis", "612 34 56"),
        ("es", "el treinta y uno por ciento", "el 31%"),
        ("es", "dos millones quinientos mil", "2.500.000"),
        ("es", "tres coma cinco millones", "3,5 millones"),
        ("es", "la primera vez", "la 1ª vez"),
        ("es", "menos cuatro grados", "-4 grados"),
        ("es", "doce euros", "12 €"),
        ("fr", "quatre-vingt-dix-neuf pour cent", "99 %"),
        ("fr", "à neuf heures trente", "à 9h30"),
        ("fr", "le premier mai", "le 1er mai"),
        ("de", "neunzehnhundertvierundachtzig", "1984"),
        ("de", "um neun Uhr dreißig", "um 9:30 Uhr"),
        ("de", "der dritte Oktober", "der 3. Oktober"),
        ("it", "millenovecentottantaquattro", "1984"),
        ("nl", "tweeëntwintig", "22"),
        ("pl", "w tysiąc dziewięćset osiemdziesiątym czwartym roku", "w 1984 roku"),
        ("ru", "двадцати пяти человек в две тысячи двадцать четвёртом", "25 человек в 2024"),
        ("tr", "yüzde yirmi beş", "%25"),
        ("vi", "một nghìn không trăm linh năm", "1.005"),
        ("ar", "ألف وتسعمائة وأربعة وثمانون", "١٩٨٤"),
        ("hi", "दो लाख पचास हज़ार", "2,50,000"),
        ("zh", "百分之二十五", "25%"),
        ("zh", "二零二四年", "2024年"),
        ("zh", "三点五", "3.5"),
        ("yue", "一千九百八十四年", "1984年"),
        ("ja", "午後三時半", "午後3時半"),
        ("ko", "스물다섯살", "25살"),
        ("en", "at nine thirty", "at 9:30"),
    ],
)
def test_how_figures_are_read(language: str, words: str, figures: str) -> None:
    assert text.wer(words, figures, language) == text.wer(figures, words, language) == 0.0


@pytest.mark.parametrize(
    ("language", "one", "other"),
    [
        ("es", "trece", "30"),
        ("es", "diez uno", "101"),
        ("es", "10 1", "101"),
        ("es", "dos cinco", "veinticinco"),
        ("es", "tres mil", "300"),
        ("es", "mil novecientos ochenta y cuatro", "1985"),
        ("fr", "soixante", "70"),
        ("de", "vierundachtzig", "48"),
        ("zh", "十三", "30"),
        ("ko", "십삼", "30"),
        ("ru", "тринадцать", "30"),
        ("ar", "ثلاثة عشر", "30"),
        ("hi", "तेरह", "30"),
        ("vi", "mười ba", "30"),
    ],
)
def test_other_numbers_are_other_words(language: str, one: str, other: str) -> None:
    assert text.wer(one, other, language) > 0.0 and text.wer(other, one, language) > 0.0


def test_chinese_is_compared_in_one_script_and_kept_in_its_own() -> None:
    traditional, simplified = "我們覺得這個問題很複雜，請看著他。", "我们觉得这个问题很复杂，请看着他。"
    assert text.cer(traditional, simplified, "zh") == text.cer(traditional, simplified, "yue") == 0.0
    assert text.cer("漢字", "汉字", "ja") > 0.0
    plain = Utterance(id="a", recording="a", source=Source(corpus="c", uri="a.wav"), language="zh")
    given = dataclasses.replace(plain, text=traditional, text_origin=GIVEN)
    (scored,) = score_text([dataclasses.replace(given, hypothesis=simplified)], [None])
    assert scored.text == traditional and scored.scores.cer == 0.0
    assert with_hypothesis(given, simplified, "simplified").text == traditional
    assert with_hypothesis(plain, "這個問題很複雜", "simplified").text == "这个问题很复杂"
    assert with_hypothesis(plain, "这个问题很复杂", "traditional").text == "這個問題很複雜"
    assert with_hypothesis(plain, traditional).text == traditional
    assert with_hypothesis(dataclasses.replace(plain, language="ja"), "漢字", "simplified").text == "漢字"


def test_numbers_are_no_difference_and_find_their_segment() -> None:
    assert rewrite("llegaron veinticinco personas", "Llegaron 25 personas.", "es").starts == ()
    found = rewrite("llegaron veinticinco", "Llegaron 26.", "es")
    assert found.text == "Llegaron veinticinco" and len(found.starts) == 1
    said = ["cinco cinco cinco uno dos", "treinta y uno o mil novecientos"]
    assert divided(" ".join(said), ["555 12", "31 o 1900"], "es") == said
