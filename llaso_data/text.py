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
from dataclasses import dataclass
from functools import cache

import regex


@dataclass(frozen=True, slots=True)
class Language:
    """A language: its English name, the Unicode scripts that it is written in, and whether spaces part its words."""

    name: str
    scripts: tuple[str, ...]
    spaced: bool = True


LANGUAGES: dict[str, Language] = {
    "ar": Language("Arabic", ("Arabic",)),
    "bg": Language("Bulgarian", ("Cyrillic",)),
    "bn": Language("Bengali", ("Bengali",)),
    "ca": Language("Catalan", ("Latin",)),
    "cs": Language("Czech", ("Latin",)),
    "da": Language("Danish", ("Latin",)),
    "de": Language("German", ("Latin",)),
    "el": Language("Greek", ("Greek",)),
    "en": Language("English", ("Latin",)),
    "es": Language("Spanish", ("Latin",)),
    "fa": Language("Persian", ("Arabic",)),
    "fi": Language("Finnish", ("Latin",)),
    "fr": Language("French", ("Latin",)),
    "he": Language("Hebrew", ("Hebrew",)),
    "hi": Language("Hindi", ("Devanagari",)),
    "hr": Language("Croatian", ("Latin",)),
    "hu": Language("Hungarian", ("Latin",)),
    "id": Language("Indonesian", ("Latin",)),
    "it": Language("Italian", ("Latin",)),
    "ja": Language("Japanese", ("Han", "Hiragana", "Katakana"), spaced=False),
    "km": Language("Khmer", ("Khmer",), spaced=False),
    "ko": Language("Korean", ("Hangul", "Han")),
    "lo": Language("Lao", ("Lao",), spaced=False),
    "ms": Language("Malay", ("Latin",)),
    "my": Language("Burmese", ("Myanmar",), spaced=False),
    "nl": Language("Dutch", ("Latin",)),
    "no": Language("Norwegian", ("Latin",)),
    "pl": Language("Polish", ("Latin",)),
    "pt": Language("Portuguese", ("Latin",)),
    "ro": Language("Romanian", ("Latin",)),
    "ru": Language("Russian", ("Cyrillic",)),
    "sk": Language("Slovak", ("Latin",)),
    "sr": Language("Serbian", ("Cyrillic", "Latin")),
    "sv": Language("Swedish", ("Latin",)),
    "sw": Language("Swahili", ("Latin",)),
    "ta": Language("Tamil", ("Tamil",)),
    "te": Language("Telugu", ("Telugu",)),
    "th": Language("Thai", ("Thai",), spaced=False),
    "tl": Language("Tagalog", ("Latin",)),
    "tr": Language("Turkish", ("Latin",)),
    "uk": Language("Ukrainian", ("Cyrillic",)),
    "ur": Language("Urdu", ("Arabic",)),
    "vi": Language("Vietnamese", ("Latin",)),
    "yue": Language("Cantonese", ("Han",), spaced=False),
    "zh": Language("Chinese", ("Han",), spaced=False),
}
"""By ISO 639-1 code (``yue`` has none). A code that is not here is treated as spaced and of any script."""

