"""What was spoken is kept only where Whisper hears it; rejections are counted by voice and language."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from llaso_data.instruct.voices import engine
from llaso_data.instruct.voices.cache import Line
from llaso_data.pipeline.listen_back import Heard, Tally, listen_back, tallies
from llaso_data.pipeline.transcription import transcriber
from llaso_data.recipe import Align, Asr, Run
from llaso_data.whisper.load import load

TEXTS = ("Please tell me what the speaker says.", "How many people are talking in this recording?", "Is it raining?")


@pytest.mark.slow
@pytest.mark.skipif(not find_spec("hibari"), reason="hibari is not installed")
def test_what_a_voice_says_is_heard_and_what_it_did_not_say_is_rejected(tiny_en: Path) -> None:
    hibari = engine("hibari")
    pcm = [hibari.speak(text, "en", "heart", 1.0, 0).at_16_khz() for text in TEXTS]
    wanted = [Line(text, "en", "heart") for text in TEXTS]
    # The last two are given another's sound, and silence.
    lines = [*wanted, Line("The weather was lovely yesterday.", "en", "bad"), Line("Is it raining?", "en", "mute")]
    asr = Asr(model=str(tiny_en))
    transcribe = transcriber(load(asr, Run()), asr, Align())
    heard = listen_back(transcribe, lines, [*pcm, pcm[0], np.zeros(16_000, np.int16)])
    assert [one.line for one in heard] == lines
    found = tallies(heard)
    assert found["heart", "en"].rejected == 0 and found["heart", "en"].errors == 0
    assert found["bad", "en"].rejected == found["mute", "en"].rejected == 1


def test_rejections_are_counted_by_voice_and_language() -> None:
    one, two = Line("Good morning to all.", "en", "a"), Line("早上好", "zh", "a")
    heard = [
        Heard(one, "good morning", 0.4, 2, 4),
        Heard(one, "good morning to all", 0.0, 0, 4),
        Heard(two, "早", 0.1, 2, 3),
    ]
    assert tallies(heard) == {("a", "en"): Tally(2, 1, 2, 8), ("a", "zh"): Tally(1, 0, 2, 3)}
    assert tallies(heard, max_cer=0.05)["a", "zh"].rejected == 1
