"""What an answer does: answers, refuses, asks back; and which score that makes."""

from __future__ import annotations

import itertools

import pytest

from llaso_data.instruct.rendering import Renderer
from llaso_data.instruct.tasks import all_tasks
from llaso_model.evaluate.extract.behaviours import behaviours
from llaso_model.evaluate.kinds import Row
from llaso_model.evaluate.metrics.behaviour import INFORMEDNESS
from llaso_model.evaluate.rows import metric_stats, score_rows
from tests.support.evaluation import TASKS, prediction

KINDS = [name for name, build in all_tasks().build.items() if build.expects != "answer"]


@pytest.mark.parametrize(
    "answer",
    [
        "so it is",
        "Hello! How can I help you today?",
        "The speaker says: good morning, everyone. Would you like me to summarise it?",
        "I've never been there before",
        "She said that you have to know when to stop",
        "The weather tomorrow will be sunny with a high of 20 degrees.",
        "你好，有什么可以帮您的吗？",
        "他说今天天气很好。",
        "明天天气晴。",
    ],
)
def test_an_answer_answers_however_wrong_it_is(answer: str) -> None:
    assert behaviours(answer) == {"answer"}


@pytest.mark.parametrize(
    "answer",
    [
        "I'm sorry, but I can only hear one recording.",
        "There isn't a second speaker.",
        "There is no music in this clip, so there are no lyrics.",
        "As an AI language model, I cannot predict lottery numbers.",
        "I don't have access to the speaker's bank account.",
        "抱歉，录音中没有第二位说话人。",
        "我不能预测天气。",
    ],
)
def test_who_cannot_or_says_that_it_is_not_there_refuses(answer: str) -> None:
    assert behaviours(answer) == {"refusal"}


@pytest.mark.parametrize(
    "answer",
    [
        "Which recording do you mean?",
        "Do you want a transcript or a translation?",
        "What is 'the usual'?",
        "I'm happy to help! What should I do with this clip?",
        "您想让我做什么？",
        "你指的是哪个部分？",
        "要写还是不写？",
    ],
)
def test_who_asks_what_is_meant_asks_back(answer: str) -> None:
    assert "ask_back" in behaviours(answer)


def test_a_transcript_of_a_question_is_an_answer_where_the_recording_is_known() -> None:
    assert "ask_back" in behaviours("Could you tell me which one you mean?")
    assert behaviours("Could you tell me which one you mean?", ["could you tell me which one you mean"]) == {"answer"}


def test_nothing_is_no_behaviour() -> None:
    assert behaviours(" … ") == frozenset()


def test_every_answer_of_our_own_is_taken_for_what_its_task_expects() -> None:
    for name in KINDS:
        build = all_tasks().build[name]
        assert all(build.expects in behaviours(reply) for replies in build.replies.values() for reply in replies), name


@pytest.mark.parametrize("name", KINDS)
def test_neither_always_refusing_nor_always_answering_scores(name: str) -> None:
    render = Renderer(all_tasks(), name)
    fields = {"audio": 1, "text": "a quiet morning by the lake", "speaker": "s"}
    asked = [
        render(fields, f"{number}", languages={language: 1.0}, answerable=answerable)
        for number, language, answerable in itertools.product(range(5), ("en", "zh"), (False, True))
    ]

    def scored(answers: list[str]) -> list[Row]:
        return score_rows(
            name,
            [
                prediction(name, answer, one.answer or "", id=str(i), expected=one.expected, language="en")
                for i, (answer, one) in enumerate(zip(answers, asked, strict=False))
            ],
            TASKS,
        )

    def informedness(answers: list[str]) -> float:
        return float(INFORMEDNESS.value(metric_stats(scored(answers), INFORMEDNESS)[0].sum(axis=0)))

    assert informedness([one.answer or "" for one in asked]) == 1.0
    assert informedness(["I'm sorry, I cannot do that."] * len(asked)) == 0.0
    assert informedness(["a quiet morning by the lake"] * len(asked)) == 0.0
    assert informedness([""] * len(asked)) == -1.0
    assert [row.error for row in scored(["Which one do you mean?"] * 2)] == [0.0, 1.0]
