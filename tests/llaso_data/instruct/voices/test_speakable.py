"""Texts that no voice should be given are refused by name; others are spoken as they are read."""

from __future__ import annotations

import pytest

from llaso_data.instruct.voices import SpeechError
from llaso_data.instruct.voices.speakable import REASONS, spoken_text

REFUSED = [
    ("empty", " \n", "en"),
    ("no_letters", "🙂🙃 !!", "en"),
    ("no_letters", "……", "zh"),
    ("address", "Summarise https://example.org/a for me.", "en"),
    ("address", "Write to a.b@example.org", "en"),
    ("table", "| name | age |\n|---|---|\n| Ann | 4 |", "en"),
    ("table", "name\tage\nAnn\t4", "en"),
    ("formula", r"Solve $x^2 = 4$ for x.", "en"),
    ("formula", r"What is \frac{1}{2}?", "en"),
    ("code", "```python\nprint(1)\n```", "en"),
    ("code", "def add(a, b):\n    return a + b", "en"),
    ("code", "for (int i = 0; i < n; i++) {", "en"),
    ("code", "What does os.listdir(path) do?", "en"),
    ("code", "Write <b>this</b> in bold.", "en"),
    ("code", "解释一下 `len(x)` 的意思。", "zh"),
    ("markup", "Dear [name], thank you.", "en"),
    ("script", "请写一首诗。", "en"),
    ("too_long", "word " * 300, "en"),
    ("too_long", "很长的话" * 100, "zh"),
]


@pytest.mark.parametrize(("reason", "text", "language"), REFUSED)
def test_what_cannot_be_spoken_is_refused_by_name(reason: str, text: str, language: str) -> None:
    with pytest.raises(SpeechError) as refused:
        spoken_text(text, language)
    assert refused.value.reason == reason


def test_every_reason_has_an_example() -> None:
    assert {reason for reason, _, _ in REFUSED} == set(REASONS)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("What is the capital of France?", "en"),
        ("It costs $5, or $7 with tax (about 20%).", "en"),
        ('Dr. Smith said: "no"; she left at 9:30 a.m. - and didn\'t return...', "en"),
        ("Is this AC/DC or C++? Yes & no, 50-50!", "en"),
        ("List three animals, e.g. cats.", "en"),
        ("把下面的句子翻译成英文：今天天气很好。", "zh"),
        ("Wie heißt die Hauptstadt von Österreich?", "de"),
    ],
)
def test_ordinary_sentences_are_spoken_as_they_stand(text: str, language: str) -> None:
    assert spoken_text(text, language) == text


def test_lines_are_joined_and_emoji_left_out() -> None:
    assert spoken_text("Hello there 🙂\n\nHow are you?", "en") == "Hello there How are you?"
