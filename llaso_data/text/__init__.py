"""Text as scoring and alignment see it: normalisers, words, scripts, languages.

One function normalises (:func:`normalize`), one finds words (:func:`word_spans`); everything else stands on them.
English uses Whisper's own normaliser, so that word error rates can be compared with published ones. Whisper's
normaliser for the other languages drops combining marks, which destroys Hindi and Thai; ours keeps every mark that
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

_CLOCK = re.compile(r"(?<![\d:.,])(\d{1,2}):([1-5]\d)(?![\d:])")  # 9:30: nine thirty, which Whisper makes 930
_TELEPHONE = re.compile(r"(?<![\d-])\d{3}(?:[- ]\d{3})?-\d{4}(?![\d-])")
_ELLIPSIS = re.compile(r"\.{2,}|…")
_NOT_SPOKEN = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)|【[^】]*】")
_APOSTROPHES = regex.compile(r"(?<=[\w\p{M}])'(?=\w)")
_GERSHAYIM = re.compile('(?<=[\u05d0-\u05ea])["\u05f4\u201d\u201c\u2033](?=[\u05d0-\u05ea])')
_TASHKEEL = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]")
_ELIDING = frozenset({"fr", "it", "ca", "pt"})  # l'homme: two words; elsewhere (foto's, Ankara'da) one
_SPACE_BY_UNSPACED = regex.compile(rf"(?<=[{UNSPACED_SCRIPTS}]\p{{M}}*)\s+|\s+(?=[{UNSPACED_SCRIPTS}])")

_VI_OLD = ("oà oá oả oã oạ oè oé oẻ oẽ oẹ uỳ uý uỷ uỹ uỵ", "òa óa ỏa õa ọa òe óe ỏe õe ọe ùy úy ủy ũy ụy")
_VI_TONES = dict(zip(_VI_OLD[0].split(), _VI_OLD[1].split(), strict=True))
_VI_FINAL = re.compile(rf"(?<!q)({'|'.join(_VI_TONES)})(?!\w)")


def normalize(text: str, language: str | None) -> str:
    """The text as it is scored: what writers vary without changing a spoken word is made one.

    Every language: one apostrophe for all characters that stand for one, and nothing that is not seen. English:
    Whisper's English normaliser (Radford et al. 2022, appendix C), but for rows of full stops, of which it leaves one
    as a word. Other languages: compatibility forms (NFKC), case folding, no punctuation, symbols or bracketed remarks,
    ASCII digits, and the language's own rules. Letters, digits and combining marks stay. Normalising twice changes
    nothing, English numbers excepted.
    """
    code = base_code(language)
    if code == "en":
        text = _TELEPHONE.sub(
            lambda match: re.sub(r"\D", "", match[0]), _CLOCK.sub(r"\1\2", canonical_characters(text))
        )
        return str(_english()(_ELLIPSIS.sub(" ", text))).strip()
    for _ in range(4):  # folding can open a compatibility form that folds again; two rounds are the rule
        once = _normalize_once(text, code)
        if once == text:
            break
        text = once
    return text


def tokens(text: str, language: str | None) -> list[str]:
    """Normalised words, the units of WER; single characters (Latin runs whole) where there are no spaces."""
    normal = normalize(text, language)
    return [normal[start:end] for start, end in word_spans(normal, language)]


def comparable_words(reference: str, hypothesis: str, language: str | None) -> tuple[list[str], list[str]]:
    """The normalised words of both, with equal numbers ("25", "veinticinco") written alike, as the reference does."""
    return unify_numbers(tokens(reference, language), tokens(hypothesis, language), language)


def comparable_texts(reference: str, hypothesis: str, language: str | None) -> tuple[str, str]:
    """The same as two normalised texts."""
    gap = " ".join if is_spaced(language) else _without_gaps
    own, heard = comparable_words(reference, hypothesis, language)
    return gap(own), gap(heard)


def _without_gaps(words: Sequence[str]) -> str:
    return _SPACE_BY_UNSPACED.sub("", " ".join(words))


def cer(reference: str, hypothesis: str, language: str | None) -> float:
    """Character error rate of normalised texts; 0.0 where both are empty, 1.0 where only the reference is."""
    return _error_rate(*comparable_texts(reference, hypothesis, language))


def wer(reference: str, hypothesis: str, language: str | None) -> float:
    """Word error rate of normalised texts; 0.0 where both are empty, 1.0 where only the reference is."""
    return _error_rate(*comparable_words(reference, hypothesis, language))


def surplus(reference: str, hypothesis: str, language: str | None) -> float:
    """Share (0-1) by which the normalised reference is longer than the hypothesis, in words or letters, the less.

    A word that was heard as a shorter one, or as two, is no surplus; a text that is there twice is one of 0.5.
    """
    own, heard = comparable_words(reference, hypothesis, language)
    if not own:
        return 0.0
    said = [letters("".join(side)) for side in (own, heard)]
    return max(0.0, 1.0 - max(len(heard) / len(own), said[1] / max(1, said[0])))


def letters(text: str) -> int:
    """Number of letters and digits, marks not counted, however the text is composed."""
    return sum(unicodedata.category(c)[0] in "LN" for c in unicodedata.normalize("NFC", text))


def scripts_match(text: str, language: str | None) -> bool:
    """Whether at least half of the letters are of the language's scripts; true where there are no letters."""
    known = LANGUAGES.get(base_code(language))
    total = len(_scripted().findall(text))
    if known is None or total == 0:
        return True
    return 2 * len(_of_scripts(known.scripts).findall(text)) >= total