HALLUCINATIONS: dict[str, tuple[str, ...]] = {
    "ar": ("ترجمة نانسي قنقر", "اشتركوا في القناة", "شكرا للمشاهدة"),
    "de": (
        "Untertitel der Amara.org-Community",
        "Untertitelung des ZDF für funk",
        "Untertitel im Auftrag des ZDF",
        "Vielen Dank fürs Zuschauen",
        "Das war's für heute. Bis zum nächsten Mal",
    ),
    "en": (
        "Thanks for watching",
        "Thank you for watching",
        "Thank you very much for watching",
        "Please subscribe to my channel",
        "Don't forget to like and subscribe",
        "Like and subscribe",
        "See you in the next video",
        "Subtitles by the Amara.org community",
    ),
    "es": (
        "Subtítulos realizados por la comunidad de Amara.org",
        "Subtítulos por la comunidad de Amara.org",
        "Gracias por ver el video",
        "Suscríbete al canal",
        "No olvides suscribirte",
    ),
    "fr": (
        "Sous-titres réalisés par la communauté d'Amara.org",
        "Sous-titres réalisés para la communauté d'Amara.org",
        "Sous-titrage Société Radio-Canada",
        "Merci d'avoir regardé cette vidéo",
        "N'oubliez pas de vous abonner",
    ),
    "hi": ("देखने के लिए धन्यवाद", "चैनल को सब्सक्राइब करें"),
    "it": (
        "Sottotitoli creati dalla comunità Amara.org",
        "Sottotitoli e revisione a cura di QTSS",
        "Grazie per aver guardato il video",
        "Iscrivetevi al canale",
    ),
    "ja": ("ご視聴ありがとうございました", "チャンネル登録お願いします", "最後までご視聴いただきありがとうございます"),
    "ko": ("시청해주셔서 감사합니다", "구독과 좋아요 부탁드립니다", "한글자막 by 한효정", "MBC 뉴스 이덕영입니다"),
    "nl": (
        "Ondertiteld door de Amara.org-gemeenschap",
        "Ondertitels ingediend door de Amara.org gemeenschap",
        "TV Gelderland 2021",
        "Bedankt voor het kijken",
    ),
    "pl": (
        "Napisy stworzone przez społeczność Amara.org",
        "Dziękuję za uwagę i do zobaczenia",
        "Dzięki za oglądanie",
        "Zapraszam do subskrypcji kanału",
    ),
    "pt": (
        "Legendas pela comunidade Amara.org",
        "Obrigado por assistir",
        "Inscreva-se no canal",
        "Transcrição e Legendas Pedro Negri",
    ),
    "ru": (
        "Редактор субтитров А.Семкин Корректор А.Егорова",
        "Субтитры сделал DimaTorzok",
        "Субтитры создавал DimaTorzok",
        "Продолжение следует",
        "Спасибо за просмотр",
        "Подписывайтесь на канал",
    ),
    "th": ("ขอบคุณที่รับชม", "โปรดติดตามตอนต่อไป"),
    "tr": ("Altyazı M.K.", "İzlediğiniz için teşekkür ederim", "Abone olmayı unutmayın"),
    "vi": (
        "Cảm ơn các bạn đã theo dõi",
        "Hãy subscribe cho kênh Ghiền Mì Gõ Để không bỏ lỡ những video hấp dẫn",
        "Hẹn gặp lại các bạn trong những video tiếp theo",
    ),
    "zh": ("请不吝点赞 订阅 转发 打赏支持明镜与点点栏目", "字幕由Amara.org社区提供", "字幕by索兰娅", "谢谢观看"),
}
"""Closing phrases that Whisper invents over silence and music, by language; compare them after :func:`normalize`."""

