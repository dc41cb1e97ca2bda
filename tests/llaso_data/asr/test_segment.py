"""Long recordings become segments of speech that point at exactly their own samples of the original."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from llaso_data import audio, formats
from llaso_data.asr.segment import segment, speech_spans
from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.pipeline.blocks import plan
from llaso_data.pipeline.observe import load_block
from llaso_data.recipe import Blocks, Observe, Segment, SourceSpec
from llaso_data.records import GIVEN, Source, Utterance, utterance_id
from tests.conftest import Clip

SILENCE_S = 2.0


def joined(clips: list[Clip]) -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    """Clips with 2 s of silence before, between and after, and where each lies."""
    silence = np.zeros(int(SILENCE_S * 16_000), dtype=np.int16)
    pieces, spans, at = [silence], [], len(silence)
    for clip in clips:
        pcm, _ = audio.decode(str(clip.path))
        spans.append((at, at + len(pcm)))
        pieces += [pcm, silence]
        at += len(pcm) + len(silence)
    return np.concatenate(pieces), spans


def utterance(uri: str, start_s: float | None = None) -> Utterance:
    name = utterance_id("corpus", uri)
    source = Source(corpus="corpus", uri=uri, start_s=start_s)
    return Utterance(id=name, recording=name, source=source, text="all of it", text_origin=GIVEN)


@pytest.fixture(scope="module")
def long(clips: list[Clip]) -> tuple[NDArray[np.int16], list[tuple[int, int]]]:
    pcm, spans = joined(clips[:9])
    assert len(pcm) > 30 * 16_000
    return pcm, spans


def test_segments_hold_the_speech_and_not_the_silence(
    long: tuple[NDArray[np.int16], list[tuple[int, int]]],
) -> None:
    pcm, spans = long
    found = speech_spans(speech_probabilities(pcm), len(pcm), Segment())
    for first, last in spans:  # the middle of every clip is in a segment
        assert any(a <= (first + last) // 2 < b for a, b in found)
    for (_, before), (after, _) in itertools.pairwise(spans):  # the middle of every pause is in none
        assert not any(a <= (before + after) // 2 < b for a, b in found)
    assert sum(b - a for a, b in found) < 0.75 * len(pcm)


@pytest.mark.parametrize("max_s", [28.0, 1.5])
def test_segments_are_ordered_disjoint_and_not_too_long(
    long: tuple[NDArray[np.int16], list[tuple[int, int]]], max_s: float
) -> None:
    pcm, _ = long
    found = speech_spans(speech_probabilities(pcm), len(pcm), Segment(max_s=max_s))
    assert found and all(0 <= a < b <= len(pcm) and b - a <= max_s * 16_000 for a, b in found)
    assert all(a % 16 == 0 and b % 16 == 0 for a, b in found)
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(found))


@pytest.mark.parametrize("start_s", [None, 0.5, 0.1234567])
def test_a_segments_span_in_the_file_is_its_audio(
    long: tuple[NDArray[np.int16], list[tuple[int, int]]], tmp_path: Path, start_s: float | None
) -> None:
    path = tmp_path / "long.wav"
    soundfile.write(path, long[0], 16_000, subtype="PCM_16")
    whole = utterance(str(path), start_s)
    pcm, _ = audio.decode(str(path), start_s=start_s)
    pieces = segment(whole, pcm, Segment())
    assert len(pieces) > 3
    assert len({piece.id for piece, _ in pieces}) == len(pieces)
    for piece, samples in pieces:
        again, _ = audio.decode(str(path), start_s=piece.source.start_s, end_s=piece.source.end_s)
        assert np.array_equal(samples, again)
        assert piece.duration_s == len(samples) / 16_000
        assert (piece.recording, piece.text) == (whole.id, "all of it")
        assert piece.source.start_s == round(piece.source.start_s or 0.0, 3)


def test_what_fits_a_window_stays_whole(clips: list[Clip]) -> None:
    pcm, _ = audio.decode(str(clips[0].path))
    whole = utterance(str(clips[0].path))
    ((piece, samples),) = segment(whole, pcm, Segment())
    assert samples is pcm
    assert piece == dataclasses.replace(whole, scores=piece.scores)


def test_a_segments_speech_ratio_is_nearly_that_of_its_sound_alone(
    long: tuple[NDArray[np.int16], list[tuple[int, int]]],
) -> None:
    pieces = segment(utterance("long.wav"), long[0], Segment())
    for piece, samples in pieces:
        assert piece.scores.speech_ratio == pytest.approx(_ratio(samples), abs=0.1)


def test_silence_has_no_segments() -> None:
    assert segment(utterance("silent.wav"), np.zeros(31 * 16_000, dtype=np.int16), Segment()) == []


def test_noise_without_a_voice_has_no_segments() -> None:
    noise = np.random.default_rng(0).normal(0, 300, size=31 * 16_000).astype(np.int16)
    assert segment(utterance("noise.wav"), noise, Segment()) == []


def test_speech_ratio_tells_speech_from_silence(clips: list[Clip]) -> None:
    pcm, _ = audio.decode(str(clips[0].path))
    silence = np.zeros_like(pcm)
    ratio = _ratio(pcm)
    assert ratio > 0.5
    assert _ratio(silence) == 0.0
    assert _ratio(np.concatenate([pcm, silence])) == pytest.approx(ratio / 2, abs=0.1)


@pytest.mark.parametrize("samples", [0, 1, 160, 511, 513])
def test_very_short_audio_has_a_ratio(samples: int) -> None:
    assert 0.0 <= _ratio(np.zeros(samples, dtype=np.int16)) <= 1.0


def _ratio(pcm: NDArray[np.int16]) -> float:
    ((piece, _),) = segment(utterance("short.wav"), pcm, Segment())
    assert piece.scores.speech_ratio is not None
    return piece.scores.speech_ratio


def test_threads_change_nothing_in_a_loaded_block(
    long: tuple[NDArray[np.int16], list[tuple[int, int]]], clips: list[Clip], tmp_path: Path
) -> None:
    for number in range(3):
        soundfile.write(tmp_path / f"{number}-long.wav", np.roll(long[0], 7_000 * number), 16_000)
        (tmp_path / f"{number}-short.wav").write_bytes(clips[number].path.read_bytes())
    (tmp_path / "3-none.wav").write_bytes(b"RIFF")
    inputs = formats.read(SourceSpec(path=str(tmp_path), language="en"))
    (block,) = plan(inputs, Blocks(), "observing")
    alone, shared = load_block(block, Observe()), load_block(block, Observe(), threads=3)
    assert alone.utterances == shared.utterances and len(alone.utterances) > 7
    assert sum(one.failure is not None for one in alone.utterances) == 1
    for a, b in zip(alone.pcm, shared.pcm, strict=True):
        assert (a is None and b is None) or (a is not None and b is not None and np.array_equal(a, b))
