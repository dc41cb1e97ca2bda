"""Clips that were encoded lately are not encoded again."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llaso_model.engine.backends.clip_cache import ClipCache, clip_key


def test_a_clip_is_encoded_once_while_there_is_room() -> None:
    encoded: list[int] = []

    def encode(features: Sequence[torch.Tensor], lengths: Sequence[int]) -> list[torch.Tensor]:
        encoded.extend(lengths)
        return list(
            torch.cat([one[:1, :length].T for one, length in zip(features, lengths, strict=True)]).split(lengths)
        )

    clips = [torch.arange(24.0).view(2, 12) + number for number in range(4)]
    kept = ClipCache(encode, most_bytes=2 * 8 * 4)  # two clips of eight frames

    def cache(features: Sequence[torch.Tensor], lengths: Sequence[int]) -> list[torch.Tensor]:
        keys = [clip_key(one, length) for one, length in zip(features, lengths, strict=True)]
        return kept(keys, features, lengths)

    first, again = cache([clips[0], clips[0]], [8, 8])
    assert encoded == [8] and torch.equal(first, again) and torch.equal(first, clips[0][:1, :8].T)
    longer = torch.cat([clips[0][:, :8], torch.ones(2, 30)], 1)  # other frames where none is valid
    assert torch.equal(cache([clips[1], longer], [8, 8])[1], first) and encoded == [8, 8]
    cache([clips[0]], [7])  # fewer valid frames are another clip; the one asked for longest ago goes
    assert encoded == [8, 8, 7]
    cache([clips[0]], [8])
    assert encoded == [8, 8, 7]
    cache([clips[1]], [8])
    assert encoded == [8, 8, 7, 8]
    whole = cache([clips[2], clips[3], clips[2]], [12, 12, 12])  # more than there is room for
    assert torch.equal(whole[2], clips[2][:1].T) and torch.equal(whole[1], clips[3][:1].T)
