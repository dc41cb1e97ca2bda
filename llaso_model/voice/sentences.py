"""Sentences of a text that comes piece by piece, each short enough for a voice."""

from __future__ import annotations

import re

from llaso_data.text import letters

LONGEST = 220
"""Letters of one sentence; a longer one is cut at a comma, else at a space."""
_END = re.compile(r"""(?:[.!?…]+["'”’)\]]*(?=\s+[^\sa-z])|[。！？]+[”’」』）]*|\n\s*\n)""")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:[A-Z]|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|vs|etc|No|e\.g|i\.e|z\.B|bzw|ca)\.$")
_PART = re.compile(r"[,;:，；：、](?=\s|[^\x00-\x7f])")


class Sentences:
    """Cuts a text into sentences while it comes. Joined they are the text but for the space between them."""

    def __init__(self) -> None:
        self._held = ""

    def read(self, text: str) -> list[str]:
        """The sentences that are whole with a further piece of the text."""
        self._held += text
        return self._cut()

    def finish(self) -> list[str]:
        """The rest of the text."""
        found = self._cut()
        rest, self._held = self._held.strip(), ""
        return [*found, *_short(rest)]

    def _cut(self) -> list[str]:
        found: list[str] = []
        at = 0
        while (end := _END.search(self._held, at)) is not None:
            sentence = self._held[: end.end()]
            at = end.end()
            if _ABBREVIATION.search(sentence) or not letters(sentence):
                continue
            found += _short(sentence.strip())
            self._held, at = self._held[end.end() :], 0
        return found


def sentences(text: str) -> list[str]:
    """The sentences of a text."""
    cut = Sentences()
    return [*cut.read(text), *cut.finish()]


def _short(sentence: str) -> list[str]:
    """The sentence, or its parts where it is long."""
    found = []
    while letters(sentence) > LONGEST:
        places = [match.end() for match in _PART.finditer(sentence, LONGEST // 4, LONGEST + 1)]
        place = places[-1] if places else sentence.rfind(" ", LONGEST // 4, LONGEST + 1)
        place = place if place > 0 else LONGEST
        found.append(sentence[:place].strip())
        sentence = sentence[place:].strip()
    return [*found, sentence] if sentence else found
