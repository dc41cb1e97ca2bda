"""Answers aloud: sentences while a text comes, speeds, files in parts, and what cannot be spoken is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_data.text import letters
from llaso_model import cli
from llaso_model.generation import LoadedModel
from llaso_model.voice.answers import generate_speech
from llaso_model.voice.encoding import MEDIA_TYPES, Encoder, closed_wav, encoded
from llaso_model.voice.sentences import LONGEST, Sentences, sentences
from llaso_model.voice.speaking import RATE_HZ, Speaker, speaker_of
from tests.support.served import small_served, tone
from tests.support.training_fixtures import small_tokenizer, write_model


@pytest.fixture(scope="module")
def speaker() -> Speaker:
    pytest.importorskip("hibari")
    return Speaker(aliases={"alloy": "hibari/heart"})


def test_sentences_end_where_people_pause() -> None:
    text = 'Dr. Smith left at 3.5 p.m. today. "Really?" he said! Well then\n\nA new one… Ende。好的。 No. 5'
    assert sentences(text) == [
        "Dr. Smith left at 3.5 p.m. today.",
        '"Really?" he said!',
        "Well then",
        "A new one…",
        "Ende。",
        "好的。",
        "No. 5",
    ]


@given(st.text(st.sampled_from("ab .,!?\n。好"), max_size=900), st.integers(1, 40))
def test_a_text_that_comes_in_pieces_is_cut_as_a_whole_one_and_nothing_is_lost(text: str, size: int) -> None:
    cut = Sentences()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    found = [sentence for piece in pieces for sentence in cut.read(piece)] + cut.finish()
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(letters(one) <= LONGEST for one in found)


def test_speed_changes_how_long_a_sentence_takes_and_code_is_not_spoken(speaker: Speaker) -> None:
    lengths = {speed: len(speaker.speak("Please open the window.", "alloy", speed).pcm) for speed in (0.25, 1.0, 4.0)}
    assert lengths[0.25] / lengths[1.0] == pytest.approx(4, rel=0.1)
    assert lengths[1.0] / lengths[4.0] == pytest.approx(4, rel=0.15)
    unspoken = speaker.speak("print(x == y)")
    assert unspoken.reason == "code" and not len(unspoken.pcm)
    for wrong in ("nobody", "hibari/nobody", "piper"):
        with pytest.raises(LLaSOError, match="hibari/heart"):
            speaker.check(wrong)
    with pytest.raises(LLaSOError, match="speed"):
        speaker.speak("Hello.", speed=9)


@pytest.mark.parametrize("form", MEDIA_TYPES)
def test_a_file_that_is_encoded_in_parts_has_all_samples(form: str) -> None:
    pcm, encoder = tone(1.0, RATE_HZ), Encoder(form)
    data = b"".join(encoder.encode(pcm[at : at + 7001]) for at in range(0, len(pcm), 7001)) + encoder.finish()
    if form == "pcm":
        assert data == pcm.tobytes() == encoded(pcm, form)
        return
    if form == "wav":
        assert closed_wav(data) == encoded(pcm, form)
    assert len(audio.decode_bytes(data)) / 16_000 == pytest.approx(1.0, abs=0.1)


def test_voices_of_a_file_are_checked(tmp_path: Path, speaker: Speaker) -> None:
    file = tmp_path / "voices.yaml"
    file.write_text("engines: {hibari: {}}\naliases: {alloy: hibari}\ndefault: alloy\n")
    assert speaker_of(None, str(file)).names == ["alloy", "hibari/heart"]
    for text, problem in (
        ("voice: hibari\n", "voice is not known"),
        ("aliases: {alloy: nobody}\n", "nobody"),
        ("aliases: {alloy: nova, nova: hibari}\n", "aliases.alloy"),
        ("aliases: {alloy: null}\n", "aliases.alloy"),
        ("aliases: {3: hibari}\n", "aliases.3"),
        ("aliases: {default: hibari}\n", "`default`"),
        ("engines: {hibari: fast}\n", "engines.hibari is a table"),
        ("default: 5\n", "default is the name of a voice"),
    ):
        file.write_text(text)
        with pytest.raises(LLaSOError, match=problem):
            speaker_of(None, str(file))


def test_an_answer_is_spoken_sentence_by_sentence(speaker: Speaker) -> None:
    served = small_served()
    loaded = LoadedModel(served.engine.backend.model, served.processor)  # type: ignore[attr-defined]
    conversation = served.processor.instruction("What?", [tone(1.0).astype(np.float32) / 32768])
    spoken = list(generate_speech(loaded, conversation, speaker=speaker, max_new_tokens=12))
    (text,) = loaded.answer([conversation], max_new_tokens=12)
    assert " ".join(one.text for one in spoken) == text.strip()
    assert all(len(one.pcm) or one.problem for one in spoken)


@pytest.mark.slow
def test_speak_writes_an_answer(tmp_path: Path, speaker: Speaker) -> None:
    write_model(tmp_path / "model", small_tokenizer())
    (tmp_path / "a.wav").write_bytes(encoded(tone(1.0, RATE_HZ), "wav"))
    arguments = ["speak", str(tmp_path / "model"), str(tmp_path / "a.wav"), "--max-new-tokens", "12"]
    ran = CliRunner().invoke(cli.main, [*arguments, "--out", str(tmp_path / "said.mp3")])
    assert ran.exit_code in (0, 1) and (tmp_path / "said.mp3").exists(), ran.output  # 1: a sentence is not speakable
    again = CliRunner().invoke(cli.main, [*arguments, "--out", str(tmp_path / "said.mp3")])
    assert again.exit_code == 2 and "exists" in again.output
