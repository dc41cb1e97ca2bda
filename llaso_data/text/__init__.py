"""Text as scoring and alignment see it: normalisers, words, error rates, scripts, languages.

One function normalises (:func:`normalize`), one finds words (:func:`word_spans`); everything else is built on them.
English uses Whisper's own normaliser, so that word error rates can be compared with published ones. Whisper's
normaliser for other languages drops combining marks, which destroys Hindi and Thai. The one here keeps every mark that
distinguishes words.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from functools import cache

import regex

from llaso_data.text.characters import canonical_characters
from llaso_data.text.chinese import is_chinese, to_simplified
from llaso_data.text.language_rules import LANGUAGES, Language, base_code, is_spaced
from llaso_data.text.number_words import signs_as_words, unify_numbers
from llaso_data.text.phrases import HALLUCINATIONS
from llaso_data.text.word_spans import UNSPACED_SCRIPTS, word_spans

__all__ = [
    "HALLUCINATIONS",
    "LANGUAGES",
    "Language",
    "base_code",
    "canonical_characters",
    "cer",
    "comparable_texts",
    "comparable_words",
    "compression_ratio",
    "is_spaced",
    "letters",
    "normalize",
    "repetition",
    "scripts_match",
    "surplus",
    "tokens",
    "wer",
    "word_spans",
]

_CLOCK = re.compile(r"(?<![\d:.,])(\d{1,2}):([1-5]\d)(?![\d:])")  # 9:30 is nine thirty, which Whisper writes 930
_TELEPHONE = re.compile(r"(?<![\d-])\d{3}(?:[- ]\d{3})?-\d{4}(?![\d-])")
_ELLIPSIS = re.compile(r"\.{2,}|…")
_NOT_SPOKEN = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)|【[^】]*】")
_APOSTROPHES = regex.compile(r"(?<=[\w\p{M}])'(?=\w)")
_GERSHAYIM = re.compile('(?<=[\u05d0-\u05ea])["\u05f4\u201d\u201c\u2033](?=[\u05d0-\u05ea])')
_TASHKEEL = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]")
_ELIDING = frozenset({"fr", "it", "ca", "pt"})  # l'homme is two words; in other languages (foto's) it is one
_SPACE_BY_UNSPACED = regex.compile(rf"(?<=[{UNSPACED_SCRIPTS}]\p{{M}}*)\s+|\s+(?=[{UNSPACED_SCRIPTS}])")

_VI_OLD = ("oà oá oả oã oạ oè oé oẻ oẽ oẹ uỳ uý uỷ uỹ uỵ", "òa óa ỏa õa ọa òe óe ỏe õe ọe ùy úy ủy ũy ụy")
_VI_TONES = dict(zip(_VI_OLD[0].split(), _VI_OLD[1].split(), strict=True))
_VI_FINAL = re.compile(rf"(?<!q)({'|'.join(_VI_TONES)})(?!\w)")


def normalize(text: str, language: str | None) -> str:
    """The text as it is scored: spellings of the same spoken words become one.

    In every language, characters that stand for an apostrophe become the plain one, and invisible characters are
    removed. English then gets Whisper's English normaliser (Radford et al. 2022, appendix C), except for rows of full
    stops, of which that would leave one as a word. Other languages get compatibility forms (NFKC), case folding, ASCII
    digits and the language's own rules, and lose punctuation, symbols and bracketed remarks. Letters, digits and
    combining marks stay. Normalising twice changes nothing, except for English numbers.

    Args:
        text: Any text.
        language: Its code, with or without a region; None is treated as an unknown language with spaces.
    """
    code = base_code(language)
    if code == "en":
        text = _TELEPHONE.sub(
            lambda match: re.sub(r"\D", "", match[0]), _CLOCK.sub(r"\1\2", canonical_characters(text))
        )
        return str(_english()(_ELLIPSIS.sub(" ", text))).strip()
    for _ in range(4):  # folding can give a compatibility form that folds again; mostly two rounds are enough
        once = _normalize_once(text, code)
        if once == text:
            break
        text = once
    return text


def tokens(text: str, language: str | None) -> list[str]:
    """Normalised words, the units of WER; in languages without spaces single characters (Latin words stay whole)."""
    normal = normalize(text, language)
    return [normal[start:end] for start, end in word_spans(normal, language)]


def comparable_words(reference: str, hypothesis: str, language: str | None) -> tuple[list[str], list[str]]:
    """The normalised words of both, where equal numbers ("25", "veinticinco") are written as in the reference."""
    return unify_numbers(tokens(reference, language), tokens(hypothesis, language), language)


def comparable_texts(reference: str, hypothesis: str, language: str | None) -> tuple[str, str]:
    """The words of :func:`comparable_words`, joined to two normalised texts."""
    join = " ".join if is_spaced(language) else _join_unspaced
    own, other = comparable_words(reference, hypothesis, language)
    return join(own), join(other)


def _join_unspaced(words: Sequence[str]) -> str:
    return _SPACE_BY_UNSPACED.sub("", " ".join(words))


def cer(reference: str, hypothesis: str, language: str | None) -> float:
    """Character error rate of normalised texts: edits per character of the reference, which may be more than 1.

    It is 0.0 where both are empty, and 1.0 where only the reference is.
    """
    return _error_rate(*comparable_texts(reference, hypothesis, language))


def wer(reference: str, hypothesis: str, language: str | None) -> float:
    """Word error rate of normalised texts: edits per word of the reference, which may be more than 1.

    It is 0.0 where both are empty, and 1.0 where only the reference is.
    """
    return _error_rate(*comparable_words(reference, hypothesis, language))


def surplus(reference: str, hypothesis: str, language: str | None) -> float:
    """Share (0-1) of the normalised reference by which it is longer than the hypothesis.

    It is counted in words and in letters, and the smaller share is given. A word that was transcribed as a shorter one,
    or as two, is no surplus; a text that is written twice has a surplus of 0.5.
    """
    own, other = comparable_words(reference, hypothesis, language)
    if not own:
        return 0.0
    own_letters, other_letters = letters("".join(own)), letters("".join(other))
    return max(0.0, 1.0 - max(len(other) / len(own), other_letters / max(1, own_letters)))


def letters(text: str) -> int:
    """Number of letters and digits, without marks, in composed form (NFC)."""
    return sum(unicodedata.category(c)[0] in "LN" for c in unicodedata.normalize("NFC", text))


def scripts_match(text: str, language: str | None) -> bool:
    """Whether at least half of the letters are of the language's scripts; true without letters or known scripts."""
    known = LANGUAGES.get(base_code(language))
    total = len(_script_letters().findall(text))
    if known is None or total == 0:
        return True
    return 2 * len(_letters_of(known.scripts).findall(text)) >= total


