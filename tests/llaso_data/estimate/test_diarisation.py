"""Who speaks when, on conversations that are made of known voices; ``bench/diarisation.py`` has many."""

from __future__ import annotations

import numpy as np
import pytest

from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.estimate import voice_groups
from llaso_data.estimate.diarisation import diarise, speakers_of, speech_regions
from tests.support import conversations
from tests.support.conversations import active_of, diarisation_error


def errors(talk: conversations.Conversation, collar_s: float = 0.0) -> tuple[int, float]:
    """The number of speakers that are found, and the diarisation error."""
    found = active_of(diarise([talk.pcm], [speech_probabilities(talk.pcm)]).turns, talk.active.shape[1])
    return len(found), float(diarisation_error(talk.active, found, collar_s).sum())


def test_the_speakers_of_a_conversation_are_found() -> None:
    pytest.importorskip("resemblyzer.hparams", reason="the extra [speakers] is not installed")
    voices = conversations.recorded_voices(clips=8, only=("prompts-it", "prompts-ru"))
    talk = conversations.make(voices, 2, 14, seed=2)
    speakers, error = errors(talk)
    assert speakers == 2 and error < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("speakers", [2, 3, 4, 5])
def test_the_diarisation_error_is_below_a_tenth(speakers: int) -> None:
    pytest.importorskip("resemblyzer.hparams", reason="the extra [speakers] is not installed")
    voices = conversations.recorded_voices()
    talks = [
        conversations.make(voices, speakers, 75, seed, overlap) for seed, overlap in ((1, 0.0), (2, 0.0), (3, 0.2))
    ]
    assert np.mean([errors(talk)[1] for talk in talks]) < 0.1
    assert np.mean([errors(talk, 0.25)[1] for talk in talks]) < 0.07


def noisy(directions: np.ndarray, counts: list[int], noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    vectors = directions[labels] + noise * rng.standard_normal((len(labels), directions.shape[1]))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), labels


def test_windows_become_speakers_however_many_windows_there_are() -> None:
    directions = np.eye(64)[:3]
    vectors, labels = noisy(directions, [2500, 1200, 700], 0.08)
    order = np.random.default_rng(1).permutation(len(labels) // 20)
    blocks = np.concatenate([np.arange(20) + 20 * block for block in order])  # they take turns
    found = speakers_of(vectors[blocks].astype(np.float32), (np.arange(len(blocks)) // 20).tolist())
    assert np.array_equal(found, voice_groups.in_order(labels[blocks]))
    assert speakers_of(np.zeros((0, 64), np.float32), []).shape == (0,)


def test_vectors_are_grouped_by_voice_in_one_block_and_in_many() -> None:
    vectors, labels = noisy(np.eye(128)[:40], [120] * 40, 0.03)
    shuffled = np.random.default_rng(2).permutation(len(labels))
    sizes = np.random.default_rng(3).integers(3, 30, len(labels)).astype(float)
    for rows in (shuffled[:900], shuffled):  # 2,000 are grouped at a time
        found = voice_groups.same_voices(vectors[rows], sizes[rows], 0.8)
        assert np.array_equal(found, voice_groups.in_order(labels[rows]))
    apart = voice_groups.same_voices(vectors[:50], np.full(50, 1e9), 1.01)
    assert len(set(apart.tolist())) == 50  # more than 1 joins nothing


def test_what_is_between_two_voices_is_less_sure() -> None:
    vectors = np.array([[1.0, 0, 0], [1, 0.1, 0], [0, 1, 0], [0.1, 1, 0], [0.75, 0.66, 0]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    margins = voice_groups.margins(vectors, np.full(5, 50.0), np.array([0, 0, 1, 1, 0]))
    assert margins[4] < 0.25 < min(margins[:4])


def test_regions_of_speech_keep_short_pauses_and_drop_clicks() -> None:
    probabilities = np.zeros(100, np.float32)
    probabilities[10:30] = probabilities[35:50] = 0.9  # a pause of 0.16 s
    probabilities[70:72] = 0.9  # 64 ms
    probabilities[90:] = 0.9
    assert speech_regions(probabilities, 100 * 512 - 100) == [(10 * 512, 50 * 512), (90 * 512, 100 * 512 - 100)]


def test_the_error_counts_what_is_missed_false_and_confused() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]], bool)
    found = np.array([[0, 1, 1, 1, 1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]], bool)
    assert diarisation_error(truth, found[::-1]).tolist() == pytest.approx([1 / 8, 1 / 8, 1 / 8])
    assert diarisation_error(truth, truth).sum() == 0
