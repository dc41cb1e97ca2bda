"""From the states of a text to log-mel frames, and from those to sound.

A text is laid out as slots: its tokens, and pauses between words. Each slot lasts some mel frames; the frames see the
slot's state and where in the slot they are, and convolutions smooth them. At inference the durations are predicted.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.errors import LLaSOError
from llaso_data.io.hub import loading
from llaso_model.configuration import MEL_HOP
from llaso_model.masks import valid_positions

PAUSE = -1  # a slot that is no token
WEIGHTS_FILE, CONFIG_FILE = "speech_decoder.safetensors", "speech_decoder.json"
_WINDOW = 400  # samples of Whisper's Fourier transform
_LONGEST_FRAMES = 200  # of a slot, when durations are predicted


@dataclass(frozen=True, slots=True)
class SpeechDecoderConfig:
    """``input_size`` is the width of the text's states."""

    input_size: int
    num_mel_bins: int = 80
    width: int = 384
    layers: int = 6
    kernel_size: int = 9


class SpeechDecoder(nn.Module):
    """Log-mel frames as Whisper's feature extractor scales them, from states and durations."""

    def __init__(self, config: SpeechDecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.pause = nn.Parameter(torch.zeros(config.input_size))
        self.norm = nn.LayerNorm(config.input_size)
        self.project = nn.Linear(config.input_size, config.width)
        self.place = nn.Linear(2, config.width)
        self.blocks = nn.ModuleList(_Block(config.width, config.kernel_size) for _ in range(config.layers))
        self.out = nn.Linear(config.width, config.num_mel_bins)
        self.duration_blocks = nn.ModuleList(_Block(config.width, 3) for _ in range(2))
        self.duration = nn.Linear(config.width, 1)

    def forward(
        self, states_BTW: torch.Tensor, slots_BS: torch.Tensor, frames_BS: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Log-mel (B, mels, F), how many frames of each are valid (B,), and log(1 + frames) as predicted (B, S).

        ``slots_BS`` say which position of the states each slot is, :data:`PAUSE` for pauses; ``frames_BS`` how many
        frames it lasts, 0 beyond the row's end.
        """
        x_BSD = self._slots(states_BTW, slots_BS)
        lengths = frames_BS.sum(dim=1)
        longest = int(lengths.max())
        of_BF, place_BF2 = _laid_out(frames_BS, longest)
        x_BFD = x_BSD.gather(1, of_BF[..., None].expand(-1, -1, x_BSD.shape[2])) + self.place(place_BF2)
        inside = valid_positions(lengths, longest)
        for block in self.blocks:
            x_BFD = block(x_BFD, inside)
        mel = self.out(x_BFD).transpose(1, 2) * inside[:, None]
        return mel, lengths, self._durations(x_BSD, frames_BS > 0)

    def predict_durations(self, states_BTW: torch.Tensor, slots_BS: torch.Tensor) -> torch.Tensor:
        """Frames of each slot (B, S), at least 1, and 0 for slots below :data:`PAUSE`."""
        there = slots_BS >= PAUSE
        log_frames = self._durations(self._slots(states_BTW, slots_BS), there)
        return torch.expm1(log_frames).round().clamp(1, _LONGEST_FRAMES).long() * there

    def loss(
        self, states_BTW: torch.Tensor, slots_BS: torch.Tensor, frames_BS: torch.Tensor, mel_BMF: torch.Tensor
    ) -> torch.Tensor:
        """|log-mel - target| summed over valid frames and mels, and the squared error of the log durations by mels.

        Both are sums, so that a step may divide them by how many frames and mels all its clips have.
        """
        mel, lengths, log_frames = self(states_BTW, slots_BS, frames_BS)
        inside = valid_positions(lengths, mel.shape[2])[:, None]
        spectrum = ((mel - mel_BMF[:, :, : mel.shape[2]]).abs() * inside).sum()
        wrong = (log_frames - torch.log1p(frames_BS.float())).square() * (frames_BS > 0)
        found: torch.Tensor = spectrum + self.config.num_mel_bins * wrong.sum()
        return found

    def save(self, folder: Path) -> None:
        """Two files in a model's folder."""
        from safetensors.torch import save_file

        save_file(
            {name: value.detach().contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS_FILE
        )
        (folder / CONFIG_FILE).write_text(json.dumps(asdict(self.config)))

    @classmethod
    def load(cls, folder: Path) -> SpeechDecoder:
        """What :meth:`save` wrote; raises LLaSOError where a model has no speech decoder."""
        from safetensors.torch import load_file

        if not (folder / CONFIG_FILE).exists():
            raise LLaSOError(
                f"{folder} has no {CONFIG_FILE}: the model was trained without the reconstruction objective"
            )
        with loading("speech decoder", str(folder)):
            found = cls(SpeechDecoderConfig(**json.loads((folder / CONFIG_FILE).read_text())))
            found.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return found

    def _slots(self, states_BTW: torch.Tensor, slots_BS: torch.Tensor) -> torch.Tensor:
        index = slots_BS.clamp(min=0)[..., None].expand(-1, -1, states_BTW.shape[2])
        own = torch.where((slots_BS >= 0)[..., None], states_BTW.gather(1, index).float(), self.pause)
        found: torch.Tensor = self.project(self.norm(own))
        return found

    def _durations(self, x_BSD: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        for block in self.duration_blocks:
            x_BSD = block(x_BSD, there)
        found: torch.Tensor = self.duration(x_BSD)[..., 0]
        return found


class _Block(nn.Module):
    """x + what a depthwise convolution over the row, and two linear layers, make of it; nothing beyond its end."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x_BFD: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        x_BFD = x_BFD * inside[..., None]
        y_BFD = self.norm(self.mix(x_BFD.transpose(1, 2)).transpose(1, 2))
        found: torch.Tensor = x_BFD + self.narrow(nn.functional.gelu(self.widen(y_BFD)))
        return found * inside[..., None]


def _laid_out(frames_BS: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """For each frame its slot (B, F), and where in it it lies and how long that is (B, F, 2)."""
    ends_BS = frames_BS.cumsum(dim=1)
    frame = torch.arange(longest, device=frames_BS.device).expand(len(frames_BS), -1).contiguous()
    of_BF = torch.searchsorted(ends_BS, frame, right=True).clamp(max=frames_BS.shape[1] - 1)
    count = frames_BS.gather(1, of_BF).clamp(min=1).float()
    first = (ends_BS - frames_BS).gather(1, of_BF)
    return of_BF, torch.stack([(frame - first + 0.5) / count, torch.log1p(count)], dim=-1)


def vocode(log_mel: npt.NDArray[np.float32], iterations: int = 60) -> npt.NDArray[np.float32]:
    """Sound at 16 kHz of log-mel frames (mels, F) as Whisper scales them, by Griffin and Lim's algorithm.

    Whisper's frames have lost the phase, everything 80 dB below the loudest, and the fine structure between mel
    bands; so what comes out is intelligible and robotic. A neural vocoder takes the same frames.
    """
    import librosa

    power = 10.0 ** (np.asarray(log_mel, np.float64) * 4 - 4)
    sound = librosa.feature.inverse.mel_to_audio(
        power, sr=SAMPLE_RATE_HZ, n_fft=_WINDOW, hop_length=MEL_HOP, n_iter=iterations
    )
    sound = np.pad(sound, (0, max(0, power.shape[1] * MEL_HOP - len(sound)))).astype(np.float32)
    found: npt.NDArray[np.float32] = sound / np.float32(max(1.0, np.abs(sound).max()))
    return found


def slots_of(counts: list[int]) -> list[int]:
    """Slots of words of so many tokens: a pause before each and one at the end."""
    found: list[int] = []
    at = 0
    for count in counts:
        found += [PAUSE, *range(at, at + count)]
        at += count
    return [*found, PAUSE]


def speak(model: Any, processor: Any, decoder: SpeechDecoder, text: str) -> npt.NDArray[np.float32]:
    """The text as sound at 16 kHz."""
    ids = [processor.tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in text.split()]
    if not ids:
        raise LLaSOError("nothing to say")
    device = next(model.parameters()).device
    tokens = torch.tensor([[one for word in ids for one in word]], device=device)
    slots = torch.tensor([slots_of([len(word) for word in ids])], device=device)
    with torch.no_grad():
        states = model.language_model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        mel, _, _ = decoder(states, slots, decoder.predict_durations(states, slots))
    return vocode(mel[0].float().cpu().numpy())
