"""What of an answer is said: without special tokens, the turns around it and the model's reasoning.

``said`` holds for every kind of question. ``given`` is for closed ones: the part that an answer marks as its answer,
between tags, in JSON or in a box. ``folded`` writes both as patterns see them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

_NAMED_TOKENS = r"</?s>|<(?:pad|unk|eos|bos|eot|end_of_turn|start_of_turn|end_of_utterance)>|\[/?(?:INST|BOS|EOS|PAD)\]"
_TOKEN = re.compile(rf"<[|｜][^<>|｜]{{1,40}}[|｜]>|{_NAMED_TOKENS}|<0x[0-9A-F]{{2}}>")
_STRUCK = re.compile(r"[^\s<>]\s*<s>")  # struck text of a web page, no special token
_END = re.compile(
    r"<[|｜](?:im_end|endoftext|eot_id|eom_id|end|end_of_text|end▁of▁sentence|return)[|｜]>|</s>|"
    r"<end_of_turn>|<eos>"
)
_ASSISTANT = re.compile(
    r"<\|im_start\|>\s*assistant\b|<\|start_header_id\|>\s*assistant\s*<\|end_header_id\|>|<\|assistant\|>|"
    r"<start_of_turn>\s*model\b|\[/INST\]|<[|｜]Assistant[|｜]>|<\|start\|>assistant(?=<\|message\|>)"
)
_FINAL_CHANNEL = re.compile(r"<\|channel\|>\s*final\s*(?:<\|[^<>|]*\|>[^<>|]*)?<\|message\|>")
_ROLE = re.compile(r"\s*(?:#+\s*)?(?:assistant|response|ai|bot|gpt|model)\s*:\s+", re.IGNORECASE)
_THOUGHTS = r"think|thinking|thought|thoughts|reasoning|scratchpad|reflection"
_REASONING = re.compile(
    rf"<({_THOUGHTS})>.*?</\1>|\[THINK\].*?\[/THINK\]|◁think▷.*?◁/think▷", re.DOTALL | re.IGNORECASE
)
_RATIONALE = re.compile(r"<(reason|analysis|rationale|cot|explanation)>.*?</\1>", re.DOTALL | re.IGNORECASE)
_REASONED = re.compile(rf".*(?:</(?:{_THOUGHTS})>|\[/THINK\]|◁/think▷)", re.DOTALL | re.IGNORECASE)
_UNFINISHED = re.compile(rf"(?:<(?:{_THOUGHTS})>|\[THINK\]|◁think▷).*", re.DOTALL | re.IGNORECASE)
_ANSWERS = r"answer|final_answer|final|response|output|result|label|conclusion|prediction"
_TAGGED = re.compile(rf"<({_ANSWERS})>(.*?)(?:</\1>|$)", re.DOTALL | re.IGNORECASE)
_BOXED = re.compile(r"\\boxed\s*\{((?:[^{}]|\{[^{}]*\})*)\}")
_LATEX = re.compile(r"\\(?:text|mathrm|mathbf|textbf|textit|mathsf|mathit)\s*\{([^{}]*)\}")
_FENCE = re.compile(r"```[a-z]*\s*(.*?)```", re.DOTALL | re.IGNORECASE)
_ANSWER_KEY = re.compile(
    r"(?:(?:final|correct|my|the)[ _-]?)?(?:answer|label|result|prediction|output|class|classification|choice|option|"
    r"response|conclusion|value|答案|结果)",
    re.IGNORECASE,
)
_REASON_KEY = re.compile(
    r".*(?:reason|explan|rationale|thought|think|analysis|evidence|confidence|score|probab|certain|comment|note|"
    r"transcri|description|justif).*",
    re.IGNORECASE,
)
_QUOTES = str.maketrans(
    {"’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "–": "-", "—": "-", "−": "-", "‑": "-", "_": " ", "`": " "}
)
_ANYTHING = re.compile(r"[^\W_]")


def visible_answer(answer: str) -> str:
    """The answer itself: no special tokens, no other turns, no reasoning. Empty where a model only reasoned.

    Reasoning without an end was cut off before the answer; reasoning without a beginning has it in the prompt.
    """
    text = answer
    if ("<" in text or "[" in text or "◁" in text) and not _STRUCK.search(text):
        channel = list(_FINAL_CHANNEL.finditer(text))
        turn = _ASSISTANT.search(text)
        text = text[channel[-1].end() :] if channel else text[turn.end() :] if turn else text
        parts = _END.split(text)
        text = next((part for part in parts if not is_empty(_TOKEN.sub(" ", part))), parts[0])
        text = _REASONING.sub(" ", _TOKEN.sub(" ", text) if _TOKEN.search(text) else text)
        text = _UNFINISHED.sub(" ", _REASONED.sub(" ", text))
    return _ROLE.sub("", text, count=1) if _ROLE.match(text) else text


def marked_answer(answer: str) -> str:
    """The part of :func:`visible_answer` that a tag, JSON or a box marks as the answer; without one, all of it."""
    text = _RATIONALE.sub(" ", visible_answer(answer))
    tagged = [match[2] for match in _TAGGED.finditer(text) if not is_empty(match[2])]
    text = tagged[-1] if tagged else text
    text = _from_json(text) if "{" in text else text
    boxed = [match[1] for match in _BOXED.finditer(text) if not is_empty(match[1])]
    text = boxed[-1] if boxed else text
    return _LATEX.sub(r"\1", text) if "\\" in text else text


def only_tokens(answer: str) -> bool:
    """Whether there is nothing in it but special tokens, white space and punctuation: no reasoning either."""
    return is_empty(re.sub(rf"</?(?:{_THOUGHTS}|{_ANSWERS})>", " ", _TOKEN.sub(" ", answer)))


def _from_json(text: str) -> str:
    """The answer that a JSON object gives, where the text ends with one or is one; else the text."""
    fences = _FENCE.findall(text)
    for part in (*reversed(fences), text):
        start, end = part.find("{"), part.rfind("}")
        if start < 0 or end < start:
            continue
        try:
            value = json.loads(part[start : end + 1])
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            answer = _of_object(value)
            return text if answer is None else answer
    return text


def _of_object(value: Mapping[str, Any]) -> str | None:
    for key in value:
        if _ANSWER_KEY.fullmatch(key.strip()):
            return _plain(value[key])
    if value and all(isinstance(one, int | float) and not isinstance(one, bool) for one in value.values()):
        return None if len(value) > 1 else _plain(next(iter(value.values())))
    rest = [one for key, one in value.items() if not _REASON_KEY.fullmatch(key)]
    return "\n".join(map(_plain, rest)) if rest else None


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        return _of_object(value) or ""
    return ", ".join(map(_plain, value)) if isinstance(value, list) else "" if value is None else str(value)


def folded(answer: str) -> str:
    """The answer as patterns see it: NFKC, case folded, plain quotes and hyphens, no markup, single spaces."""
    return re.sub(r"\s+", " ", lines(answer)).strip()


def lines(answer: str) -> str:
    """As :func:`folded`, with one line break where there are some. Digits of all scripts are 0 to 9."""
    text = unicodedata.normalize("NFKC", answer).translate(_QUOTES).casefold()
    text = re.sub(r"^[ \t]*(?:#+|[*•◦▪·>+-](?=[ \t]))[ \t]*|\*+", "", text, flags=re.MULTILINE)
    if not text.isascii():
        text = "".join(str(unicodedata.digit(c)) if c.isdigit() and not c.isascii() else c for c in text)
    return re.sub(r"\s*\n\s*", "\n", re.sub(r"[^\S\n]+", " ", text)).strip()


def is_empty(answer: str) -> bool:
    """Whether there is no letter and no digit in it."""
    return _ANYTHING.search(answer) is None
