"""The speech decoder: hidden states of a text to log-mel frames, and a vocoder from those to sound.

A text is a sequence of slots: its tokens, and pauses between words. Each slot lasts some mel frames. A frame gets its
slot's state and its position in the slot, and convolutions smooth the frames. At inference durations are predicted.
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

PAUSE = -1  # the index of a slot that is not a token
WEIGHTS_FILE, CONFIG_FILE = "speech_decoder.safetensors", "speech_decoder.json"
_WINDOW = 400  # samples at 16 kHz of Whisper's Fourier transform
_MAX_FRAMES = 200  # of a slot with a predicted duration


@dataclass(frozen=True, slots=True)
class SpeechDecoderConfig:
    """Sizes of a speech decoder."""

    input_size: int  # width of the text's hidden states
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
        """Log-mel frames of slots with given durations.

        Args:
            states_BTW: Hidden states of the text.
            slots_BS: The position of each slot's state, :data:`PAUSE` for a pause.
            frames_BS: How many frames each slot lasts; 0 beyond the row's end.

        Returns:
            Log-mel frames (B, mels, F), how many frames of each are valid (B,), and predicted log(1 + frames) (B, S).
        """
        x_BSD = self._slots(states_BTW, slots_BS)
        lengths = frames_BS.sum(dim=1)
        longest = int(lengths.max())
        slot_BF, place_BF2 = _slots_of_frames(frames_BS, longest)
        x_BFD = x_BSD.gather(1, slot_BF[..., None].expand(-1, -1, x_BSD.shape[2])) + self.place(place_BF2)
        inside = valid_positions(lengths, longest)
        for block in self.blocks:
            x_BFD = block(x_BFD, inside)
        mel = self.out(x_BFD).transpose(1, 2) * inside[:, None]
        return mel, lengths, self._durations(x_BSD, frames_BS > 0)

    def predict_durations(self, states_BTW: torch.Tensor, slots_BS: torch.Tensor) -> torch.Tensor:
        """Predicted frames of each slot (B, S), at least 1; 0 for slots below :data:`PAUSE`, which are padding."""
        is_slot = slots_BS >= PAUSE
        log_frames = self._durations(self._slots(states_BTW, slots_BS), is_slot)
        return torch.expm1(log_frames).round().clamp(1, _MAX_FRAMES).long() * is_slot

    def loss(
        self, states_BTW: torch.Tensor, slots_BS: torch.Tensor, frames_BS: torch.Tensor, mel_BMF: torch.Tensor
    ) -> torch.Tensor:
        """The L1 loss of the log-mel frames plus, times the number of mels, the squared error of the log durations.

        Both are sums over valid frames or slots: a training step divides them by the frames and mels of all its clips.
        """
        mel, lengths, log_frames = self(states_BTW, slots_BS, frames_BS)
        inside = valid_positions(lengths, mel.shape[2])[:, None]
        spectrum = ((mel - mel_BMF[:, :, : mel.shape[2]]).abs() * inside).sum()
        duration_errors = (log_frames - torch.log1p(frames_BS.float())).square() * (frames_BS > 0)
        total: torch.Tensor = spectrum + self.config.num_mel_bins * duration_errors.sum()
        return total

    def save(self, folder: Path) -> None:
        """Writes weights and sizes as two files in a model's folder."""
        from safetensors.torch import save_file

        save_file(
            {name: value.detach().contiguous() for name, value in self.state_dict().items()}, folder / WEIGHTS_FILE
        )
        (folder / CONFIG_FILE).write_text(json.dumps(asdict(self.config)))

    @classmethod
    def load(cls, folder: Path) -> SpeechDecoder:
        """Reads what :meth:`save` wrote.

        Raises:
            LLaSOError: The model has no speech decoder, or its files are damaged.
        """
        from safetensors.torch import load_file

        if not (folder / CONFIG_FILE).exists():
            raise LLaSOError(
                f"{folder} has no {CONFIG_FILE}: the model was trained without the reconstruction objective"
            )
        with loading("speech decoder", str(folder)):
            decoder = cls(SpeechDecoderConfig(**json.loads((folder / CONFIG_FILE).read_text())))
            decoder.load_state_dict(load_file(folder / WEIGHTS_FILE))
        return decoder

    def _slots(self, states_BTW: torch.Tensor, slots_BS: torch.Tensor) -> torch.Tensor:
        index = slots_BS.clamp(min=0)[..., None].expand(-1, -1, states_BTW.shape[2])
        own = torch.where((slots_BS >= 0)[..., None], states_BTW.gather(1, index).float(), self.pause)
        projected: torch.Tensor = self.project(self.norm(own))
        return projected

    def _durations(self, x_BSD: torch.Tensor, is_slot: torch.Tensor) -> torch.Tensor:
        for block in self.duration_blocks:
            x_BSD = block(x_BSD, is_slot)
        log_frames: torch.Tensor = self.duration(x_BSD)[..., 0]
        return log_frames


