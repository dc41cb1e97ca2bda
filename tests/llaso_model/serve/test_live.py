"""What of a hypothesis is confirmed, where words are complete, and where speech starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llaso_data.audio import SAMPLE_RATE_HZ, to_float32
from llaso_model.engine.requests import Request, Sampling
from llaso_model.serve.answering import Answering
from llaso_model.serve.live import POLICIES
from llaso_model.serve.live.item import LiveItem, LiveModel
from llaso_model.serve.live.policies import GUARD_S, Hypothesis, attention, local_agreement, word_boundaries
from llaso_model.serve.live.turns import TurnDetector
from llaso_model.serve.realtime_settings import AudioReader
from tests.support.served import small_served, tone

PIECES = ["Hello", " the", "re", ",", " you", " all", "你", "好", "吗", " wor", "ld", "."]


def decode(tokens: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in tokens)


def hypothesis(tokens: Sequence[int], heard_s: Sequence[float] = (), audio_s: float = 5.0) -> Hypothesis:
    boundaries = tuple(word_boundaries(decode, (), tokens))
    return Hypothesis(tuple(tokens), boundaries, tuple(heard_s), round(audio_s * SAMPLE_RATE_HZ))


def test_a_word_is_complete_when_another_begins() -> None:
    assert word_boundaries(decode, (), [0, 1, 2, 3, 4]) == [1, 4]  # not before the comma, not at the end
    assert word_boundaries(decode, (), [6, 7, 8]) == [1, 2]  # characters of a script without spaces
    assert word_boundaries(decode, (0,), [1, 2, 5]) == [2]
    assert word_boundaries(decode, (), []) == []


def test_where_the_model_has_ended_the_last_word_is_complete_but_not_the_marks_after_it() -> None:
    assert word_boundaries(decode, (), [0, 9, 10], is_whole=True) == [1, 3]
    assert word_boundaries(decode, (), [0, 9, 10, 11], is_whole=True) == [1, 3]
    assert word_boundaries(decode, (0, 9, 10), [11], is_whole=True) == []
    assert word_boundaries(decode, (), [6, 7], is_whole=True) == [1, 2]
    assert word_boundaries(decode, (), [], is_whole=True) == []


def test_what_is_left_of_a_hypothesis_keeps_its_boundaries_and_times() -> None:
    whole = hypothesis([0, 1, 2, 4, 5], [1.0, 2.0, 2.2, 3.0, 4.0])
    left = whole.after(3)
    assert (left.tokens, left.boundaries, left.heard_s) == ((4, 5), (1,), (3.0, 4.0))
    assert left.samples == whole.samples and left.heard_to_s == 2.0  # two tokens have reached it, one 2.2


def test_attention_confirms_nothing_of_what_is_said_again() -> None:
    tokens = [0, 1, 4, 5, 1, 4, 5]
    assert attention(None, hypothesis(tokens, [1.0, 1.4, 2.0, 3.0, 3.4, 3.5, 3.6])) == 6
    assert attention(None, hypothesis(tokens, [1.0, 1.4, 2.0, 3.6, 3.9, 1.2, 1.5])) == 5
    assert attention(None, hypothesis(tokens, [1.0, 1.4, 4.2, 1.6, 2.0, 2.1, 2.4])) == 6  # one is far off
    assert attention(None, replace(hypothesis([0, 4, 5], [1.0, 1.4, 1.6]), heard_to_s=3.5)) == 0
    assert attention(None, replace(hypothesis([0, 4, 5], [2.0, 2.4, 2.6]), heard_to_s=3.5)) == 2


def test_agreement_confirms_whole_words_that_two_hypotheses_share() -> None:
    assert local_agreement(None, hypothesis([0, 1, 2, 4])) == 0
    assert local_agreement(hypothesis([0, 1, 2]), hypothesis([0, 1, 2, 4, 5])) == 3
    assert local_agreement(hypothesis([0, 1]), hypothesis([0, 1, 2, 4, 5])) == 1
    assert local_agreement(hypothesis([5, 1, 2]), hypothesis([0, 1, 2, 4])) == 0


def test_attention_confirms_words_that_were_heard_well_before_the_end_whatever_was_said_before() -> None:
    tokens = [0, 1, 2, 4, 5]
    early = [1.0, 2.0, 2.2, 5.0 - GUARD_S / 2, 1.0]  # what follows a late token is not looked at
    assert attention(None, hypothesis(tokens, early)) == 3
    assert attention(None, hypothesis(tokens, [1.0] * 5)) == 4  # the last word is not known to be complete
    assert attention(None, hypothesis(tokens, [4.9, *early[1:]])) == 0
    assert attention(hypothesis(tokens[:3]), hypothesis(tokens)) == 3  # by agreement, where nothing was traced


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=12), st.lists(st.floats(0, 5), min_size=12, max_size=12))
def test_what_is_confirmed_is_a_boundary(tokens: list[int], heard_s: list[float]) -> None:
    now = hypothesis(tokens, heard_s[: len(tokens)])
    for count in (attention(None, now), local_agreement(now, now)):
        assert count == 0 or count in now.boundaries


@given(st.lists(st.integers(0, len(PIECES) - 1), max_size=12), st.lists(st.floats(0, 5), min_size=12, max_size=12))
def test_attention_confirms_the_same_where_a_hypothesis_ends_with_its_first_late_token(
    tokens: list[int], heard_s: list[float]
) -> None:
    whole = hypothesis(tokens, heard_s[: len(tokens)])
    late = next((n + 1 for n, heard in enumerate(whole.heard_s) if heard > 5.0 - GUARD_S), len(tokens))
    # a space may follow the last word of what is cut, which is not seen there
    cut = hypothesis(tokens[:late], heard_s[:late])
    assert attention(None, cut) == attention(None, whole)


def test_silence_has_no_turns_and_the_resampler_keeps_every_sample() -> None:
    detector = TurnDetector()
    assert list(detector.read(np.zeros(16_000, np.int16))) == [] and detector.samples == 16_000 // 512 * 512
    import base64

    pcm, reader = tone(1.0, 24_000), AudioReader("audio/pcm")
    data = pcm.tobytes()
    parts = [reader.read(base64.b64encode(data[at : at + 4801]).decode()) for at in range(0, len(data), 4801)]
    whole = np.concatenate([*parts, reader.finish()])
    assert abs(len(whole) - 16_000) <= 1
    assert np.abs(whole[100:-100].astype(int) - tone(1.0)[100 : len(whole) - 100]).max() < 200


def test_telephone_codes_are_those_of_g711() -> None:
    from llaso_model.serve.realtime_settings import _A_LAW, _MU_LAW

    assert (_MU_LAW[0xFF], _MU_LAW[0x7F], _MU_LAW[0x80], _MU_LAW[0x00]) == (0, 0, 32124, -32124)
    assert (_A_LAW[0xD5], _A_LAW[0x55], _A_LAW[0xAA], _A_LAW[0x2A]) == (8, -8, 32256, -32256)


@pytest.mark.parametrize("quietly", [True, False])
def test_the_hypothesis_at_a_pause_is_the_last_where_nothing_was_said_after_it(quietly: bool) -> None:
    served = small_served()
    backend, engine, processor = served.engine.backend, served.engine, served.processor

    def instruction(sound: Any) -> Any:
        return processor.instruction("Transcribe.", [sound])

    sound = to_float32(tone(1.0))
    (talk,) = engine.run([Request(instruction(sound), Sampling(max_new_tokens=12))])
    *said, backend.model.generation_config.eos_token_id = talk.result().tokens[:5]
    deltas: list[str] = []

    async def take(delta: str, lag_s: float) -> None:
        deltas.append(delta)

    async def talk_and_end() -> tuple[LiveItem, int]:
        with ThreadPoolExecutor(1) as threads:
            answering = Answering(engine, threads)
            model = LiveModel(answering, processor, backend.stop_tokens, POLICIES["attention"], threads)
            item = LiveItem(model, instruction, take)
            running = asyncio.ensure_future(item.run())
            item.append(tone(1.0))
            item.pause()
            while not item.prompt_tokens:
                await asyncio.sleep(0.01)
            answered = engine.counts.answered
            item.end(quietly)
            await asyncio.wait_for(running, 60)
            return item, engine.counts.answered - answered

    engine.start()
    try:
        item, more = asyncio.run(talk_and_end())
    finally:
        engine.close()
    assert more == (0 if quietly else 1)
    assert item.text == "".join(deltas) == processor.decode(said, skip_special_tokens=True).strip()
