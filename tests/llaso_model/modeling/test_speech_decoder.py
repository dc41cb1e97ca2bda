"""The speech decoder: lengths are what the durations say, company does not matter, and it learns a clip."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llaso_data import audio
from llaso_data.errors import LLaSOError
from llaso_model.modeling.speech_decoder import PAUSE, SpeechDecoder, SpeechDecoderConfig, slots_of, vocode
from tests.conftest import Clip


@pytest.fixture
def decoder() -> SpeechDecoder:
    torch.manual_seed(0)
    return SpeechDecoder(SpeechDecoderConfig(24, num_mel_bins=80, width=48, layers=3)).eval()


SLOTS = torch.tensor([[PAUSE, 0, 1, PAUSE, 2, PAUSE], [PAUSE, 0, PAUSE, -2, -2, -2]])
FRAMES = torch.tensor([[3, 10, 7, 0, 20, 5], [0, 8, 4, 0, 0, 0]])


def test_slots_have_a_pause_before_each_word_and_one_at_the_end():
    assert slots_of([2, 1]) == [PAUSE, 0, 1, PAUSE, 2, PAUSE]


def test_frames_are_as_many_as_the_durations_say_and_do_not_depend_on_company(decoder):
    states = torch.randn(2, 3, 24)
    mel, lengths, durations = decoder(states, SLOTS, FRAMES)
    assert lengths.tolist() == [45, 12] and mel.shape == (2, 80, 45)
    alone, (own,), alone_durations = decoder(states[1:, :1], SLOTS[1:, :3], FRAMES[1:, :3])
    assert own == 12
    assert torch.allclose(alone[0], mel[1, :, :12], atol=1e-5)
    assert not mel[1, :, 12:].any()
    assert torch.allclose(decoder(states[1:], SLOTS[1:], FRAMES[1:])[2][0, 1], durations[1, 1], atol=1e-5)
    assert torch.allclose(alone_durations[0, 1], durations[1, 1], atol=1e-5)


def test_the_loss_of_a_batch_is_the_sum_of_its_rows(decoder):
    states, wanted = torch.randn(2, 3, 24), torch.randn(2, 80, 50)
    with torch.no_grad():
        _rows_add_up(decoder, states, wanted)


def _rows_add_up(decoder, states, wanted):
    rows = [decoder.loss(states[n : n + 1], SLOTS[n : n + 1], FRAMES[n : n + 1], wanted[n : n + 1]) for n in (0, 1)]
    assert float(decoder.loss(states, SLOTS, FRAMES, wanted)) == pytest.approx(float(sum(rows)), rel=1e-5)


@pytest.mark.slow
def test_it_learns_a_real_clip_and_how_long_its_slots_are(clips: list[Clip]):
    from transformers import WhisperFeatureExtractor

    sound = audio.decode(str(clips[0].path))[0][:32_000].astype(np.float32) / 32_768
    features = WhisperFeatureExtractor()(sound, sampling_rate=16_000, padding=False, return_tensors="pt")
    wanted = features["input_features"][:, :, :200]
    torch.manual_seed(0)
    decoder = SpeechDecoder(SpeechDecoderConfig(24, width=64, layers=3))
    states, slots = torch.randn(1, 9, 24), torch.tensor([slots_of([3, 3, 3])])
    frames = torch.tensor([[10, 20, 15, 15, 0, 30, 20, 10, 5, 25, 25, 15, 10]])
    optimizer = torch.optim.AdamW(decoder.parameters(), lr=3e-3)
    losses = []
    for _ in range(80):
        loss = decoder.loss(states, slots, frames, wanted)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    predicted = decoder.predict_durations(states, slots)
    assert abs(int(predicted.sum()) - 200) < 60
    found = vocode(decoder(states, slots, predicted)[0][0].detach().numpy(), iterations=4)
    assert len(found) == 160 * int(predicted.sum()) and np.isfinite(found).all() and np.abs(found).max() > 1e-3


def test_a_folder_keeps_it_and_one_without_says_so(decoder, tmp_path):
    decoder.save(tmp_path)
    again = SpeechDecoder.load(tmp_path)
    states = torch.randn(2, 3, 24)
    assert torch.equal(again.eval()(states, SLOTS, FRAMES)[0], decoder(states, SLOTS, FRAMES)[0])
    with pytest.raises(LLaSOError, match="reconstruction objective"):
        SpeechDecoder.load(tmp_path / "other")
