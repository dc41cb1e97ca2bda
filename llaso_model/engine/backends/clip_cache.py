"""Embeddings of clips that were encoded lately: a conversation goes on about the same recording, or is asked again."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

Encode = Callable[[Sequence[torch.Tensor], Sequence[int]], list[torch.Tensor]]
"""(log-mel frames (mels, T) of clips, how many of each are valid) to the embeddings of each."""


class ClipCache:
    """Encodes clips that it does not have.

    Args:
        encode: Encodes.
        most_bytes: Of embeddings that are kept. Those that were not asked for longest go first.
    """

    def __init__(self, encode: Encode, most_bytes: int) -> None:
        self._encode, self._most_bytes = encode, most_bytes
        self._known: OrderedDict[bytes, torch.Tensor] = OrderedDict()
        self._bytes = 0

    def __call__(
        self, keys: Sequence[bytes], features: Sequence[torch.Tensor], lengths: Sequence[int]
    ) -> list[torch.Tensor]:
        """The embeddings of clips, each (count, width of the language model).

        Args:
            keys: Of the clips, by :func:`clip_key`.
            features: Their log-mel frames (mels, T).
            lengths: How many of these are valid.
        """
        clips = zip(keys, features, lengths, strict=True)
        new = {key: (one, length) for key, one, length in clips if key not in self._known}
        encoded = self._encode(*zip(*new.values(), strict=True)) if new else []
        found = {key: self._known[key] for key in keys if key in self._known} | dict(zip(new, encoded, strict=True))
        for key in keys:
            self._keep(key, found[key])
        return [found[key] for key in keys]

    def _keep(self, key: bytes, embeddings: torch.Tensor) -> None:
        if key in self._known:
            self._known.move_to_end(key)
            return
        self._known[key] = embeddings.clone()  # else it holds those of all clips that were encoded with it
        self._bytes += embeddings.nbytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._known.popitem(last=False)[1].nbytes


def clip_key(features: torch.Tensor, length: int) -> bytes:
    """What tells a clip from others: a digest of its valid log-mel frames (mels, T), and how many these are."""
    frames = features[:, :length].float().contiguous().numpy()
    return hashlib.blake2b(frames.tobytes(), digest_size=16).digest() + length.to_bytes(4, "little")
