"""Whisper in CTranslate2: int8 on CPUs, float16 on GPUs; several times faster than torch at the same text.

On CPUs OpenVINO may encode in its place. CTranslate2 then decodes freely from those states.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llaso_data.whisper.engine import MAX_NEW_TOKENS, DecodingResult, Statistics
from llaso_data.whisper.tokenizer import WhisperTokenizer
from llaso_data.whisper.torch import LogMel

if TYPE_CHECKING:
    import torch

    from llaso_data.whisper.openvino import OpenVINOEncoder


class CTranslate2Engine:
    """Encoding and greedy or beam decoding through CTranslate2."""

    def __init__(
        self,
        folder: str,
        source: str,
        vocabulary: WhisperTokenizer,
        statistics: Statistics,
        *,
        device: str,
        compute_type: str,
        threads: int,
        beam_size: int,
        encoder: OpenVINOEncoder | None = None,
    ) -> None:
        """Load the converted weights.

        Args:
            folder: The CTranslate2 form of the checkpoint.
            source: Its Hugging Face form, of which the feature settings are read.
            vocabulary: The checkpoint's tokenizer.
            statistics: Where calls are counted.
            device: ``cpu`` or ``cuda``.
            compute_type: CTranslate2's, such as ``int8``.
            threads: Threads that may call the engine at once.
            beam_size: 1 is greedy decoding.
            encoder: Encodes in CTranslate2's place.
        """
        import ctranslate2

        self.vocabulary = vocabulary
        self.statistics = statistics
        self._beam_size = beam_size
        self._device = device
        self._features = LogMel(source, device)
        self._encoder = encoder
        self._model: Any = ctranslate2.models.Whisper(
            folder, device=device, compute_type=compute_type, intra_threads=1, inter_threads=threads
        )

    def encode(self, windows: Sequence[NDArray[np.int16]]) -> torch.Tensor:
        """See :meth:`llaso_data.whisper.engine.Engine.encode`; the states are float32."""
        import ctranslate2
        import torch

        self.statistics.count(windows_encoded=len(windows))
        features = np.ascontiguousarray(self._features(windows))
        if self._encoder is not None:
            return self._encoder(features)
        states = self._model.encode(ctranslate2.StorageView.from_array(features), to_cpu=self._device == "cpu")
        if self._device == "cpu":
            return torch.from_numpy(np.array(states, dtype=np.float32))
        return torch.as_tensor(states, device=self._device).float()

    def decode(self, states_BSD: torch.Tensor, languages: Sequence[str]) -> list[DecodingResult]:
        """See :meth:`llaso_data.whisper.engine.Engine.decode`."""
        import ctranslate2

        array: Any = states_BSD.numpy() if self._device == "cpu" else states_BSD.contiguous()
        results = self._model.generate(
            ctranslate2.StorageView.from_array(array),
            [self.vocabulary.prompt(language) for language in languages],
            beam_size=self._beam_size,
            sampling_temperature=0,
            # CTranslate2 stops at half of this; dense scripts (Hindi: 14 tokens a second) need more than 224.
            max_length=2 * MAX_NEW_TOKENS,
            return_no_speech_prob=True,
            suppress_blank=True,
        )
        tokens = sum(len(result.sequences_ids[0]) for result in results)
        self.statistics.count(windows_decoded=len(results), tokens_decoded=tokens)
        return [
            DecodingResult(
                tuple(t for t in result.sequences_ids[0] if t != self.vocabulary.end), float(result.no_speech_prob)
            )
            for result in results
        ]
