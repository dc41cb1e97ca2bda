"""Which voice speaks is drawn by the recipe's weights; what a recipe says of voices is checked before any work."""

from __future__ import annotations

import sys
from collections import Counter
from typing import Any

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.instruct.voices import VOICES
from llaso_data.instruct.voices.drawing import check_voices, choices, draw_voice, languages_spoken, spoken_language
from llaso_data.instruct.voices.variation import Variation
from llaso_data.recipe import Voices


def command(**settings: Any) -> dict[str, Any]:
    return {"arguments": [sys.executable, "--version"], **settings}


def voices(**engines: dict[str, Any]) -> Voices:
    return Voices(engines=engines)


@pytest.fixture
def second_command() -> Any:
    """Another engine of the same kind, as a package of somebody else's would register it."""
    VOICES.register("other", VOICES["command"])
    yield
    VOICES.unregister("other")


@pytest.mark.usefixtures("second_command")
def test_engines_share_a_language_by_weight_and_each_draw_is_a_function_of_its_key() -> None:
    settings = voices(
        command=command(voices={"en": ["a", "b"]}, weight=3), other=command(voices={"en": ["c"], "de": ["d"]})
    )
    known = choices(settings)
    drawn = [draw_voice("Hello.", "en", known, Variation(), "key", number) for number in range(400)]
    names = Counter(one.name for one in drawn)
    assert (
        250 < names["command/a"] + names["command/b"] < 350
        and names["other/c"] == 400 - names["command/a"] - names["command/b"]
    )
    assert drawn == [draw_voice("Hello.", "en", known, Variation(), "key", number) for number in range(400)]
    assert draw_voice("Hallo.", "de", known, Variation(), "key").name == "other/d"
    assert languages_spoken(settings) == {"en", "de"}
    assert [spoken_language(code, known) for code in ("en-GB", "deu", "fr")] == ["en", "de", None]


@pytest.mark.usefixtures("second_command")
def test_voices_that_are_held_out_are_not_drawn() -> None:
    settings = voices(command=command(voices={"en": ["a", "b"]}), other=command(voices={"de": ["d"]}))
    known = choices(settings, ["command/a", "other/d"])
    assert {draw_voice("Hi.", "en", known, Variation(), number).name for number in range(20)} == {"command/b"}
    assert languages_spoken(settings, ["other/d"]) == {"en"}


def test_every_fault_of_the_section_is_said_at_once() -> None:
    settings = Voices(
        engines={
            "hibarri": {},
            "command": command(voices={"en": ["a"]}, weight=-1),
            "piper": {"tone": 3},
            "openai": {"url": "http://localhost:1/v1", "model": "m", "voices": {"en": []}},
        },
        speed=(0.5, 1.0),
    )
    with pytest.raises(LLaSOError) as refused:
        check_voices(settings)
    lines = str(refused.value).splitlines()
    assert len(lines) == 5
    for part in ("voices.speed", "no voice engine 'hibarri'", "voices.engines.command.weight", "'tone'", "voices.en"):
        assert any(part in line for line in lines), part


def test_a_recipe_without_a_voice_to_draw_is_refused() -> None:
    with pytest.raises(LLaSOError, match="weight above 0"):
        check_voices(voices(command=command(voices={"en": ["a"]}, weight=0)))
    check_voices(voices(command=command(voices={"en": ["a"]}, weight=0.5)))


def test_voices_that_an_engine_does_not_have_are_refused_with_those_it_has() -> None:
    pytest.importorskip("hibari")
    check_voices(voices(hibari={"voices": {"en": ["heart"]}, "weight": 2}))
    for wrong, message in (
        ({"en": ["hart"]}, "no voice 'hart'.*heart"),
        ({"fr": ["heart"]}, "speaks no French"),
        ({"en": "heart"}, "a list of names"),
        ({"en": ["heart", "heart"]}, "named twice"),
        (["heart"], "names by language"),
    ):
        with pytest.raises(LLaSOError, match=message):
            check_voices(voices(hibari={"voices": wrong}))
