"""Instructions of rows: what is drawn, what is refused, and that answers are right for the scorer."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_data.instruct import listing
from llaso_data.instruct.fields import fields_of
from llaso_data.instruct.rendering import Renderer, templates_of
from llaso_data.instruct.tasks import all_tasks
from llaso_data.records import GIVEN, Attribute, Source, Speaker, Utterance
from llaso_model.evaluate.datasets.layouts import Prediction
from llaso_model.evaluate.kinds import KINDS
from tests.conftest import Clip
from tests.support.made_up_labels import write_table

TASKS = all_tasks()
SPOKEN = Utterance(
    id="1",
    recording="1",
    source=Source(corpus="c", uri="a.wav"),
    text="Good morning",
    speaker=Speaker(
        gender=Attribute("female", GIVEN),
        age_range=Attribute("40-49", GIVEN),
        accent=Attribute("united-states", GIVEN),
    ),
)


def test_what_an_utterance_says_of_itself_feeds_the_tasks() -> None:
    fields = fields_of(SPOKEN, {"emotion": "happy"})
    said = {name: Renderer(TASKS, name)(fields, "1", languages={"en": 1}).answer for name in ("asr", "gender", "age")}
    assert said == {"asr": "Good morning", "gender": "female", "age": "forties"}
    chinese = {name: Renderer(TASKS, name)(fields, "1", languages={"zh": 1}).answer for name in ("age", "emotion")}
    assert chinese == {"age": "四十多岁", "emotion": "快乐"}
    able = {name for name in TASKS.build if not Renderer(TASKS, name).lacks(fields)}
    assert able == {"asr", "gender", "age", "accent", "emotion", "text_to_speech"}
    assert Renderer(TASKS, "gender").lacks({}) == ["audio", "gender"]
    assert "audio" not in fields_of(replace(SPOKEN, failure=object()))  # type: ignore[arg-type]


def test_a_tenth_is_chinese_and_every_template_and_order_of_options_is_drawn() -> None:
    renderer = Renderer(TASKS, "emotion")
    drawn = [renderer({"audio": 1, "emotion": "joy"}, str(number), seed=5) for number in range(3000)]
    assert 0.07 < sum(one.language == "zh" for one in drawn) / len(drawn) < 0.13
    assert 0.22 < sum(one.has_example for one in drawn) / len(drawn) < 0.28
    assert {one.template for one in drawn} == {one.id for one in templates_of(TASKS, "emotion")}
    first = Counter(one.options[0] for one in drawn if one.language == "en")
    assert len(first) == 7 and min(first.values()) > 0.7 * max(first.values())


def test_an_instruction_is_a_function_of_task_row_and_seed_and_tells_nothing_of_the_answer() -> None:
    for name in TASKS.build:
        renderer, answer = Renderer(TASKS, name), TASKS.build[name].answer.field
        rows = [{**listing.made_up(TASKS, name), answer: value[answer]} for value in _rows(name)]
        modality = renderer.build.modalities[0]
        assert len({renderer(row, "1", 2, modality).text for row in rows}) == 1
        assert renderer(rows[0], "1", 2, modality) == renderer(rows[0], "1", 2, modality)
        assert len({renderer(rows[0], str(number), 2, modality).text for number in range(20)}) > 5


def _rows(name: str) -> list[dict[str, object]]:
    return [listing.made_up(TASKS, name, number) for number in range(3)]


SCORES = {
    "word_scores": [{"word": "Guten", "accuracy": 9, "stress": 10, "total": 9}],
    "sentence_scores": {"accuracy": 9, "prosody": 8, "fluency": 7, "total": 8},
}


@pytest.mark.parametrize("name", [name for name, build in TASKS.build.items() if build.scored_as])
def test_what_is_built_is_right_for_the_scorer(name: str) -> None:
    renderer, set_ = Renderer(TASKS, name), TASKS.set_of(name)
    assert set_ is not None
    declared = TASKS.sets[set_]
    labels = TASKS.labels[declared.labels] if renderer.build.answer.form == "label" and declared.labels else [""]
    predictions = []
    for number in range(len(labels)):
        for language in ("en", "zh"):
            row = {**listing.made_up(TASKS, name, number), **SCORES}
            said = renderer(row, "1", languages={language: 1})
            assert said.answer is not None
            # The reference is the label itself: it can be read in each language's words.
            reference = list(labels)[number] or said.answer
            predictions.append(Prediction("s", set_, f"{number}{language}", said.text, reference, said.answer, "row 1"))
    assert {row.error for row in KINDS[declared.kind].score(declared, TASKS, predictions)} == {0.0}


def test_what_a_task_cannot_ask_is_refused_with_the_reason() -> None:
    gender = Renderer(TASKS, "gender")
    with pytest.raises(LLaSOError, match="task gender needs gender; the row has audio"):
        gender({"audio": 1}, "1")
    with pytest.raises(LLaSOError, match="gender 'other' is no label of gender; they are male, female"):
        gender({"audio": 1, "gender": "other"}, "1")
    with pytest.raises(LLaSOError, match="task gender is asked as text_audio, audio, not as audio_text"):
        gender({"audio": 1, "gender": "male"}, "1", modality="audio_text")
    with pytest.raises(LLaSOError, match="pitch '200' is no number from 0 to 127"):
        Renderer(TASKS, "pitch")({"audio": 1, "pitch": "200"}, "1")
    with pytest.raises(LLaSOError, match="the score stress is None; it should be a number from 0 to 10"):
        row = {"audio": 1, "text": "Hi", "word_scores": [{"word": "Hi", "accuracy": 1}]}
        Renderer(TASKS, "pronunciation_word")(row, "1")


def test_a_question_that_is_heard_stands_alone_or_with_a_template() -> None:
    row = {"question": "How late is it?", "answer": "It is noon."}
    alone = Renderer(TASKS, "aqa")(row, "1", modality="audio")
    assert (alone.text, alone.template, alone.answer) == ("", None, "It is noon.")
    beside = Renderer(TASKS, "aqa")(row, "1")
    assert beside.text and beside.provenance.template == beside.template and beside.provenance.seed == 0


def test_what_goes_in_is_heard_or_read_and_a_language_has_its_name() -> None:
    row = {"text": "Good day", "translation": "Guten Tag", "target_language": "de"}
    renderer = Renderer(TASKS, "translation")
    heard, read = (renderer(row, "7", modality=modality, example_share=0) for modality in ("text_audio", "audio_text"))
    assert heard.template == read.template and heard.text != read.text
    assert "German" in read.text and "text" in read.text
    assert "德语" in renderer(row, "7", languages={"zh": 1}).text


PAIR = {"audio": 1, "text": "it rains", "speaker": "s", "audio_2": 2, "text_2": "it snows"}


def test_an_instruction_to_refuse_has_a_twin_of_the_same_draws_that_can_be_followed() -> None:
    for name in ("ambiguous", "contradictory", "impossible", "out_of_scope"):
        render = Renderer(TASKS, name)
        for number in range(40):
            refused, followed = (render(PAIR, f"{number}", answerable=answerable) for answerable in (False, True))
            assert (refused.template, refused.language) == (followed.template, followed.language)
            assert refused.answer in render.build.replies[refused.language] and refused.clips == 1
            assert refused.expected == render.build.expects and followed.expected == "answer"
            assert followed.answer == ("it rains" if followed.clips == 1 else "it snows")
            assert (refused.text == followed.text) == (followed.clips == 2)  # then the clips alone say it


def test_of_one_recording_no_words_alone_say_that_one_cannot_answer() -> None:
    render, one = Renderer(TASKS, "impossible"), {name: PAIR[name] for name in ("audio", "text", "speaker")}
    drawn = [render(one, f"{number}") for number in range(60)]
    assert {asked.expected for asked in drawn} == {"answer", "refusal"}
    assert all(asked.clips == 1 for asked in drawn)
    assert {asked.template for asked in drawn if asked.expected == "answer"} <= {
        template.id for template in templates_of(TASKS, "impossible") if template.twin
    }


def test_a_table_with_made_up_labels_feeds_every_task(tmp_path: Path, clips: list[Clip]) -> None:
    table = write_table(tmp_path, clips, TASKS).read_text(encoding="utf-8")
    rows = [json.loads(line) for line in table.splitlines()]
    assert all((tmp_path / row["audio"]).is_file() for row in rows)
    for name in TASKS.build:
        renderer = Renderer(TASKS, name)
        for modality in renderer.build.modalities:
            asked = [renderer(row, str(number), modality=modality) for number, row in enumerate(rows)]
            assert all(one.text or renderer.build.asks_itself for one in asked), (name, modality)
