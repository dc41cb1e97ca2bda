"""Markup in transcripts: what is written and not spoken.

:func:`clean` removes the markup of known schemes. Brackets that no scheme knows stay, because they may be spoken, and
:func:`unknown_markup` lists them.
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
"""Names of sounds other than speech, as transcripts write them in brackets."""

_EVENT_MODIFIERS = frozenset(
    """
    a an the and in of off on no at soft softly loud loudly light slight slightly heavy heavily deep deeply nervous
    nervously background foreground audience crowd phone telephone door clears clearing throat playing plays continues
    stops starts fades upbeat dramatic gentle short long both all speaker man woman he she they ambient lip mouth
    unknown other instrumental theme human vocalized spoken end begin
    """.split()  # noqa: SIM905
)
"""Words that stand beside the name of a sound: "soft music playing"."""

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
"""Each scheme's patterns and their replacements, applied in this order. Case counts for Switchboard only."""

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
    """A text after cleaning; ``offsets[n]`` is the offset of its n-th character in the text before, ascending."""

    text: str
    offsets: tuple[int, ...]


class TextEditor:
    """Edits a text, and keeps the offset that each of its characters had in the original."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._offsets = list(range(len(text)))

    def sub(self, pattern: regex.Pattern[str], replace: Callable[[regex.Match[str]], str]) -> None:
        """Replace every match of the pattern."""
        self.replace([(*match.span(), replace(match)) for match in pattern.finditer(self.text)])

    def replace(self, edits: Sequence[tuple[int, int, str]]) -> None:
        """Replace stretches of the text.

        Args:
            edits: ``(start, end, new)``, in order and disjoint. Where the stretch contains the new text, its characters
                keep their offsets; else they get the offset of the stretch.
        """
        parts: list[str] = []
        offsets: list[int] = []
        position = 0
        for start, end, new in edits:
            kept = self.text.find(new, start, end) if new else -1
            offsets += self._offsets[position:start]
            offsets += self._offsets[kept : kept + len(new)] if kept >= 0 else [self._offsets[start]] * len(new)
            parts += [self.text[position:start], new]
            position = end
        self.text = "".join([*parts, self.text[position:]])
        self._offsets = [*offsets, *self._offsets[position:]]

    def result(self) -> CleanedText:
        """The edited text with single spaces, and none at either end."""
        self.sub(_spaces(), lambda match: " ")
        self.sub(_ends(), lambda match: "")
        return CleanedText(self.text, tuple(self._offsets))


def clean(text: str) -> CleanedText:
    """The text as it is spoken: without invisible characters, known markup and pictures, on one line.

    Tags that stand for punctuation become punctuation. Cleaning twice changes nothing.
    """
    editor = TextEditor(text)
    for _ in range(4):  # what is left after a removal may look like markup
        before = editor.text
        _clean_once(editor)
        if editor.text == before:
            break
    return editor.result()


def unknown_markup(text: str) -> tuple[str, ...]:
    """The brackets of a cleaned text that no scheme knows: ``[…]``, ``<…>``, ``{…}`` or ``*…*`` with letters in them.

    Round brackets are ordinary text. So are symbols and figures in brackets, addresses, and signs of comparison.
    """
    return tuple(match[0] for match in _UNKNOWN.finditer(text)) if _MARKED.intersection(text) else ()


def _clean_once(editor: TextEditor) -> None:
    editor.sub(invisible_characters(), lambda match: "")
    if not editor.text.isascii():
        editor.sub(_PICTURES, lambda match: " ")
    if not _MARKED.intersection(editor.text) and ">>" not in editor.text:
        return
    editor.sub(_ENTITY, lambda match: html.unescape(match[0]))
    for pattern, replacement in _patterns():
        editor.sub(pattern, _expanded(replacement))
    editor.sub(_BRACKETED, lambda match: " " if _is_event(match[0], strict=False) else match[0])
    editor.sub(_PARENTHESES, lambda match: " " if _is_event(match[0], strict=True) else match[0])


def _expanded(replacement: str) -> Callable[[regex.Match[str]], str]:
    return lambda match: str(match.expand(replacement))


def _is_event(bracketed: str, strict: bool) -> bool:
    """Whether brackets hold the name of a sound; ``strict``: and nothing else, for brackets that may hold speech."""
    words = regex.findall(r"[\p{L}\p{M}]+", bracketed.casefold().replace("_", " "))
    events = [word in _EVENTS for word in words]
    only_event = all(event or word in _EVENT_MODIFIERS for word, event in zip(words, events, strict=True))
    return (any(events) or "throat" in words) and (only_event or (not strict and len(words) <= 3))


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
