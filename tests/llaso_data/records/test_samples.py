"""Samples: a conversation and its audios, checked when it is made, stored and read back unchanged."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.records import ContentPart, Message, Provenance, Sample, Source, Utterance
from tests.llaso_data.records.test_records import text, through_parquet, utterances

USER = Message.of("user", "What is said?", 0)
ANSWER = Message.of("assistant", "Nothing.")


def pointer(name: str) -> Utterance:
    """What a corpus says of a file that nobody has decoded."""
    identity = records.utterance_id("c", name)
    return Utterance(id=identity, recording=identity, source=Source(corpus="c", uri=f"/c/{name}"))


A, B = pointer("a.wav"), pointer("b.wav")

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(text, inner, max_size=2),
    max_leaves=3,
)
provenances = st.builds(
    Provenance,
    layout=st.none() | text,
    file=st.none() | text,
    row=st.none() | st.integers(1, 2**40),
    template=st.none() | text,
    voice=st.none() | text,
    seed=st.none() | st.integers(0, 2**40),
    kept=st.none() | st.dictionaries(text, json_values, max_size=2),
)


@st.composite
def samples(draw: st.DrawFn, heard: st.SearchStrategy[Utterance] = utterances) -> Sample:
    """Conversations in which any role writes and speaks."""
    turns: list[Message] = []
    audios = 0
    for role in draw(st.lists(st.sampled_from(records.ROLES), min_size=1, max_size=3)):
        contents: list[str | int] = []
        for words in draw(st.lists(st.none() | text, min_size=1, max_size=3)):
            contents.append(audios if words is None else words)
            audios += words is None
        turns.append(Message.of(role, *contents))
    return Sample(
        task=draw(st.text("abc", min_size=1, max_size=3)),
        messages=tuple(turns),
        audios=tuple(draw(st.lists(heard, min_size=audios, max_size=audios))),
        language=draw(st.sampled_from([None, "en", "zh-TW"])),
        split=draw(st.sampled_from([None, *records.SPLITS])),
        provenance=draw(st.none() | provenances),
    )


@settings(max_examples=30)
@given(st.lists(samples(), max_size=2))
def test_samples_survive_parquet(made: list[Sample]) -> None:
    table = through_parquet(records.to_table(made, Sample))
    assert records.from_table(table, Sample) == made


@given(samples())
def test_a_sample_survives_json_and_what_says_nothing_is_not_in_it(made: Sample) -> None:
    plain = json.loads(json.dumps(records.to_dict(made)))
    assert records.from_dict(plain, Sample) == made
    assert ("split" in plain, "provenance" in plain) == (made.split is not None, made.provenance is not None)
    for message in plain["messages"]:
        assert all(part.keys() == {"type", part["type"]} for part in message["content"])


def test_an_id_is_of_the_audios_the_task_and_the_messages_and_of_nothing_else() -> None:
    made = Sample(task="asr", messages=(USER, ANSWER), audios=(A,))
    same: list[dict[str, Any]] = [
        {"language": "en"},
        {"split": "test"},
        {"provenance": Provenance(row=3)},
        {"audios": (dataclasses.replace(A, duration_s=1.0, text="x", audio_id="0" * 32),)},
    ]
    other: list[dict[str, Any]] = [
        {"audios": (B,)},
        {"task": "st"},
        {"messages": (USER, Message.of("assistant", "Something."))},
        {"messages": (Message.of("user", 0, "What is said?"), ANSWER)},
        {"messages": (Message.of("system", "What is said?", 0), ANSWER)},
        {"messages": (USER, ANSWER, Message.of("user", 1)), "audios": (A, A)},
    ]
    assert {dataclasses.replace(made, **change).id for change in same} == {made.id}
    assert len({made.id, *(dataclasses.replace(made, **change).id for change in other)}) == 1 + len(other)
    messages = (
        '[{"content":[{"text":"What is said?","type":"text"},{"audio":0,"type":"audio"}],"role":"user"},'
        '{"content":[{"text":"Nothing.","type":"text"}],"role":"assistant"}]'
    )
    assert made.id == records.digest(A.id, "asr", messages)


@pytest.mark.parametrize(
    ("turns", "modality"),
    [
        ((("user", "a", 0), ("assistant", "b")), "text+audio"),
        ((("system", "a"), ("user", "b", 0), ("assistant", 1)), "text+audio"),
        ((("user", 0, 1, "a"), ("assistant", 2), ("user", "b")), "audio+text"),
        ((("user", "a"), ("assistant", 0)), "text"),
        ((("assistant", 0),), ""),
    ],
)
def test_modality_is_what_asks(turns: tuple[Any, ...], modality: str) -> None:
    messages = tuple(Message.of(*turn) for turn in turns)
    count = sum(part.audio is not None for message in messages for part in message.content)
    assert Sample(task="t", messages=messages, audios=(A,) * count).modality == modality


def test_an_utterance_may_be_heard_twice_and_its_duration_counts_as_often() -> None:
    twice = dataclasses.replace(A, duration_s=1.25)
    made = Sample(task="t", messages=(Message.of("user", 0, 1), Message.of("assistant", 2)), audios=(twice, twice, B))
    assert made.duration_s == 2.5


def heard(*messages: Message, audios: int) -> Sample:
    return Sample(task="t", messages=messages, audios=(A,) * audios)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: heard(audios=0), "the task t has no messages"),
        (lambda: heard(USER, audios=0), "message 1 names audio 0; the sample has no audio"),
        (lambda: heard(ANSWER, Message.of("user", 0, 2), audios=2), "message 2 names audio 2; the sample has 2 audios"),
        (lambda: heard(Message.of("user", -1), audios=1), "names audio -1"),
        (lambda: heard(USER, Message.of("assistant", 0), audios=1), "message 2 names audio 0 again"),
        (lambda: heard(Message.of("user", 1, 0), audios=2), "message 1 names audio 1 before audio 0"),
        (lambda: heard(USER, audios=3), "no message names audio 1 of 3"),
        (lambda: heard(ANSWER, audios=1), "no message names audio 0 of 1"),
        (lambda: Message.of("robot", "x"), "by 'robot'; roles are system, user, assistant"),
        (lambda: Message.of("user"), "by user has no content"),
        (lambda: ContentPart(type="image", text="x"), "neither a text nor the number of an audio"),
        (lambda: ContentPart(type="audio", audio=True), "neither a text nor the number of an audio"),
        (lambda: ContentPart(type="text", text="x", audio=0), "neither a text nor the number of an audio"),
        (lambda: Message.of("user", "\ud83d"), "half a surrogate pair"),
        (lambda: Sample(task="", messages=(ANSWER,)), "has no task"),
        (lambda: Sample(task="t", messages=(ANSWER,), split="dev"), "'dev' is none of train, validation, test"),
        (lambda: Provenance(kept={"x": float("nan")}), "cannot be kept as JSON"),
        (lambda: Provenance(kept={"x": "\ud83d"}), "cannot be kept as JSON"),
        (lambda: Provenance(kept={"x": object()}), "cannot be kept as JSON"),
    ],
)
def test_what_is_no_sample_is_refused_with_the_reason(wrong: Any, said: str) -> None:
    with pytest.raises(LLaSOError, match=said):
        wrong()
