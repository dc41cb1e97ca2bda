"""Tokens to text while they come: what will not change any more is passed on, and stop strings end the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_INCOMPLETE = "\ufffd"  # the tokenizer's sign for bytes that are no character yet


class TextStream:
    """The text of one answer.

    What is passed on is never taken back: a character whose bytes are not all there waits, and so does what may become
    a stop string, and space, which some tokenizers remove before punctuation.

    Args:
        decode: All tokens of an answer to its text.
        stop: Texts that end the answer.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str], stop: Sequence[str] = ()) -> None:
        self._decode, self._stop = decode, stop
        self._passed_on = ""
        self.text = ""
        self.stopped = False

    def read(self, tokens: Sequence[int]) -> str:
        """The new text that is settled.

        Args:
            tokens: All tokens of the answer so far. ``stopped`` is true afterwards where a stop string is in them.
        """
        text = self._decode(tokens)
        self.text, self.stopped = self._until_stop(text)
        settled = self.text if self.stopped else self.text[: len(text) - self._unsettled(text)]
        return self._pass_on(settled)

    def finish(self, tokens: Sequence[int]) -> str:
        """The rest of the text. Nothing comes after it."""
        self.text, self.stopped = self._until_stop(self._decode(tokens))
        return self._pass_on(self.text)

    def _pass_on(self, settled: str) -> str:
        new = settled[len(self._passed_on) :]
        self._passed_on += new
        return new

    def _until_stop(self, text: str) -> tuple[str, bool]:
        found = [place for one in self._stop if (place := text.find(one)) >= 0]
        return (text[: min(found)], True) if found else (text, False)

    def _unsettled(self, text: str) -> int:
        """How many characters at the end may change, or belong to a stop string."""
        count = len(text) - len(text.rstrip(_INCOMPLETE + " "))
        for stop in self._stop:
            for length in range(min(len(stop) - 1, len(text)), 0, -1):
                if text.endswith(stop[:length]):
                    count = max(count, length)
                    break
        return count
