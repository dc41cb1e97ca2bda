"""What stands in a prompt, is heard, and is spoken, by modality."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from llaso_data.instruct.compose import (
    Asking,
    Clip,
    SpokenText,
    draw_modality,
    modalities_of,
    outline,
    sample_of,
)
from llaso_data.instruct.rendering import Renderer
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import all_tasks
from llaso_data.records import ESTIMATED, GIVEN, Attribute, Provenance, Source, Speaker, Utterance, digest

ALL = {"text_audio": 1.0, "audio_text": 1.0, "audio": 1.0, "text": 1.0}


def recording(name: str = "one", text: str | None = "hello there", gender: str | None = None) -> Utterance:
    speaker = Speaker(gender=Attribute(gender, GIVEN)) if gender else Speaker()
    id = digest(name)
    return Utterance(
        id=id,
        recording=id,
        source=Source(corpus="c", uri=f"/c/{name}.wav"),
        language="en",
        text=text,
        speaker=speaker,
    )


def row(audio: Utterance | None = None, **labels: Any) -> InstructRow:
    return InstructRow(id=digest("row", *sorted(labels)), labels=labels, audio=audio, language="en")


def asking(**settings: Any) -> Asking:
    return Asking(**{"modalities": ALL, "languages": {"en": 1.0}, "voiced": ("en",), "example_share": 0.0, **settings})


def renderer(name: str) -> Renderer:
    return Renderer(all_tasks(), name)


def test_a_written_instruction_stands_before_the_recording() -> None:
    made = outline(renderer("gender"), row(recording(gender="female")), "text_audio", asking())
    instruction, clip = made.prompt
    assert isinstance(instruction, str)
    assert "female" in instruction
    assert isinstance(clip, Clip)
    assert clip.recording == recording(gender="female")
    assert made.answer == "female"


def test_in_one_clip_the_instruction_is_spoken_before_the_recording() -> None:
    made = outline(renderer("gender"), row(recording(gender="male")), "audio", asking())
    (clip,) = made.prompt
    assert isinstance(clip, Clip)
    spoken, heard = clip.pieces
    assert isinstance(spoken, SpokenText)
    assert spoken.text == made.instruction.text
    assert heard == recording(gender="male")
    assert clip.recording is None


def test_a_spoken_instruction_stands_before_a_text() -> None:
    made = outline(renderer("summary"), row(text="A long story.", summary="Short."), "audio_text", asking())
    clip, text = made.prompt
    assert isinstance(clip, Clip)
    assert [piece.text for piece in made.spoken] == [made.instruction.text]
    assert text == "A long story."


def test_a_question_without_a_recording_is_spoken_alone_or_under_an_instruction() -> None:
    question = row(question="How old is the moon?", answer="4.5 billion years.")
    alone = outline(renderer("aqa"), question, "audio", asking())
    assert alone.prompt == (Clip((SpokenText("How old is the moon?", "en"),)),)
    assert alone.instruction.template is None
    under = outline(renderer("aqa"), question, "text_audio", asking())
    assert under.prompt[1] == alone.prompt[0]
    assert under.prompt[0] == under.instruction.text != ""


def test_a_recording_of_the_question_is_heard_as_it_is() -> None:
    asked = row(recording(text="How old is the moon?"), question="How old is the moon?", answer="Old.")
    (clip,) = outline(renderer("aqa"), asked, "audio", asking()).prompt
    assert isinstance(clip, Clip)
    assert clip.recording is not None


def test_a_question_about_a_recording_is_written_or_spoken_before_it() -> None:
    asked = row(recording(text="The moon is old."), question="What is old?", answer="The moon.")
    written = outline(renderer("aqa"), asked, "text_audio", asking())
    assert written.prompt == ("What is old?", Clip((recording(text="The moon is old."),)))
    (clip,) = outline(renderer("aqa"), asked, "audio", asking()).prompt
    assert isinstance(clip, Clip)
    assert clip.pieces[0] == SpokenText("What is old?", "en")


def test_of_an_instruction_with_an_input_either_is_spoken_or_both() -> None:
    alpaca = row(instruction="Turn it into a question.", context="It rains.", output="Does it rain?")
    one = renderer("instruction_following")
    assert modalities_of(one, alpaca, alpaca.fields(), asking()) == ("text_audio", "audio_text", "audio")
    the_input = outline(one, alpaca, "text_audio", asking())
    assert the_input.prompt == ("Turn it into a question.", Clip((SpokenText("It rains.", "en"),)))
    the_instruction = outline(one, alpaca, "audio_text", asking())
    assert the_instruction.prompt == (Clip((SpokenText("Turn it into a question.", "en"),)), "It rains.")
    (both,) = outline(one, alpaca, "audio", asking()).prompt
    assert isinstance(both, Clip)
    assert [piece.text for piece in both.pieces if isinstance(piece, SpokenText)] == [
        "Turn it into a question.",
        "It rains.",
    ]


def test_what_nobody_can_speak_is_not_asked_aloud() -> None:
    silent = asking(voiced=())
    gender = row(recording(gender="male"))
    assert modalities_of(renderer("gender"), gender, gender.fields(), silent) == ("text_audio",)
    question = row(question="Why?", answer="Because.")
    assert modalities_of(renderer("aqa"), question, question.fields(), silent) == ()
    french = replace(question, language="fr")
    assert modalities_of(renderer("aqa"), french, french.fields(), asking()) == ()


def test_chinese_as_a_region_calls_it_is_spoken_by_a_voice_for_chinese() -> None:
    question = replace(row(question="为什么？", answer="因为。"), language="zh-CN")
    (clip,) = outline(renderer("aqa"), question, "audio", asking(voiced=("en", "zh"))).prompt
    assert clip == Clip((SpokenText("为什么？", "zh"),))


def test_a_spoken_instruction_is_in_a_language_that_a_voice_speaks() -> None:
    gender = row(recording(gender="male"))
    mostly_chinese = asking(languages={"en": 0.01, "zh": 0.99})
    spoken = {
        outline(renderer("gender"), replace(gender, id=digest(n)), "audio", mostly_chinese).instruction.language
        for n in range(20)
    }
    assert spoken == {"en"}


def test_an_answer_may_be_the_recording() -> None:
    made = outline(renderer("text_to_speech"), row(recording(text="Good morning.")), "text", asking())
    assert made.prompt == (f"{made.instruction.text}\nGood morning.",)
    assert made.answer == Clip((recording(text="Good morning."),))
    sample = sample_of(made, [recording(text="Good morning.")], "train")
    assert sample.messages[1].content[0].audio == 0


def test_modalities_are_drawn_by_their_shares() -> None:
    shares = asking(modalities={"text_audio": 3.0, "audio": 1.0})
    rows = [replace(row(recording(gender="male")), id=digest(n)) for n in range(2000)]
    drawn = [draw_modality(("text_audio", "audio"), "gender", one, shares) for one in rows]
    assert 0.72 < drawn.count("text_audio") / len(drawn) < 0.78
    assert drawn == [draw_modality(("text_audio", "audio"), "gender", one, shares) for one in rows]


def test_a_label_that_a_model_estimated_is_not_asked_for_unless_told() -> None:
    estimated = replace(recording(), speaker=Speaker(gender=Attribute("male", ESTIMATED)))
    assert modalities_of(renderer("gender"), row(estimated), row(estimated).fields(), asking()) == ()
    made = outline(renderer("gender"), row(estimated), "text_audio", asking(estimated=True))
    assert made.answer == "male"


def test_a_sample_says_where_it_comes_from_and_what_it_was_made_with() -> None:
    source = Provenance(layout="manifest", file="rows.csv", row=3, kept={"studio": "B"})
    asked = replace(row(recording(), emotion="happy"), provenance=source)
    made = outline(renderer("emotion"), asked, "text_audio", asking(seed=7))
    sample = sample_of(made, [recording()], "test", ["hibari/heart", "hibari/heart"])
    assert sample.split == "test"
    assert sample.provenance == Provenance(
        layout="manifest",
        file="rows.csv",
        row=3,
        template=made.instruction.template,
        voice="hibari/heart",
        seed=7,
        kept={"studio": "B", "modality": "text_audio", "labels": {"emotion": "happy"}},
    )


def test_a_carrier_sentence_may_stand_before_a_clip_that_holds_everything() -> None:
    made = outline(renderer("gender"), row(recording(gender="male")), "audio", asking(carrier_share=1.0))
    carrier, clip = made.prompt
    assert isinstance(carrier, str)
    assert isinstance(clip, Clip)


def test_two_recordings_are_compared() -> None:
    pair = replace(row(recording("a"), same_speaker="different"), second=recording("b"))
    made = outline(renderer("speaker_verification"), pair, "text_audio", asking())
    assert [clip.recording for clip in made.clips] == [recording("a"), recording("b")]
    assert made.answer == "different"


def test_held_out_templates_are_not_used() -> None:
    one = Renderer(all_tasks(), "gender", without=("gender/en/command/", "gender/zh/"))
    forms = {one(row(recording(gender="male")).fields(), digest(n)).form for n in range(50)}
    assert forms == {"question", "scenario", "condition"}


def test_a_row_that_lacks_a_field_or_has_another_value_is_told() -> None:
    one = renderer("emotion")
    assert one.refuses({"audio": 0, "emotion": "hangry"}) is not None
    assert one.refuses({"audio": 0, "emotion": "angry"}) is None
    with pytest.raises(Exception, match="needs emotion"):
        outline(one, row(recording()), "text_audio", asking())


def test_each_turn_has_another_modality_until_all_had_theirs() -> None:
    for number in range(20):
        one = replace(row(text="A story.", summary="Short."), id=digest(number))
        allowed = modalities_of(renderer("summary"), one, one.fields(), asking())
        drawn = [draw_modality(allowed, "summary", one, asking(), turn) for turn in range(2 * len(allowed))]
        assert {*drawn[: len(allowed)]} == {*drawn[len(allowed) :]} == {*allowed}
        assert drawn[0] == draw_modality(allowed, "summary", one, asking())