def compression_ratio(text: str) -> float:
    """UTF-8 bytes over zlib-compressed bytes; over 2.4 Whisper repeats itself (Radford et al. 2022, section 4.5).

    It is 0.0 for the empty text.
    """
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data))


def repetition(text: str, language: str | None, max_words: int = 10) -> float:
    """Share (0-1) of the words that are repetitions of one n-gram, of the one that gives the largest share.

    The first occurrence is no repetition, and occurrences do not overlap: "thank you thank you thank you" gives 2/3. An
    n-gram that occurs once or twice ("bye bye") gives 0.

    Args:
        text: Any text; it is normalised.
        language: Its code.
        max_words: Longest n-gram.
    """
    words = tokens(text, language)
    repeated_words = 0
    for n in range(1, min(max_words, len(words) // 3) + 1):
        counts: dict[tuple[str, ...], int] = {}
        ends: dict[tuple[str, ...], int] = {}
        for start in range(len(words) - n + 1):
            gram = tuple(words[start : start + n])
            if start >= ends.get(gram, 0):
                counts[gram] = counts.get(gram, 0) + 1
                ends[gram] = start + n
        repeated_words = max([repeated_words, *((count - 1) * n for count in counts.values() if count >= 3)])
    return repeated_words / len(words) if words else 0.0


def _normalize_once(text: str, code: str) -> str:
    text = canonical_characters(unicodedata.normalize("NFKC", canonical_characters(text)))
    text = _NOT_SPOKEN.sub(" ", text)
    if code in ("tr", "az"):  # I is the capital of ı, İ of i
        text = text.replace("I", "ı").replace("İ", "i")
    text = unicodedata.normalize("NFKC", text.casefold()).replace("i\u0307", "i")
    text = signs_as_words(text, code)
    if code in ("he", "yi"):
        text = _GERSHAYIM.sub("", text)
    text = _APOSTROPHES.sub(" " if code in _ELIDING else "", text)
    text = "".join(map(_plain_character, canonical_characters(text)))
    text = " ".join(_own_rules(text, code).split())
    return text if is_spaced(code) else _SPACE_BY_UNSPACED.sub("", text)


def _own_rules(text: str, code: str) -> str:
    """Makes one of what a single language spells in two ways; the text is folded and without punctuation."""
    if code == "ar":
        return re.sub("[آأإٱ]", "ا", _TASHKEEL.sub("", text))
    if is_chinese(code):
        return to_simplified(text)
    if code == "fr":
        return text.replace("œ", "oe").replace("æ", "ae")
    if code == "ru":
        return text.replace("ё", "е").replace("\u0301", "").replace("\u0300", "")  # stress marks
    if code == "vi":  # hoà and hòa are one word; the tone of quý does not move
        return _VI_FINAL.sub(lambda match: _VI_TONES[match[0]], text)
    return text


def _plain_character(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    if kind in ("Cf", "Cs", "Co", "Cn"):  # joiners, soft hyphens, direction marks, unassigned
        return ""
    return character if kind[0] in "LMN" else " "


def _error_rate(reference: Sequence[str], hypothesis: Sequence[str]) -> float:
    from rapidfuzz.distance import Levenshtein

    if not reference:
        return 1.0 if hypothesis else 0.0
    return float(Levenshtein.distance(reference, hypothesis)) / len(reference)


@cache
def _english() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer


@cache
def _script_letters() -> regex.Pattern[str]:
    return regex.compile(r"[\p{L}--[\p{Script=Common}\p{Script=Inherited}]]", regex.V1)


@cache
def _letters_of(scripts: tuple[str, ...]) -> regex.Pattern[str]:
    named = "".join(rf"\p{{Script={name}}}" for name in scripts)
    return regex.compile(rf"[\p{{L}}&&[{named}]]", regex.V1)