_ELLIPSIS = re.compile(r"\.{2,}|…")
_NOT_SPOKEN = re.compile(r"\[[^\]]*\]|<[^>]*>|\([^)]*\)|【[^】]*】")
_APOSTROPHES = re.compile(r"(?<=\w)['’‘ʼ`´＇](?=\w)")
_VARIATION = re.compile("[\u180b-\u180d\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_TASHKEEL = re.compile("[\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed]")
_ELIDING = frozenset({"fr", "it", "ca", "pt"})  # l'homme: two words; elsewhere (foto's, Ankara'da) one
_UNSPACED = (
    r"\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\u30fc\uff70"  # the prolonged sound marks belong to no one script
)
_SPACE_BY_UNSPACED = regex.compile(rf"(?<=[{_UNSPACED}]\p{{M}}*)\s+|\s+(?=[{_UNSPACED}])")
_ATOM = regex.compile(
    rf"(?P<one>[{_UNSPACED}]\p{{M}}*)"
    rf"|(?P<run>[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]\p{{M}}*"
    rf"(?:[.,'’\-]?[[\p{{L}}\p{{N}}]--[{_UNSPACED}]]\p{{M}}*)*)"
    r"|(?P<opening>[\p{Ps}\p{Pi}]\p{M}*)|(?P<other>.)",
    regex.V1 | regex.DOTALL,
)

_VI_OLD = ("oà oá oả oã oạ oè oé oẻ oẽ oẹ uỳ uý uỷ uỹ uỵ", "òa óa ỏa õa ọa òe óe ỏe õe ọe ùy úy ủy ũy ụy")
_VI_TONES = dict(zip(_VI_OLD[0].split(), _VI_OLD[1].split(), strict=True))
_VI_FINAL = re.compile(rf"(?<!q)({'|'.join(_VI_TONES)})(?!\w)")


def normalize(text: str, language: str | None) -> str:
    """The text as it is scored: what writers vary without changing a spoken word is made one.

    English: Whisper's English normaliser (Radford et al. 2022, appendix C), but for rows of full stops, of which it
    leaves one as a word. Other languages: compatibility forms
    (NFKC), case folding, no punctuation, symbols or bracketed remarks, ASCII digits, and the language's own rules.
    Letters, digits and combining marks stay. Normalising twice changes nothing, English numbers excepted.
    """
    code = base(language)
    if code == "en":
        return str(_english()(_ELLIPSIS.sub(" ", text))).strip()
    for _ in range(4):  # folding can open a compatibility form that folds again; two rounds are the rule
        once = _normalize_once(text, code)
        if once == text:
            break
        text = once
    return text


def base(language: str | None) -> str:
    """``pt`` of ``pt-BR`` or ``PT_br``; empty where there is none."""
    return re.split(r"[-_]", language, maxsplit=1)[0].lower() if language else ""


def is_spaced(language: str | None) -> bool:
    """Whether spaces part the language's words; true where the language is not in :data:`LANGUAGES`."""
    code = base(language)
    return LANGUAGES[code].spaced if code in LANGUAGES else True


def word_spans(text: str, language: str | None) -> list[tuple[int, int]]:
    """Character spans ``(start, end)`` of the words of the text as given, in order.

    Every character that is not white space lies in exactly one span. Where spaces part words, a word is what stands
    between spaces. In languages without them (Chinese, Japanese, Thai, ...) it is one character with its marks, a run
    of other letters or digits is one word, and punctuation joins the word before it (opening brackets the one after).
    """
    if is_spaced(language):
        return [match.span() for match in re.finditer(r"\S+", text)]
    spans: list[tuple[int, int]] = []
    for chunk in re.finditer(r"\S+", text):
        spans += _unspaced_spans(text, *chunk.span())
    return spans


def tokens(text: str, language: str | None) -> list[str]:
    """Normalised words, the units of WER; single characters (Latin runs whole) where there are no spaces."""
    normal = normalize(text, language)
    return [normal[start:end] for start, end in word_spans(normal, language)]


def cer(reference: str, hypothesis: str, language: str | None) -> float:
    """Character error rate of normalised texts; 0.0 where both are empty, 1.0 where only the reference is."""
    return _error_rate(normalize(reference, language), normalize(hypothesis, language))


def wer(reference: str, hypothesis: str, language: str | None) -> float:
    """Word error rate of normalised texts; 0.0 where both are empty, 1.0 where only the reference is."""
    return _error_rate(tokens(reference, language), tokens(hypothesis, language))


def surplus(reference: str, hypothesis: str, language: str | None) -> float:
    """Share (0-1) by which the normalised reference is longer than the hypothesis, in words or letters, the less.

    A word that was heard as a shorter one, or as two, is no surplus; a text that is there twice is one of 0.5.
    """
    normal, heard = normalize(reference, language), normalize(hypothesis, language)
    if not normal:
        return 0.0
    words = len(word_spans(heard, language)) / len(word_spans(normal, language))
    return max(0.0, 1.0 - max(words, letters(heard) / max(1, letters(normal))))


def letters(text: str) -> int:
    """Number of letters and digits, marks not counted, however the text is composed."""
    return sum(unicodedata.category(c)[0] in "LN" for c in unicodedata.normalize("NFC", text))


def scripts_match(text: str, language: str | None) -> bool:
    """Whether at least half of the letters are of the language's scripts; true where there are no letters."""
    known = LANGUAGES.get(base(language))
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
    text = unicodedata.normalize("NFKC", text)
    text = _NOT_SPOKEN.sub(" ", text)
    if code in ("tr", "az"):  # I is the capital of ı, İ of i
        text = text.replace("I", "ı").replace("İ", "i")
    text = unicodedata.normalize("NFKC", text.casefold()).replace("i\u0307", "i")
    text = _APOSTROPHES.sub(" " if code in _ELIDING else "", text)
    text = "".join(map(_plain_character, _VARIATION.sub("", text)))
    text = " ".join(_own_rules(text, code).split())
    return text if is_spaced(code) else _SPACE_BY_UNSPACED.sub("", text)


def _own_rules(text: str, code: str) -> str:
    """What one language writes in two ways; the text is folded and without punctuation."""
    if code == "ar":
        return re.sub("[آأإٱ]", "ا", _TASHKEEL.sub("", text))
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


def _unspaced_spans(text: str, start: int, end: int) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    opened = start  # where the next word begins: before the opening brackets that stand in front of it
    for atom in _ATOM.finditer(text, start, end):
        if atom.lastgroup in ("one", "run"):
            spans.append((opened, atom.end()))
            opened = atom.end()
        elif atom.lastgroup == "other" and spans and opened == spans[-1][1]:
            spans[-1] = (spans[-1][0], atom.end())
            opened = atom.end()
    if opened < end:
        spans = [*spans[:-1], (spans[-1][0], end)] if spans else [(start, end)]
    return spans


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
