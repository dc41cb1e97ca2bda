"""What of a hypothesis is confirmed, where words are complete, and where speech starts and stops."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llaso_model.serve.live.policies import GUARD_S, Hypothesis, attention, local_agreement, word_boundaries
from llaso_model.serve.live.turns import TurnDetector
from llaso_model.serve.realtime_settings import AudioReader
from tests.support.served import tone

PIECES = ["Hello", " the", "re", ",", " you", " all", "你", "好", "吗", " wor", "ld", "."]


def decode(tokens: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in tokens)


def hypothesis(tokens: Sequence[int], heard_s: Sequence[float] = (), audio_s: float = 5.0) -> Hypothesis:
    return Hypothesis(tuple(tokens), tuple(word_boundaries(decode, (), tokens)), tuple(heard_s), audio_s)


def test_a_word_is_complete_when_another_begins() -> None:
    assert word_boundaries(decode, (), [0, 1, 2, 3, 4]) == [1, 4]  # not before the comma, not at the end
    assert word_boundaries(decode, (), [6, 7, 8]) == [1, 2]  # characters of a script without spaces
    assert word_boundaries(decode, (0,), [1, 2, 5]) == [2]
    assert word_boundaries(decode, (), []) == []


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
