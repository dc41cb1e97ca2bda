"""What reading texts has left is kept for texts that begin as they do."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch

from llaso_model.engine.backends.prefix_cache import PrefixCache


def left(text: Sequence[Hashable]) -> tuple[torch.Tensor, torch.Tensor]:
    """Keys and values of one layer, one head and one number: a text's own tokens."""
    keys = torch.tensor([float(str(name)) for name in text]).view(1, 1, -1, 1)
    return keys, -keys


def known(cache: PrefixCache, text: Sequence[Hashable], most: int = 99) -> list[float]:
    found = cache.longest(text, most)
    if found is None:
        return []
    assert torch.equal(found.values, -found.keys) and found.length == found.keys.shape[2]
    return [float(one) for one in found.keys.flatten()]


def test_the_longest_common_beginning_is_found_and_the_least_used_text_goes_first() -> None:
    cache = PrefixCache(most_bytes=2 * 4 * 12, shortest=2)  # 12 tokens
    for text in ([1, 2, 3, 4], [1, 2, 9, 9, 9]):
        cache.keep(text, *left(text))
    assert known(cache, [1, 2, 3, 5]) == [1, 2, 3] and known(cache, [1, 2, 3, 4, 5], most=2) == [1, 2]
    assert known(cache, [1, 5]) == known(cache, [7]) == known(cache, []) == []
    cache.keep([1, 2, 3, 4, 5, 6], *left([1, 2, 3, 4, 5, 6]))  # in the place of its beginning
    assert known(cache, [1, 2, 9, 9, 1]) == [1, 2, 9, 9]
    cache.keep([5, 5, 5], *left([5, 5, 5]))  # 14 tokens: the one that was used before the other goes
    assert known(cache, [1, 2, 3, 4, 5, 6, 7]) == [1, 2] and known(cache, [1, 2, 9, 9, 9]) == [1, 2, 9, 9, 9]
    cache.keep([5, 5], *left([5, 5]))
    assert known(cache, [5, 5, 5, 5]) == [5, 5, 5]
    cache.keep([8], *left([8]))
    cache.keep(range(20), *left(range(20)))  # too short, and more than there is room for
    assert known(cache, [8, 8]) == known(cache, [0, 1, 2]) == []


def test_what_is_kept_is_a_copy() -> None:
    cache, (keys, values) = PrefixCache(10**6, shortest=2), left([1, 2, 3])
    cache.keep([1, 2, 3], keys, values)
    keys.zero_(), values.zero_()
    assert known(cache, [1, 2, 3]) == [1, 2, 3]
