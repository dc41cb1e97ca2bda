"""A voice at an address: what it gives is speech, or the text is refused with a reason, in a bounded time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import SpeechError, engine
from llaso_data.instruct.voices.cache import Line, VoiceCache
from tests.support.speech_endpoint import TONE, speaking


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    pytest.importorskip("openai")
    with speaking() as url:
        yield url


@pytest.mark.parametrize("kind", ["good", "endless", "unsaid"])
def test_a_streamed_file_has_all_its_samples_whatever_its_header_says(address: str, kind: str) -> None:
    voice = engine("openai", {"url": f"{address}/{kind}/v1", "model": "m", "voices": {"en": ["ann"]}})
    assert np.array_equal(voice.speak("Hello.", "en", "ann", 1.0, 0).pcm, TONE)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("html", "bad_sound"),
        ("rate", "bad_sound"),
        ("numbers", "bad_sound"),
        ("empty", "no_sound"),
        ("long", "too_long"),
        ("nowhere", "engine_failed"),
        ("busy", "engine_failed"),
        ("gateway", "engine_failed"),
        ("cut", "engine_failed"),
        ("zipped", "engine_failed"),
        ("slow", "engine_failed"),
        ("drip", "engine_failed"),
        ("dead", "engine_failed"),
    ],
)
def test_what_is_no_speech_has_a_reason_and_ends_in_time(
    address: str, kind: str, reason: str, tmp_path: object
) -> None:
    url = "http://127.0.0.1:1/v1" if kind == "dead" else f"{address}/{kind}/v1"
    voice = engine("openai", {"url": url, "model": "m", "voices": {"en": ["ann"]}, "timeout_s": 1})
    with pytest.raises(SpeechError) as refused:
        VoiceCache(str(tmp_path)).speak("openai", voice, Line("Hello.", "en", "ann"))
    assert refused.value.reason == reason


def test_a_time_that_is_none_is_refused() -> None:
    settings = {"url": "http://127.0.0.1:1/v1", "model": "m", "voices": {"en": ["ann"]}}
    for wrong in (0, -1, "soon"):
        with pytest.raises(LLaSOError, match="timeout_s"):
            engine("openai", {**settings, "timeout_s": wrong})
