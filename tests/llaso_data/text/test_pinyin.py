"""Mandarin compared by syllables: characters that sound alike are no error, another tone is half of one."""

from __future__ import annotations

import pytest

from llaso_data.instruct.voices.cache import Line
from llaso_data.pipeline.listen_back import Heard
from llaso_data.text.pinyin import syllable_error_rates, version

pytestmark = pytest.mark.skipif(version() is None, reason="pypinyin is not installed")


@pytest.mark.parametrize(
    ("reference", "hypothesis", "with_tones", "without"),
    [
        ("请按照录音中的指示去做。", "請按照錄音中的,只是去做", 0.0, 0.0),  # homophones, the other script
        ("请读出以下这句话", "请读出一下这句话", 1 / 8, 0.0),  # another tone
        ("请打开窗户", "请打开门", 2 / 5, 2 / 5),  # other words
        ("从0到10分", "從零到十分", 0.0, 0.0),  # numbers
        ("重要", "中药", 1 / 2, 0.0),
        ("用MIDI表示", "用midi表示", 0.0, 0.0),
        ("你好", "", 1.0, 1.0),
        ("", "", 0.0, 0.0),
    ],
)
def test_syllables(reference: str, hypothesis: str, with_tones: float, without: float) -> None:
    assert syllable_error_rates(reference, hypothesis) == (with_tones, without)


def test_a_wrong_tone_counts_half() -> None:
    line = Line("请读出以下这句话", "zh", "a")
    assert Heard(line, "", 0.25, 1, 8, syllables=0.125, toneless=0.0).error_rate == 0.0625
    assert Heard(line, "", 0.25, 1, 8).error_rate == 0.25
