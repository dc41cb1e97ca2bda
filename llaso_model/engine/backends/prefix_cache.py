"""What reading texts has left, for texts that begin as they do: the next turn of a conversation, an instruction."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch

_MOST_TEXTS = 256  # each is compared with each new text


@dataclass(frozen=True, slots=True)
class Prefix:
    """What reading the first tokens of a text has left.

    Attributes:
        keys: Of all layers (layers, heads, tokens, size).
        values: Likewise.
    """

    keys: torch.Tensor
    values: torch.Tensor

    @property
    def length(self) -> int:
        """How many tokens they are."""
        return self.keys.shape[2]


class PrefixCache:
    """Texts that were read lately, a name for each token: what it says, or which moment of which clip it stands for.

    Args:
        most_bytes: Of keys and values that are kept. Those that were not used for longest go first.
        shortest: A beginning of fewer tokens is not worth sharing.
    """

    def __init__(self, most_bytes: int, shortest: int) -> None:
        self._most_bytes, self._shortest = most_bytes, shortest
        self._known: OrderedDict[tuple[Hashable, ...], Prefix] = OrderedDict()
        self._bytes = 0

    def longest(self, names: Sequence[Hashable], most: int) -> Prefix | None:
        """What the longest known beginning of a text has left.

        Args:
            names: Of the text's tokens.
            most: Tokens that may be known at most.

        Returns:
            None where less is known than is worth sharing.
        """
        best, text = 0, None
        for known in self._known:
            if (count := _common(known, names, most)) > best:
                best, text = count, known
        if text is None or best < self._shortest:
            return None
        self._known.move_to_end(text)
        whole = self._known[text]
        return Prefix(whole.keys[:, :, :best], whole.values[:, :, :best])

    def keep(self, names: Sequence[Hashable], keys: torch.Tensor, values: torch.Tensor) -> None:
        """Keeps what reading a text has left; see :class:`Prefix`. It takes the place of its own beginnings."""
        text = tuple(names)
        if len(text) < self._shortest or 2 * keys.nbytes > self._most_bytes:
            return
        for known in list(self._known):
            common = _common(known, text, len(text))
            if common == len(text):  # it is known already
                return
            if common == len(known):
                self._drop(known)
        self._known[text] = Prefix(keys.clone(), values.clone())
        self._bytes += 2 * keys.nbytes
        while self._bytes > self._most_bytes or len(self._known) > _MOST_TEXTS:
            self._drop(next(iter(self._known)))

    def _drop(self, text: tuple[Hashable, ...]) -> None:
        gone = self._known.pop(text)
        self._bytes -= gone.keys.nbytes + gone.values.nbytes


def _common(one: Sequence[Hashable], other: Sequence[Hashable], most: int) -> int:
    """How many tokens two texts begin with in common, at most so many."""
    count = min(len(one), len(other), most)
    return next((place for place in range(count) if one[place] != other[place]), count)
