"""Text: normalisation by language, words, error rates, scripts."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llaso_data import text
from llaso_data.text.word_spans import joined

NAMED = ["en", "zh", "es", "fr", "de", "it", "pt", "ru", "ja", "ko", "ar", "hi", "pl", "nl", "tr", "vi"]

# language, as written, as scored
CASES = [
    ("en", "Mr. Smith doesn't colour it.", "mister smith does not color it"),
    ("en", "Twenty-five percent, [beep] um, please!", "25% please"),
    ("en", "Café—NAÏVE", "cafe naive"),
    ("zh", "你好， 世界！", "你好世界"),
    ("zh", "ＡＢＣ１２３ 公司（笑）", "abc123公司"),
    ("zh", "我用 Open Office 写", "我用open office写"),
    ("es", "¿Qué tal, señor?", "qué tal señor"),
    ("es", "¡El veloz murciélago hindú!", "el veloz murciélago hindú"),
    ("es", "Pingu\u0308ino", "pingüino"),
    ("fr", "L’homme, aujourd'hui", "l homme aujourd hui"),
    ("fr", "Un cœur ; un œuf…", "un coeur un oeuf"),
    ("fr", "Est-ce où ÇA ?", "est ce où ça"),
    ("de", "Die Straße, DIE STRASSE", "die strasse die strasse"),
    ("de", "»Grüß Gott«, wie geht’s?", "grüss gott wie gehts"),
    ("it", "L'università è là.", "l università è là"),
    ("it", "Perche\u0301? Perché!", "perché perché"),
    ("pt", "Não, à AÇÃO!", "não à ação"),
    ("pt", "Guarda-chuva d'água", "guarda chuva d água"),
    ("ru", "Ёлка и её чай", "елка и ее чай"),
    ("ru", "За\u0301мок — «мой»", "замок мой"),
    ("ja", "こんにちは、 世界。", "こんにちは世界"),
    ("ja", "ｶﾞﾗｽ　コーヒー", "ガラスコーヒー"),
    ("ja", "がぎ", unicodedata.normalize("NFC", "か\u3099き\u3099")),
    ("ko", "안녕하세요, 세계!", "안녕하세요 세계"),
    ("ko", unicodedata.normalize("NFD", "한국어 말"), "한국어 말"),
    ("ar", "السَّلَامُ عَلَيْكُمْ، أحمد!", "السلام عليكم احمد"),
    ("ar", "آلــــة إلى ٱلبيت ١٢٣", "الة الى البيت 123"),
    ("hi", "नमस्ते, दुनिया।", "नमस्ते दुनिया"),
    ("hi", "ऊँट के मुँह में १२", "ऊँट के मुँह में 12"),
    ("hi", "\u0958िताब", "\u0915\u093cिताब"),
    ("pl", "Pchnąć w tę ŁÓDŹ jeża.", "pchnąć w tę łódź jeża"),
    ("pl", "Czy „żółć” to — słowo?", "czy żółć to słowo"),
    ("nl", "Foto's van \u0132sland, ’s avonds", "fotos van ijsland s avonds"),
    ("nl", "Coördinatie: één!", "coördinatie één"),
    ("tr", "IŞIK İstanbul'da", "ışık istanbulda"),
    ("tr", "DİYARBAKIR’ın ÇIĞ", "diyarbakırın çığ"),
    ("vi", "Ma, MÁ, mà, mả, mã, mạ.", "ma má mà mả mã mạ"),
    ("vi", unicodedata.normalize("NFD", "Tiếng Việt"), "tiếng việt"),
    ("vi", "Hoà bình, uỷ ban, quý, hoàn", "hòa bình ủy ban quý hoàn"),
    ("th", "สวัสดี ชาว โลก ๑", "สวัสดีชาวโลก1"),
    ("th", "น้ำ ที่นี่!", unicodedata.normalize("NFKC", "น้ำที่นี่")),
]


@pytest.mark.parametrize(("language", "written", "scored"), CASES)
def test_normalize(language: str, written: str, scored: str) -> None:
    assert text.normalize(written, language) == scored
    assert text.normalize(scored, language) == scored


def test_every_named_language_is_exercised_and_known() -> None:
    for language in NAMED:
        assert language in text.LANGUAGES
        assert language in text.HALLUCINATIONS
        assert sum(case[0] == language for case in CASES) >= 2


@pytest.mark.parametrize("language", [*sorted(text.LANGUAGES.keys() - {"en"}), None])
@settings(max_examples=60)
@given(written=st.text(max_size=40))
def test_normalizing_twice_changes_nothing(language: str | None, written: str) -> None:
    once = text.normalize(written, language)
    assert text.normalize(once, language) == once
    assert not any(unicodedata.category(c)[0] in "PSC" for c in once)


MIXED = st.text(
    st.one_of(st.characters(), st.sampled_from("aB1 .,'-\u3000你好ーかガลำ้국\u0301«(」\n\x1f。")), max_size=60
)


@pytest.mark.parametrize("language", ["en", "zh", "ja", "th", "ko", None])
@settings(max_examples=150)
@given(written=MIXED)
def test_word_spans_cover_every_visible_character_once(language: str | None, written: str) -> None:
    spans = text.word_spans(written, language)
    covered = [index for start, end in spans for index in range(start, end)]
    assert covered == [index for index, c in enumerate(written) if not c.isspace()]
    assert all(start < end for start, end in spans)


def words(written: str, language: str) -> list[str]:
    return [written[start:end] for start, end in text.word_spans(written, language)]


def test_words() -> None:
    assert words("Don't stop, now.", "en") == ["Don't", "stop,", "now."]
    assert words("「今日は」iPhone15を 3.5個。", "ja") == ["「今", "日", "は」", "iPhone15", "を", "3.5", "個。"]
    assert words("น้ำที่", "th") == ["น้", "ำ", "ที่"]
    assert words("…你", "zh") == ["…你"]
    assert words("。。", "zh") == ["。。"]
    assert words("한국어 말", "ko") == ["한국어", "말"]


def test_tokens_are_characters_where_there_are_no_spaces() -> None:
    assert text.tokens("你好， Open Office！", "zh") == ["你", "好", "open", "office"]
    assert text.tokens("नमस्ते, दुनिया।", "hi") == ["नमस्ते", "दुनिया"]


def test_error_rates() -> None:
    assert text.wer("the cat sat down", "The cat sat up.", "en") == 0.25
    assert text.cer("你好世界", "你好，世间", "zh") == 0.25
    assert text.wer("colour", "color", "en") == 0.0
    assert text.cer("", "...", "fr") == 0.0
    assert text.cer("?", "oui", "fr") == 1.0
    assert text.wer("", "", "en") == 0.0
    assert text.wer("a", "b c d", "de") == 3.0


def test_hindi_vowel_signs_distinguish_words() -> None:
    assert text.cer("कि", "की", "hi") > 0
    assert text.wer("दिन", "दीन", "hi") == 1.0


def test_letters_do_not_depend_on_composition() -> None:
    assert text.letters("Tiếng Việt 24!") == 11
    assert text.letters(unicodedata.normalize("NFD", "Tiếng Việt 24!")) == 11
    assert text.letters(unicodedata.normalize("NFD", "한국")) == 2
    assert text.letters(" …!") == 0


@pytest.mark.parametrize(
    ("language", "written", "matches"),
    [
        ("ru", "Привет, world", True),
        ("ru", "hello world", False),
        ("hi", "namaste duniya", False),
        ("ja", "世界コーヒー", True),
        ("zh", "こんにちは世界", False),
        ("ko", "안녕 OK", True),
        ("en", "123, 456!", True),
        ("xx", "anything", True),
        ("pt-BR", "ação", True),
        ("sr", "zdravo", True),
    ],
)
def test_scripts(language: str, written: str, matches: bool) -> None:
    assert text.scripts_match(written, language) is matches


def test_loops_are_seen() -> None:
    loop = "thank you " * 40
    assert text.repetition(loop, "fr") == pytest.approx(39 / 40)
    assert text.repetition("谢谢观看" * 10, "zh") == pytest.approx(0.9)
    assert text.repetition("thank you thank you thank you", "en") == pytest.approx(2 / 3)
    assert text.repetition("bye bye", "en") == 0.0
    assert text.repetition("the cat saw the dog near the old house", "en") < 0.3
    assert text.repetition("", "en") == 0.0
    assert text.compression_ratio(loop) > 2.4 > text.compression_ratio("The quick brown fox jumps over the lazy dog.")
    assert text.compression_ratio("") == 0.0


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        (["One.", "", "Two."], "One. Two."),
        (["今天下雨。", "“明天呢？”"], "今天下雨。“明天呢？”"),
        (["ราคา", "สองบาท"], "ราคาสองบาท"),
        (["안녕", "하세요"], "안녕 하세요"),
        (["我用", "Python", "写"], "我用 Python 写"),
        (["…", "今天"], "… 今天"),
        ([], ""),
    ],
)
def test_texts_that_follow_each_other_are_parted_as_their_scripts_part_words(texts: list[str], whole: str) -> None:
    assert joined(texts) == whole
