"""Markup in transcripts: what is written there and nobody says.

:func:`clean` takes off what one of the schemes knows. What stands in brackets and no scheme knows is left where it is,
and :func:`unknown` names it: somebody may say it.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import regex

from llaso_data.text.characters import invisible_characters

_EVENTS = frozenset(
    """
    laughter laughs laughing laugh laughed chuckle chuckles chuckling giggle giggles giggling cough coughs coughing
    sneeze sneezes sneezing sigh sighs sighing sniff sniffs sniffle sniffles breath breaths breathe breathing breathes
    inhale inhales exhale exhales gasp gasps gasping groan groans grunt grunts moan moans sob sobs sobbing crying cries
    screams screaming yawn yawns hiccup hums humming whistle whistles whistling whispers whispering applause applauds
    applauding clapping claps cheers cheering music musical noise noises noisy silence silent pause pauses beep beeps
    beeping bleep ringing rings dtmf ringtone click clicks clicking static lipsmack smack burp sil sp spn nsn
    hes hesitation sonant
    applaus musik gelächter lachen lacht husten hustet seufzt räuspern stille geräusch rires rire applaudissements
    musique toux soupir silence bruit risas risa aplausos música musica tos suspiro ruido silencio risate risata
    applausi tosse sospiro rumore silenzio risos palmas ruído silêncio смех смеется смеётся аплодисменты музыка кашель
    вздох шум тишина śmiech oklaski muzyka kaszel westchnienie cisza gelach muziek gekuch zucht ruis stilte gülme
    gülüşmeler alkış müzik öksürük cười nhạc ضحك تصفيق موسيقى हँसी हंसी तालियाँ संगीत 笑 笑声 掌声 音乐 鼓掌 咳嗽
    音楽 拍手 笑い 咳 웃음 박수 음악 기침
    """.split()  # noqa: SIM905
)
"""What is heard beside speech, as transcripts name it in brackets."""

_BESIDE = frozenset(
    """
    a an the and in of off on no at soft softly loud loudly light slight slightly heavy heavily deep deeply nervous
    nervously background foreground audience crowd phone telephone door clears clearing throat playing plays continues
    stops starts fades upbeat dramatic gentle short long both all speaker man woman he she they ambient lip mouth
    unknown other instrumental theme human vocalized spoken end begin
    """.split()  # noqa: SIM905
)
"""Words that stand beside the name of an event: "soft music playing"."""

_PICTURES = regex.compile(
    r"[[\p{Extended_Pictographic}\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff]--[\x00-\u25ff]]|\u20e3", regex.V1
)
_CUE = r"(?:\d+:)?\d\d:\d\d[.,]\d{3}"

Scheme = tuple[tuple[str, str], ...]
SCHEMES: dict[str, Scheme] = {
    "subtitles": (  # WebVTT, SubRip, SubStation, LRC
        (r"\[(?:\d{1,2}:)?\d{1,3}:\d\d(?:[.,]\d{1,3})?\]|<\d\d:\d\d\.\d{2}>", " "),
        (r"^WEBVTT\b(?:[^\n\d<]*\n)?", " "),
        (rf"(?:(?<!\S)\d+\s+)?{_CUE}\s*-->\s*{_CUE}", " "),
        (rf"<{_CUE}>", ""),
        (r"\{\\[^{}]*\}|\{[a-zA-Z]:[^{}]*\}", ""),
        (r"(?<![:\w\\])\\[Nh](?=\W|$)|(?<=[.!?,])\\N|(?<!:)\\N(?=\s|$)", " "),
        (r"<v(?:\.[\w.]+)?\s+([^<>]{1,40})>", r"[\1]: "),
        (r"[\u2669-\u266c]+", " "),
        (r"(?<!\S)>>+\s*", ""),
    ),
    "html": (
        (r"<rt\b[^<>]*>[^<>]*</rt>|<!--.*?-->", ""),
        (r"</?(?:br|p|div|li|ul|ol|tr|td|h[1-6])\s*/?>", " "),
        (
            r"</?(?:a|b|big|c|center|code|del|em|font|i|ins|lang|mark|q|rp|rt|ruby|s|small|span|strong|sub|sup|tt|u|v"
            r"|br|p|div)(?:\.[\w.-]+)?(?:\s+[\w-]+\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s<>]+))*\s*/?>",
            "",
        ),
    ),
    "whisper": (  # and SenseVoice
        (r"<\|[^|<>]{0,40}\|>", " "),
        (r"</?s>|<(?:pad|bos|eos|blank|eps)>|[<\[]no[-_ ]?speech[>\]]|\[blank_?audio\]", " "),
    ),
    "gigaspeech": (
        (r"\s*<COMMA>", ","),
        (r"\s*<PERIOD>", "."),
        (r"\s*<QUESTION_?MARK>", "?"),
        (r"\s*<EXCLAMATION_?POINT>", "!"),
        (r"\s*<SEMI_?COLON>", ";"),
        (r"<(?:SIL|NOISE|MUSIC|OTHER)>", " "),
    ),
    "tedlium": (
        (r"<unk>|<sil>", " "),
        (r"(?<=(?<!\p{L})a|[a-z]{2})(?<!\b(?:log|ln|sin|cos|tan|exp|max|min))\([1-9]\)(?=\s|$)", ""),
    ),
    "magicdata": ((r"<(?:NON|FIL|SPK|NPS|ENS|DEAF)\s?/?>|\[(?:NPS|ENS|SPK|\*|\+)\]", " "),),
    "switchboard": (  # and Fisher, CallHome
        (r"\[laughter-([^\[\]]+)\]", r"\1"),
        (r"\(\(\s*([^()]*\p{L}[^()]*?)\s*\)\)", r"\1"),
        (r"\{[A-Z]\s+([^{}]*?)\s*\}", r"\1"),
        (r"</?[be]_aside>|</?aside>", " "),
        (r"(?<!\S)%(?=[a-z]+\b)", ""),
    ),
    "editors": ((r"\[sic!?\]", " "),),
}
"""What is taken off by which scheme: a pattern and what takes its place, in this order, case does not matter."""

_ENTITY = regex.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,30});")
_BRACKETED = regex.compile(
    r"\[[^\[\]]{1,60}\]|［[^［］]{1,60}］|\{[^{}]{1,60}\}|<(?![\d\s])[^<>]{1,60}>"
    r"|(?<![\w*])\*{1,2}(?=[^\s*])[^*]{1,60}(?<=\S)\*{1,2}(?![\w*])"
)
_PARENTHESES = regex.compile(r"\([^()]{1,60}\)|（[^（）]{1,60}）|【[^【】]{1,60}】")
_UNKNOWN = regex.compile(
    r"\[[^\[\]]*\p{L}[^\[\]]*\](?!\s*[:：])|［[^［］]*\p{L}[^［］]*］|\{[^{}]*\p{L}[^{}]*\}"
    r"|(?<![\w])</?!?\p{L}(?:(?![@<>]|://)[^\n]){0,60}>|</?!?\p{L}(?:(?![@<>]|://)[^\n]){0,60}>(?!\w)"
    r"|(?<![\w*])\*{1,2}(?=[^\s*])[^*\n]*\p{L}[^*\n]*(?<=\S)\*{1,2}(?![\w*])|\(\(\s*\)\)"
)
_MARKED = frozenset("<>[]{}()&*\\|#%♩♪♫♬［］（）【】")


@dataclass(frozen=True, slots=True)
class CleanedText:
    """A text after cleaning; ``places[n]`` is where its character n stood in the text before, ascending."""

    text: str
    offsets: tuple[int, ...]


class TextEditor:
    """A text that is edited, and where each of its characters came from."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._places = list(range(len(text)))

    def sub(self, pattern: regex.Pattern[str], replace: Callable[[regex.Match[str]], str]) -> None:
        """Every match by its replacement."""
        self.replace([(*match.span(), replace(match)) for match in pattern.finditer(self.text)])

    def replace(self, pieces: Sequence[tuple[int, int, str]]) -> None:
        """New text for stretches ``(start, end, new)``, in order. What of it stood inside has the place that it had,
        all else the stretch's first.
        """
        parts: list[str] = []
        places: list[int] = []
        at = 0
        for start, end, new in pieces:
            inside = self.text.find(new, start, end) if new else -1
            places += self._places[at:start]
            places += self._places[inside : inside + len(new)] if inside >= 0 else [self._places[start]] * len(new)
            parts += [self.text[at:start], new]
            at = end
        self.text = "".join([*parts, self.text[at:]])
        self._places = [*places, *self._places[at:]]

    def result(self) -> CleanedText:
        """With single spaces, none at either end."""
        self.sub(_spaces(), lambda match: " ")
        self.sub(_ends(), lambda match: "")
        return CleanedText(self.text, tuple(self._places))


