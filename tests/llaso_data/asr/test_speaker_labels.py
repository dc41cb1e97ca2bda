"""Names of speakers in transcripts: nobody says them, and they say who speaks."""

from __future__ import annotations

import dataclasses

import pytest

from llaso_data.asr.speaker_labels import speaker_turns
from llaso_data.asr.texts import assign_given, with_hypothesis
from llaso_data.records import GIVEN, Attribute, Source, Speaker, Utterance

SAID = ["We went home before it rained.", "Nobody told me about it.", "That is what I said."]


def given(text: str, of: str = "r", **more: object) -> Utterance:
    name = f"{of}{len(text)}"
    plain = Utterance(id=name, recording=of, source=Source(corpus="c", uri="a.wav"), language="en")
    return dataclasses.replace(plain, text=text, text_origin=GIVEN, **more)


@pytest.mark.parametrize(
    "labels",
    [
        ("ANN: ", "BOB: ", "ANN: "),
        ("Dr. Smith: ", "Mrs. Jones: ", "Dr. Smith: "),
        ("SPEAKER 1: ", "SPEAKER 2: ", "SPEAKER 1: "),
        ("[Ann]: ", "[Bob]: ", "[Ann]: "),
        ("(Ann): ", "(Bob): ", "(Ann): "),
        ("Q: ", "A: ", "Q: "),
        ("Man on phone:", "Woman:", "Man on phone:"),
    ],
)
def test_labels_are_taken_off_and_kept_as_the_speakers(labels: tuple[str, ...]) -> None:
    text = " ".join(label + said for label, said in zip(labels, SAID, strict=True))
    segments = [dataclasses.replace(given(text), id=str(n), hypothesis=said.lower()) for n, said in enumerate(SAID)]
    assign_given(segments, [0, 1, 2])
    assert [one.text for one in segments] == SAID
    names = [label.strip("[]() :") for label in labels]
    generic = {"SPEAKER 1", "SPEAKER 2", "Q", "A", "Woman"}  # others in each recording
    assert [one.speaker.id for one in segments] == [
        Attribute(f"r/{name}" if name in generic else name, GIVEN) for name in names
    ]
    assert all(one.text_given is None for one in segments)


def test_what_is_heard_is_no_label() -> None:
    text = "Note: we went home. Remember: it rained."
    assert speaker_turns(text, ["note we went home", "remember it rained"], "en").cleaned.text == text
    assert speaker_turns("他说：你好。", ["他说你好"], "zh").cleaned.text == "他说：你好。"
    assert speaker_turns("At 9:30 EU:n kokous: alkoi.", ["at 9:30 eu:n kokous alkoi"], "fi").starts == ()


def test_a_name_that_was_misheard_stays_unless_the_others_are_labels() -> None:
    assert speaker_turns("Shivon: we went home.", ["siobhan we went home"], "en").starts == ()
    assert speaker_turns("ANN: ... we went home.", ["we went home"], "en").starts == ((0, "ANN"),)
    many = "ANN: we went home. BOB: nobody came. ANN: it rained."
    assert len(speaker_turns(many, ["um we went home", "nobody came", "it rained"], "en").starts) == 3


def test_without_hearing_only_the_form_tells() -> None:
    assert speaker_turns("ANN: yes. [Bob]: no.", None, "en").cleaned.text == "ANN: yes. no."


def test_a_segment_of_two_speakers_has_none_and_a_stated_speaker_stays() -> None:
    text = "ANN: we went home. BOB: nobody came."
    one = with_hypothesis(dataclasses.replace(given(text), recording=f"r{len(text)}"), "we went home nobody came")
    assert one.text == "we went home. nobody came." and one.text_given == text
    assert one.speaker.id == Attribute()
    stated = given("ANN: we went home.", of="s", speaker=Speaker(id=Attribute("7", GIVEN)))
    stated = dataclasses.replace(stated, recording=stated.id)
    assert with_hypothesis(stated, "we went home").speaker.id.value == "7"
    assert with_hypothesis(given("ANN: we went home.", recording=None), "x").text == "ANN: we went home."


def test_a_part_keeps_what_the_corpus_says_of_it() -> None:
    said = "<v Ann>We went <i>home</i> before it rained. [noise] <v Bob>Nobody told me about it."
    from llaso_data.text.markup import clean

    whole = dataclasses.replace(given(clean(said).text), text_given=said)
    segments = [dataclasses.replace(whole, id=str(n), hypothesis=SAID[n]) for n in range(2)]
    assign_given(segments, [0, 1])
    assert [one.text for one in segments] == SAID[:2]
    assert [one.text_given for one in segments] == ["We went <i>home</i> before it rained.", None]
    assert [one.speaker.id.value for one in segments] == ["Ann", "Bob"]
