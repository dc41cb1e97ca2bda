"""Whether an answer refuses: it says that it cannot or will not answer, or asks for what it would need.

Small talk that ignores the question ("How can I help you today?") is no refusal: it is no answer.
English and Chinese are known; the systems that were published answer in these.
"""

from __future__ import annotations

import re
import unicodedata

_VERBS = (
    r"hear|listen|play|process|analy[sz]e|access|identify|determine|classify|detect|recogni[sz]e|tell|see|do|"
    r"help|assist|"
    r"perform|extract|estimate|predict|judge|view|open|display|show|distinguish|evaluate|assess|categori[sz]e|"
    r"write|generate|"
    r"sing|produce|answer|confirm|provide|give|understand|interact|feel|respond|read|verify|differentiate|"
    r"pinpoint|infer|"
    r"say|guess|discern|make out|fulfil|fulfill|comply|complete|output|return|transcribe|score|rate|find|"
    r"calculate|interpret|check|set|turn|call|control|change|adjust|remind|browse|schedule|delete|remove|create|"
    r"post|order|book|search|look up|send|spell"
)
_ADVERBS = (
    r"(?:\s+(?:actually|really|directly|accurately|fully|definitively|physically|currently|even|just|reliably|"
    r"always|be|able|to|definitely|exactly|certainly|precisely|only))*"
)
_INPUT = (
    r"context|information|details?|audio|recording|clip|sample|sound|file|speech|command|question|data|text|"
    r"transcript|feedback|example|notes?|"
    r"transcription|input|lyrics|melody|sentence|voice|words?|conversation|passage|link"
)
_ENGLISH = (
    rf"\b(?:can(?:not|'?t| not)|could(?:n't| not)|won't|will not|am not able to|'m not able to|not able to|n't "
    rf"able to|unable to)"
    rf"{_ADVERBS}\s+(?:{_VERBS})\b",
    r"\b(?:not|n't)\s+(?:\w+\s+)?(?:capable of|equipped to|designed to|programmed to|trained to)\b",
    r"\b(?:do(?:es)?n't|do not|does not|without|no)\s+(?:\w+\s+){0,2}(?:access to|ability|abilities|capability|"
    r"capabilities)\b",
    rf"\b(?:do(?:es)?n't|do not|does not|did(?:n't| not))\s+(?:\w+\s+){{0,2}}(?:see|hear|receive|have|get|"
    rf"detect|catch)\s+(?:\w+\s+){{0,3}}"
    rf"(?:{_INPUT})\b",
    r"\b(?:did(?:n't| not)|could(?:n't| not))\s+(?:quite\s+)?(?:catch|hear|understand|get)\s+(?:that|you|it|what)\b",
    r"\bnot (?:hearing|seeing|receiving)\b|\bno audio\b|\bisn't (?:any|an) audio\b",
    r"\btext[- ]based (?:ai|model|assistant|language|conversational|interface|virtual|chat)",
    r"\bi(?:'m| am) (?:just |only |simply )?an? (?:large |text |text-based )?(?:language model|ai\b|artificial)",
    r"\bi am a voice assistant\b",
    r"\bas an? (?:ai|text|language model|voice assistant)\b",
    rf"\b(?:please|could you|can you|would you|can i|could i|may i|you(?:'d| would|'ll| will| can) (?:need|"
    rf"have) to|if you(?:'d like to| would like to| could| can))\b"
    rf"[^.?!]{{0,40}}?\b(?:provide|share|describe|send|upload|give|clarify|specify|repeat|rephrase|elaborate|"
    rf"tell|attach|play|know|get|have)\b"
    rf"[^.?!]{{0,60}}?\b(?:{_INPUT}|it|that)\b",
    rf"\b(?:i(?:'d|'ll| would| will)?|without|lack of)\s+(?:need |require |want )?(?:to (?:know|hear|see) )?(?:some |"
    rf"a bit |a little |much )?(?:more|additional|further|the|your)\s+(?:\w+\s+)?(?:{_INPUT})\b",
    r"\b(?:is|are|was|were|been|it's|be)\s+(?:not\s+(?:explicitly |clearly |directly )?|un)(?:specified|provided|"
    r"mentioned|given|stated|available|disclosed|known|clear|indicated|possible)\b",
    r"\b(?:isn't|aren't|wasn't) (?:specified|provided|mentioned|given|stated|available|clear|indicated|possible|"
    r"enough)\b",
    r"\b(?:do(?:es)?n't|do not|does not) (?:provide|give|contain|include|specify|mention|indicate|state|have|"
    r"reveal)\b[^.?!]{0,40}"
    rf"\b(?:enough|sufficient|any|information|gender|age|accent|emotion|clues?|{_INPUT})\b",
    r"\b(?:impossible|difficult|hard|not possible|not easy|tricky|challenging|tough) to (?:\w+ )?(?:determine|"
    r"tell|say|identify|know|pinpoint|"
    r"classify|guess|detect|judge|recogni[sz]e)\b",
    r"\bnot (?:enough|sufficient) (?:information|context|data|audio)\b",
    r"\bi(?:'m| am) not (?:entirely |quite |really )?(?:sure|certain)\b|\bi do(?:n't| not) know\b",
    r"\bi can only (?:respond|provide|process|answer|communicate|help with)\b",
    r"\bnot (?:aware of|familiar with)\b",
    r"\bcannot be determined\b|\bunable to determine\b",
    r"\bi(?:'d| would) (?:need|have to (?:hear|listen|know|see))\b",
)
_CHINESE = (
    r"无法|没办法|没法|未能|不能(?:直接|够|真正|准确)?(?:听|判断|识别|处理|分析|确定|回答|提供|访问|播放|完成|做|理解|给)",
    r"不(?:太)?(?:确定|知道|清楚)",
    r"你?能(?:不能)?(?:再)?(?:提供|告诉我)[^。！]{0,20}吗",
    r"请(?:你|您)?(?:再)?(?:提供|告诉|描述|分享|上传|给|重复|说)",
    r"(?<!如果)(?<!如果你)(?<!你)(?:提供|需要|告诉我)(?:一些|我)?更多(?!\w{0,4}吗)|"
    r"更多(?:的)?(?:信息|上下文|背景|细节)(?!吗)",
    r"作为(?:一个)?(?:人工智能|语言模型|ai|文本|语音助手)",
    r"没有(?:提供|足够|听到|收到|具体)|没听(?:清|懂|到)|听不(?:出|清|懂|到)|(?:不太|没)(?:明白|理解)|(?:再)?(?:具体|详细)(?:点|一点|说)",
)
PATTERN = re.compile("|".join(f"(?:{part})" for part in (*_ENGLISH, *_CHINESE)))
"""Matches in folded text (:func:`folded`)."""

_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "_": " ", "`": " "}
)
_ANYTHING = re.compile(r"[^\W_]")


def folded(answer: str) -> str:
    """The answer as patterns see it: NFKC, case folded, plain quotes and hyphens, no markup, single spaces."""
    text = unicodedata.normalize("NFKC", answer).translate(_QUOTES).casefold()
    return re.sub(r"[*#]+|\s+", " ", text).strip()


def is_empty(answer: str) -> bool:
    """Whether there is no letter and no digit in it."""
    return _ANYTHING.search(answer) is None


def is_refusal(answer: str) -> bool:
    """Whether a free answer refuses; a long answer that says so somewhere in passing does not.

    Looked at are the first 25 words, or characters of Chinese times two: who refuses says so at once.
    """
    text = folded(answer)
    head = " ".join(text.split()[:25])[:400]
    return PATTERN.search(head) is not None
