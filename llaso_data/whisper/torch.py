"""Whisper in torch (transformers): an engine, and the log-mel features that both engines use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.whisper.engine import MAX_NEW_TOKENS, DecodingResult, Statistics
from llaso_data.whisper.tokenizer import WhisperTokenizer

if TYPE_CHECKING:
    import torch


class LogMel:
    """Computes Whisper's log-mel features (80 or 128 bins) on a device."""

    def __init__(self, folder: str, device: str) -> None:
        """``folder`` holds the checkpoint in Hugging Face format; ``device`` is torch's name of one."""
        from transformers import WhisperFeatureExtractor

        self._extract = WhisperFeatureExtractor.from_pretrained(folder)
        self._device = device

    def __call__(self, windows: Sequence[NDArray[np.int16]]) -> NDArray[np.float32]:
        """Features of 16 kHz windows of up to 30 s: shape (windows, mel bins, 3000), one frame for each 10 ms."""
        samples = [window.astype(np.float32) / 32768.0 for window in windows]
        mel: Any = self._extract(
            samples, sampling_rate=SAMPLE_RATE_HZ, return_tensors="np", device=self._device, padding="max_length"
        )
        features: NDArray[np.float32] = mel["input_features"].astype(np.float32)
        return features


class TorchEngine:
    """Encoding and greedy or beam decoding through transformers."""

    def __init__(
        self, model: Any, folder: str, vocabulary: WhisperTokenizer, statistics: Statistics, beam_size: int
    ) -> None:
        """Use a loaded model.

        Args:
            model: transformers' WhisperForConditionalGeneration, in evaluation mode.
            folder: The checkpoint, of which the feature settings are read.
            vocabulary: Its tokenizer.
            statistics: Where calls are counted.
            beam_size: 1 is greedy decoding.
        """
        self.vocabulary = vocabulary
        self.statistics = statistics
        self._model = model
        self._beam_size = beam_size
        self._features = LogMel(folder, str(model.device))

    def encode(self, windows: Sequence[NDArray[np.int16]]) -> torch.Tensor:
        """See :meth:`llaso_data.whisper.engine.Engine.encode`; the states have the model's dtype."""
        import torch

        self.statistics.count(windows_encoded=len(windows))
        with torch.inference_mode():
            mel = torch.from_numpy(self._features(windows)).to(self._model.device, self._model.dtype)
            states: torch.Tensor = self._model.model.encoder(mel).last_hidden_state
        return states

    def decode(self, states_BSD: torch.Tensor, languages: Sequence[str]) -> list[DecodingResult]:
        """See :meth:`llaso_data.whisper.engine.Engine.decode`."""
        import torch
        from transformers import GenerationMixin, LogitsProcessorList
        from transformers.generation.logits_process import (
            SuppressTokensAtBeginLogitsProcessor,
            SuppressTokensLogitsProcessor,
        )
        from transformers.modeling_outputs import BaseModelOutput

        device = self._model.device
        prompts = torch.tensor([self.vocabulary.prompt(language) for language in languages], device=device)
        config = self._model.generation_config
        length = prompts.shape[1]
        never = self.vocabulary.never_chosen(config, self._model.config.vocab_size)
        processors = LogitsProcessorList(
            [
                SuppressTokensLogitsProcessor(never, device=str(device)),
                SuppressTokensAtBeginLogitsProcessor(config.begin_suppress_tokens or [], length, device=str(device)),
            ]
        )
        with torch.inference_mode():
            # Whisper's own `generate` takes features; the general one takes encoder states.
            tokens = GenerationMixin.generate(
                self._model,
                encoder_outputs=BaseModelOutput(last_hidden_state=states_BSD),
                decoder_input_ids=prompts,
                generation_config=self._plain_config(config, length),
                logits_processor=processors,
            )
            no_speech_probs = self._no_speech_probs(states_BSD)
        results = []
        for row, no_speech_prob in zip(tokens[:, length:].tolist(), no_speech_probs, strict=True):
            text = tuple(row[: row.index(self.vocabulary.end)] if self.vocabulary.end in row else row)
            results.append(DecodingResult(text, no_speech_prob))
        tokens_decoded = sum(len(result.tokens) for result in results)
        self.statistics.count(windows_decoded=len(results), tokens_decoded=tokens_decoded)
        return results

    def _plain_config(self, config: Any, prompt_length: int) -> Any:
        from transformers import GenerationConfig

        return GenerationConfig(
            do_sample=False,
            num_beams=self._beam_size,
            max_new_tokens=MAX_NEW_TOKENS,
            bos_token_id=config.bos_token_id,
            eos_token_id=self.vocabulary.end,
            pad_token_id=self.vocabulary.end,
            decoder_start_token_id=self.vocabulary.start,
        )

    def _no_speech_probs(self, states_BSD: torch.Tensor) -> list[float]:
        import torch

        if self.vocabulary.no_speech is None:
            return [0.0] * len(states_BSD)
        starts = torch.full((len(states_BSD), 1), self.vocabulary.start, device=self._model.device)
        hidden = self._model.model.decoder(input_ids=starts, encoder_hidden_states=states_BSD).last_hidden_state
        probs = torch.softmax(self._model.proj_out(hidden[:, 0]).float(), dim=-1)
        return [float(p) for p in probs[:, self.vocabulary.no_speech]]