class _Block(nn.Module):
    """A residual block: a depthwise convolution over the row and two linear layers; zero beyond the row's end."""

    def __init__(self, width: int, kernel_size: int) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, kernel_size, padding=kernel_size // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)

    def forward(self, x_BFD: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        x_BFD = x_BFD * inside[..., None]
        y_BFD = self.norm(self.mix(x_BFD.transpose(1, 2)).transpose(1, 2))
        mixed: torch.Tensor = x_BFD + self.narrow(nn.functional.gelu(self.widen(y_BFD)))
        return mixed * inside[..., None]


def _slots_of_frames(frames_BS: torch.Tensor, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The slot of each frame (B, F), and the frame's relative position in it with the log of its duration (B, F, 2)."""
    ends_BS = frames_BS.cumsum(dim=1)
    frame = torch.arange(longest, device=frames_BS.device).expand(len(frames_BS), -1).contiguous()
    slot_BF = torch.searchsorted(ends_BS, frame, right=True).clamp(max=frames_BS.shape[1] - 1)
    count = frames_BS.gather(1, slot_BF).clamp(min=1).float()
    first = (ends_BS - frames_BS).gather(1, slot_BF)
    return slot_BF, torch.stack([(frame - first + 0.5) / count, torch.log1p(count)], dim=-1)


def vocode(log_mel: npt.NDArray[np.float32], iterations: int = 60) -> npt.NDArray[np.float32]:
    """Sound of log-mel frames by the algorithm of Griffin and Lim (1984).

    Whisper's frames have lost the phase, all that is 80 dB below the loudest, and the fine structure between mel bands.
    So the sound is intelligible and robotic. A neural vocoder takes the same frames.

    Args:
        log_mel: Frames (mels, F) as Whisper's feature extractor scales them.
        iterations: Of the algorithm.

    Returns:
        Samples at 16 kHz, in -1 … 1.
    """
    import librosa

    power = 10.0 ** (np.asarray(log_mel, np.float64) * 4 - 4)
    sound = librosa.feature.inverse.mel_to_audio(
        power, sr=SAMPLE_RATE_HZ, n_fft=_WINDOW, hop_length=MEL_HOP, n_iter=iterations
    )
    sound = np.pad(sound, (0, max(0, power.shape[1] * MEL_HOP - len(sound)))).astype(np.float32)
    scaled: npt.NDArray[np.float32] = sound / np.float32(max(1.0, np.abs(sound).max()))
    return scaled


def slots_of(counts: list[int]) -> list[int]:
    """Slots of words of so many tokens: a pause before each word and one at the end."""
    slots: list[int] = []
    position = 0
    for count in counts:
        slots += [PAUSE, *range(position, position + count)]
        position += count
    return [*slots, PAUSE]


def speak(model: Any, processor: Any, decoder: SpeechDecoder, text: str) -> npt.NDArray[np.float32]:
    """Sound of a text.

    Args:
        model: The speech-language model, whose language model gives the states of the text.
        processor: Its processor.
        decoder: Its speech decoder.
        text: Words, parted by spaces.

    Returns:
        Samples at 16 kHz, in -1 … 1.

    Raises:
        LLaSOError: There are no words.
    """
    ids = [processor.tokenizer(" " + word, add_special_tokens=False)["input_ids"] for word in text.split()]
    if not ids:
        raise LLaSOError("nothing to say")
    device = next(model.parameters()).device
    tokens = torch.tensor([[token for word in ids for token in word]], device=device)
    slots = torch.tensor([slots_of([len(word) for word in ids])], device=device)
    with torch.no_grad():
        states = model.language_model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        mel, _, _ = decoder(states, slots, decoder.predict_durations(states, slots))
    return vocode(mel[0].float().cpu().numpy())
