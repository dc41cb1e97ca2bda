"""The words that instructions of a language are put together with, around their templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from llaso_data import languages


@dataclass(frozen=True, slots=True)
class Wording:
    """What a language puts into the places of templates.

    Attributes:
        between: Stands between options.
        before_last: Stands before the last option.
        range: The numbers that an answer may be.
        example: A worked example.
        audio: What ``{input}`` calls an input that is heard; one is drawn.
        text: What ``{input}`` calls an input that is read.
        carriers: What stands in writing before a clip that holds all that is asked; one is drawn.
        languages: Names of languages by code; others have their English names.
    """

    between: str = ", "
    before_last: str = ", "
    range: str = "{lowest:g}–{highest:g}"
    example: str = "{given}\n→ {answer}"
    audio: tuple[str, ...] = ()
    text: tuple[str, ...] = ()
    carriers: tuple[str, ...] = ()
    languages: dict[str, str] = field(default_factory=dict)

    def options(self, names: Sequence[str]) -> str:
        """Options in a row, such as ``male or female``."""
        return self.before_last.join(filter(None, (self.between.join(names[:-1]), names[-1])))

    def language(self, code: str) -> str:
        """The name of a language, given in any spelling that corpora use."""
        known = languages.language(code) or code
        return self.languages.get(known.partition("-")[0]) or languages.language_name(known)


WORDINGS: dict[str, Wording] = {
    "en": Wording(
        before_last=" or ",
        range="{lowest:g} to {highest:g}",
        example="Example input: {given}\nExample answer: {answer}",
        audio=("the recording", "the audio", "the audio clip", "the speech", "the sound file"),
        text=("the text", "the text below", "the passage", "the following text"),
        carriers=(
            "Listen to the audio and do what it asks.",
            "Please respond to the recording.",
            "All that you need is in this clip. Answer it.",
            "Hear the clip to its end, then reply.",
            "The request is spoken. Follow it.",
            "Play the recording and give the answer that it calls for.",
            "Act on what is said in the audio.",
            "Here is a voice message; reply to it.",
        ),
    ),
    "zh": Wording(
        between="、",
        before_last="、",
        range="{lowest:g}到{highest:g}",
        example="示例输入：{given}\n示例回答：{answer}",
        audio=("这段录音", "这段音频", "这段语音", "这条音频"),
        text=("这段文字", "下面的文字", "这段文本", "以下内容"),
        carriers=(
            "请听音频，并按其中的要求回答。",
            "请回应这段录音。",
            "要求都在这段语音里，请作答。",
            "听完录音后，请给出回答。",
            "请按语音中所说的去做。",
            "这是一条语音消息，请回复。",
        ),
        languages={
            "ar": "阿拉伯语", "bn": "孟加拉语", "cs": "捷克语", "da": "丹麦语", "de": "德语", "el": "希腊语",
            "en": "英语", "es": "西班牙语", "fa": "波斯语", "fi": "芬兰语", "fr": "法语", "he": "希伯来语",
            "hi": "印地语", "hu": "匈牙利语", "id": "印尼语", "it": "意大利语", "ja": "日语", "ko": "韩语",
            "ms": "马来语", "nl": "荷兰语", "no": "挪威语", "pl": "波兰语", "pt": "葡萄牙语", "ro": "罗马尼亚语",
            "ru": "俄语", "sv": "瑞典语", "th": "泰语", "tr": "土耳其语", "uk": "乌克兰语", "ur": "乌尔都语",
            "vi": "越南语", "yue": "粤语", "zh": "中文",
        },
    ),
}  # fmt: skip
"""By language; a language without an entry has :data:`NEUTRAL`."""

NEUTRAL = Wording()


def wording(language: str) -> Wording:
    """The words of a language, or neutral ones."""
    return WORDINGS.get(language, NEUTRAL)