def clean(text: str) -> CleanedText:
    """The text that is said: without what is not seen, the markup of known schemes and pictures, on one line.

    Tags that stand for punctuation become punctuation. Cleaning twice changes nothing.
    """
    edited = TextEditor(text)
    for _ in range(4):  # what is taken off may lay bare what looks like markup
        before = edited.text
        _once(edited)
        if edited.text == before:
            break
    return edited.result()


def unknown_markup(text: str) -> tuple[str, ...]:
    """What stands in brackets of a cleaned text, ``[…]``, ``<…>``, ``{…}`` or ``*…*``, and no scheme knows.

    Round brackets are ordinary text; so are symbols and figures in brackets, addresses, and what is less than what.
    """
    return tuple(match[0] for match in _UNKNOWN.finditer(text)) if _MARKED.intersection(text) else ()


def _once(edited: TextEditor) -> None:
    edited.sub(invisible_characters(), lambda match: "")
    if not edited.text.isascii():
        edited.sub(_PICTURES, lambda match: " ")
    if not _MARKED.intersection(edited.text) and ">>" not in edited.text:
        return
    edited.sub(_ENTITY, lambda match: html.unescape(match[0]))
    for pattern, replacement in _patterns():
        edited.sub(pattern, _expanded(replacement))
    edited.sub(_BRACKETED, lambda match: " " if _event(match[0], least=False) else match[0])
    edited.sub(_PARENTHESES, lambda match: " " if _event(match[0], least=True) else match[0])


def _expanded(replacement: str) -> Callable[[regex.Match[str]], str]:
    return lambda match: str(match.expand(replacement))


def _event(bracketed: str, least: bool) -> bool:
    """Whether brackets hold the name of a sound; ``least``: and nothing else, for brackets that may hold speech."""
    words = regex.findall(r"[\p{L}\p{M}]+", bracketed.casefold().replace("_", " "))
    known = [word in _EVENTS for word in words]
    others = all(event or word in _BESIDE for word, event in zip(words, known, strict=True))
    return (any(known) or "throat" in words) and (others if least else others or len(words) <= 3)


@cache
def _patterns() -> tuple[tuple[regex.Pattern[str], str], ...]:
    return tuple(
        (regex.compile(pattern, regex.IGNORECASE if name != "switchboard" else 0), replacement)
        for name, scheme in SCHEMES.items()
        for pattern, replacement in scheme
    )


@cache
def _spaces() -> regex.Pattern[str]:
    return regex.compile(r"\s+")


@cache
def _ends() -> regex.Pattern[str]:
    return regex.compile(r"^\s+|\s+$")