def compression_ratio(text: str) -> float:
    """UTF-8 bytes over zlib-compressed bytes, Whisper's measure of a loop (> 2.4); 0.0 for the empty text."""
    data = text.encode("utf-8", "surrogatepass")
    return len(data) / len(zlib.compress(data))


def repetition(text: str, language: str | None, max_words: int = 10) -> float:
    """Share (0-1) of the words that repeat the text's most repeated n-gram, n up to ``max_words``.

    The first occurrence is not a repetition, and occurrences do not overlap: "thank you thank you thank you" gives
    2/3. Said once or twice ("bye bye") gives 0.
    """
    words = tokens(text, language)
    most = 0
    for n in range(1, min(max_words, len(words) // 3) + 1):
        counts: dict[tuple[str, ...], int] = {}
        ends: dict[tuple[str, ...], int] = {}
        for start in range(len(words) - n + 1):
            gram = tuple(words[start : start + n])
            if start >= ends.get(gram, 0):
                counts[gram] = counts.get(gram, 0) + 1
                ends[gram] = start + n
        most = max([most, *((count - 1) * n for count in counts.values() if count >= 3)])
    return most / len(words) if words else 0.0


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
    """What one language writes in two ways; the text is folded and without punctuation."""
    if code == "ar":
        return re.sub("[آأإٱ]", "ا", _TASHKEEL.sub("", text))
    if is_chinese(code):
        return to_simplified(text)
    if code == "fr":
        return text.replace("œ", "oe").replace("æ", "ae")
    if code == "ru":
        return text.replace("ё", "е").replace("\u0301", "").replace("\u0300", "")  # stress marks
    if code == "vi":  # hoà and hòa are one word; quý keeps its tone where it is
        return _VI_FINAL.sub(lambda match: _VI_TONES[match[0]], text)
    return text


def _plain_character(character: str) -> str:
    kind = unicodedata.category(character)
    if kind == "Nd":
        return str(unicodedata.decimal(character))
    if kind in ("Cf", "Cs", "Co", "Cn"):  # joiners, soft hyphens, direction marks, no characters at all
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
def _scripted() -> regex.Pattern[str]:
    return regex.compile(r"[\p{L}--[\p{Script=Common}\p{Script=Inherited}]]", regex.V1)


@cache
def _of_scripts(scripts: tuple[str, ...]) -> regex.Pattern[str]:
    named = "".join(rf"\p{{Script={name}}}" for name in scripts)
    return regex.compile(rf"[\p{{L}}&&[{named}]]", regex.V1)
