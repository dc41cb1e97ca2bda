"""A prompt as the processor makes it, for the backends that compute here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from llaso_model.engine.requests import Sampling

_SHORTEST = 512  # rows of up to so many tokens share a cache, then of up to four times as many, and so on


@dataclass(frozen=True, slots=True)
class TorchPrompt:
    """What the processor made of one conversation, without padding, and how it is answered.

    Attributes:
        inputs: Tensors of a batch of one, by their names in ``forward``.
        sampling: The request's.
        begun: Tokens that the answer begins with.
        later: Those of them that are not in the inputs, and are read after the prompt.
        expected: The request's.
    """

    inputs: Mapping[str, torch.Tensor]
    sampling: Sampling
    begun: tuple[int, ...] = ()
    later: tuple[int, ...] = ()
    expected: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """How many tokens the text has, with those that stand for audio."""
        return self.inputs["input_ids"].shape[1]

    @property
    def frames(self) -> int:
        """How many mel frames the audio has."""
        return int(self.inputs["feature_lengths"].sum()) if "feature_lengths" in self.inputs else 0

    def without_audio(self) -> TorchPrompt:
        """What is needed of it once it is read."""
        return replace(self, inputs={"input_ids": self.inputs["input_ids"]})

    @property
    def size_class(self) -> int:
        """Number of the cache for rows of about as many tokens: a long row would make each step of short ones dear."""
        size = 0
        while _SHORTEST * 4**size < self.tokens + len(self.later) + self.sampling.max_new_tokens:
            size += 1
        return size
