"""What Hugging Face's multimodal processors offer for the places of audio in a text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import BatchFeature

from llaso_model.sounds import Samples, samples


class AudioPlaceholders:
    """Methods of a processor by which others find out how many tokens stand for an audio, and where.

    The names are those of Hugging Face's :class:`ProcessorMixin`.
    """

    audio_token: str

    def windows(self, sound: Samples) -> list[Samples]:
        """The processor's."""
        raise NotImplementedError

    def features(self, windows: Sequence[Samples]) -> dict[str, torch.Tensor]:
        """The processor's."""
        raise NotImplementedError

    def _audio_token_counts(self, windows_of_audios: Sequence[Sequence[Samples]]) -> Iterator[int]:
        raise NotImplementedError

    def replace_audio_token(self, audio_inputs: Mapping[str, Any], audio_idx: int, **kwargs: Any) -> str:
        """What stands in a text for one audio.

        Args:
            audio_inputs: What :meth:`process_audio` returned.
            audio_idx: Number of the audio.
            **kwargs: Of other processors; without effect.
        """
        return self.audio_token * int(audio_inputs["num_audio_tokens"][audio_idx])

    def process_audio(
        self, audio: Sequence[Any], sampling_rate: int | None = None, **kwargs: Any
    ) -> tuple[BatchFeature, list[str]]:
        """Audios without a text.

        Args:
            audio: Several, in any form that :func:`samples` takes.
            sampling_rate: Of samples that do not say theirs, Hz; None: 16,000.
            **kwargs: Of other processors; without effect.

        Returns:
            ``input_features`` and ``feature_lengths`` of all windows of all audios in turn, ``num_windows`` and
            ``num_audio_tokens`` of each audio; and what stands in a text for each audio.
        """
        windows = [self.windows(samples(one, sampling_rate)) for one in audio]
        inputs = BatchFeature(
            {
                **self.features([window for own in windows for window in own]),
                "num_windows": torch.tensor([len(own) for own in windows]),
                "num_audio_tokens": torch.tensor(list(self._audio_token_counts(windows))),
            }
        )
        return inputs, [self.replace_audio_token(inputs, number) for number in range(len(windows))]

    _process_audio = process_audio

    def replacements(self, pieces: Sequence[str], counts: Iterator[int]) -> list[dict[str, Any]]:
        """Where the audio tokens of a text are, before and after each is repeated.

        Args:
            pieces: The text, cut at the audio tokens that stand for audio.
            counts: How many audio tokens stand for each audio.

        Returns:
            For each audio ``type``, ``span`` in the text, ``new_span`` in the text with all audio tokens, ``text`` (the
            token) and ``replacement``, as ``ProcessorMixin.get_text_with_replacements`` gives them.
        """
        found = []
        start = new_start = 0
        for piece, count in zip(pieces[:-1], counts, strict=False):
            start, new_start = start + len(piece), new_start + len(piece)
            end, new_end = start + len(self.audio_token), new_start + count * len(self.audio_token)
            found.append(
                {
                    "type": "audio",
                    "span": (start, end),
                    "new_span": (new_start, new_end),
                    "text": self.audio_token,
                    "replacement": self.audio_token * count,
                }
            )
            start, new_start = end, new_end
        return found
