"""Records: stored and read back unchanged, rounded alike everywhere, named by ids that never change."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import pickle
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data import records
from llaso_data.errors import AudioError
from llaso_data.records import (
    Attribute,
    Failure,
    Scores,
    Source,
    Speaker,
    Utterance,
    Verdict,
    Word,
    digest,
    from_dict,
    from_table,
    rounded,
    schema,
    to_dict,
    to_table,
    utterance_id,
)

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
number = st.floats(allow_nan=False, allow_infinity=False)
attribute = st.builds(Attribute, text, text)
scores = st.builds(
    Scores,
    **{f.name: st.none() | number for f in dataclasses.fields(Scores) if f.name != "extra"},
    extra=st.dictionaries(text, number, max_size=3).map(lambda extra: dict(sorted(extra.items()))),
)
utterances = st.builds(
    Utterance,
    id=text,
    recording=text,
    source=st.builds(
        Source,
        corpus=text,
        uri=text,
        member=st.none() | text,
        start_s=st.none() | number,
        end_s=st.none() | number,
        sampling_rate_hz=st.none() | st.integers(1, 10**6),
        channels=st.none() | st.integers(1, 64),
    ),
    audio_id=st.none() | text,
    duration_s=st.none() | number,
    language=st.none() | text,
    language_origin=text,
    text=st.none() | text,
    text_origin=text,
    hypothesis=st.none() | text,
    words=st.lists(st.builds(Word, text, number, number, st.none() | number), max_size=3).map(tuple),
    speaker=st.builds(Speaker, attribute, attribute, attribute, attribute),
    environment=attribute,
    decoding=st.none() | text,
    scores=scores,
    failure=st.none() | st.builds(Failure, text, text),
)
verdicts = st.builds(
    Verdict,
    id=text,
    verdict=text,
    rule=st.none() | text,
    value=st.none() | number,
    threshold=st.none() | number,
    duplicate_of=st.none() | text,
    audited=st.booleans(),
)


def through_parquet(table: pa.Table) -> pa.Table:
    file = io.BytesIO()
    pq.write_table(table, file)
    return pq.read_table(file)


@given(st.lists(utterances, max_size=4))
def test_utterances_survive_parquet(found: list[Utterance]) -> None:
    assert from_table(through_parquet(to_table(found, Utterance)), Utterance) == found


@given(st.lists(verdicts, max_size=4))
def test_verdicts_survive_parquet(found: list[Verdict]) -> None:
    assert from_table(through_parquet(to_table(found, Verdict)), Verdict) == found


@given(utterances)
def test_an_utterance_survives_json(found: Utterance) -> None:
    assert from_dict(json.loads(json.dumps(to_dict(found))), Utterance) == found


@given(utterances)
def test_an_utterance_survives_the_way_to_another_process(found: Utterance) -> None:
    there = pickle.loads(pickle.dumps(found))
    assert there == found and records.canonical(there) == records.canonical(found)


def test_scores_of_nothing_have_one_canonical_text() -> None:
    assert records.canonical(records.Scores()) == records.canonical(records.Scores(extra={})) == '{"extra":{}}'
    assert '"scores":{"extra":{}}' in records.canonical(
        records.Utterance(id="a", recording="a", source=Source(corpus="c", uri="u"))
    )


def test_every_field_is_one_column_and_null_only_where_it_says_so() -> None:
    stored = schema(Utterance)
    assert stored.names == [field.name for field in dataclasses.fields(Utterance)]
    assert not stored.field("id").nullable and stored.field("text").nullable
    assert stored.field("scores").type.field("extra").type == pa.map_(pa.string(), pa.float64())
    assert stored.field("words").type.value_type.field("logprob").nullable


@given(utterances)
def test_rounding_changes_what_it_should_and_only_once(found: Utterance) -> None:
    once = rounded(found)
    assert rounded(once) == once
    assert dataclasses.replace(once, words=found.words, scores=found.scores) == found
    for name, value in dataclasses.asdict(once.scores).items():
        if isinstance(value, float):
            assert value == round(value, 4) and abs(value - getattr(found.scores, name)) <= max(
                5.1e-5, abs(value) / 1e9
            )
    assert all(word.start_s == round(word.start_s, 3) for word in once.words)


def test_rounding_leaves_no_negative_zero_and_no_foreign_number() -> None:
    import numpy as np

    loose = Utterance(
        id="i",
        recording="i",
        source=Source(corpus="c", uri="u"),
        words=(Word("w", np.float32(0.1), np.float32(0.2), np.float32(-0.3)),),
        scores=Scores(avg_logprob=-0.00001, extra={"b": -0.0, "a": 1.23456}),
    )
    kept = rounded(loose)
    assert kept.words == (Word("w", 0.1, 0.2, -0.3),)
    assert math.copysign(1, kept.scores.avg_logprob or 0.0) == 1
    assert list(kept.scores.extra.items()) == [("a", 1.2346), ("b", 0.0)]
    assert math.copysign(1, kept.scores.extra["b"]) == 1


@pytest.mark.parametrize(
    ("parts", "id"),
    [
        (("corpus", "a/b.wav"), "7550f24301a0219cb18be5b5f0a67d3e"),
        (("corpus", "a.tar", "b.wav"), "2da5ce598d8ea11228d0deb29e02d278"),
        (("corpus", "a.wav", None, 1.5, None), "66759a2cd7a2b27a5efdc9c98e030a28"),
        (("corpus", "a.wav", None, None, 2.0), "b591d2b7f70dd7d63ad5529befa44db8"),
    ],
)
def test_ids_do_not_change_between_releases(parts: tuple[Any, ...], id: str) -> None:
    assert utterance_id(*parts) == id


def test_what_is_different_has_another_id() -> None:
    different: list[tuple[Any, ...]] = [
        ("c", "ab"),
        ("ca", "b"),
        ("c", "a", "b"),
        ("c", "ab", None, 0.0, None),
        ("c", "ab", None, None, 1.0),
        ("c", "ab", None, 1.0, 2.0),
        ("c", "ab", ""),
    ]
    assert len({utterance_id(*parts) for parts in different}) == len(different)


@given(st.lists(st.none() | text, max_size=4), st.lists(st.none() | text, max_size=4))
def test_digests_of_different_parts_differ(one: list[str | None], other: list[str | None]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


def test_a_failure_is_named() -> None:
    broken = records.failed(Utterance(id="i", recording="i", source=Source(corpus="c", uri="u")), "missing", "no file")
    assert broken.failure == Failure("missing", "no file")


def test_an_audio_error_comes_whole_out_of_a_worker() -> None:
    error = pickle.loads(pickle.dumps(AudioError("missing", "a.wav: no such file")))
    assert (type(error), error.reason, error.detail, str(error)) == (
        AudioError, "missing", "a.wav: no such file", "a.wav: no such file",
    )  # fmt: skip
