"""Which words of a hypothesis are confirmed while speech goes on."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.registry import Registry
from llaso_data.text.word_spans import is_unspaced

GUARD_S = 0.4
"""Words that end nearer to the end of the audio may still change: what follows them was not heard."""

REWIND_S = 2.0
"""A model that goes further back than this says again what it has said."""


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """What a model says to the audio so far, after the text that is confirmed already.

    Attributes:
        tokens: Without those that end an answer.
        boundaries: The numbers of tokens after which a word is complete, in order.
        heard_s: For each token the time in the audio that the model attends to most; empty: it is not known.
        samples: How long the audio is.
        is_whole: Whether the model has ended it, rather than a limit.
        heard_to_s: The time up to which the confirmed text before it was heard.
    """

    tokens: tuple[int, ...]
    boundaries: tuple[int, ...]
    heard_s: tuple[float, ...]
    samples: int
    is_whole: bool = False
    heard_to_s: float = 0.0

    def after(self, count: int) -> Hypothesis:
        """What is left of it when its first ``count`` tokens are confirmed."""
        return replace(
            self,
            tokens=self.tokens[count:],
            boundaries=tuple(place - count for place in self.boundaries if place > count),
            heard_s=self.heard_s[count:],
            heard_to_s=_heard_to(self.heard_to_s, self.heard_s[:count]),
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """Confirms words.

    Attributes:
        confirms: (the hypothesis before, the hypothesis) to how many of its tokens are confirmed: 0 or one of its
            boundaries.
        guard_s: Nothing is confirmed from the first token on that was heard nearer to the end of the audio than this,
            so hypotheses may end there. None: it looks at all of them.
    """

    confirms: Callable[[Hypothesis | None, Hypothesis], int]
    guard_s: float | None = None


POLICIES: Registry[Policy] = Registry("live policy")


def local_agreement(before: Hypothesis | None, now: Hypothesis) -> int:
    """Words on which two consecutive hypotheses agree (LocalAgreement-2; Liu, Spanakis and Niehues 2020)."""
    if before is None:
        return 0
    common = 0
    for one, other in zip(before.tokens, now.tokens, strict=False):
        if one != other:
            break
        common += 1
    return _boundary(now, common)


def attention(before: Hypothesis | None, now: Hypothesis, guard_s: float = GUARD_S) -> int:
    """Words before the first that the model hears less than ``guard_s`` before the end of the audio.

    The rule is AlignAtt's (Papi, Turchi and Negri 2023), with the attention of the language model to the speech in its
    prompt. Nor are words confirmed from the first on that is heard :data:`REWIND_S` before those that stand before it:
    a model that repeats itself goes back. Where the attention is not known, words are confirmed by agreement.
    """
    if len(now.heard_s) != len(now.tokens):
        return local_agreement(before, now)
    limit = now.samples / SAMPLE_RATE_HZ - guard_s
    safe = len(now.tokens)
    for number, heard_s in enumerate(now.heard_s):
        if heard_s > limit or heard_s < _heard_to(now.heard_to_s, now.heard_s[:number]) - REWIND_S:
            safe = number
            break
    return _boundary(now, safe)


def _heard_to(before_s: float, heard_s: Sequence[float]) -> float:
    """The latest time that two tokens in a row have reached: the attention of a single one may be far off."""
    return max([before_s, *(min(two) for two in pairwise(heard_s))])


def _boundary(hypothesis: Hypothesis, count: int) -> int:
    """The last boundary among the first ``count`` tokens, or 0."""
    return max((place for place in hypothesis.boundaries if place <= count), default=0)


def word_boundaries(
    decode: Callable[[Sequence[int]], str], begun: Sequence[int], tokens: Sequence[int], is_whole: bool = False
) -> list[int]:
    """The numbers of tokens after which a word is complete: space follows, or a character of a script without spaces.

    Args:
        decode: All tokens of an answer to its text.
        begun: Tokens before.
        tokens: After these.
        is_whole: Whether the answer ends with them. Then its last word is complete, but what it ends with is not known:
            a full stop may become a comma.
    """
    whole = decode([*begun, *tokens])
    last = _without_last_marks(whole) if is_whole else None
    found = []
    for count in range(1, len(tokens) + 1):
        text = decode([*begun, *tokens[:count]])
        if not text or text.endswith("\ufffd") or not whole.startswith(text):
            continue
        following = whole[len(text) : len(text) + 1]
        is_next = following.isspace() or (is_unspaced(following) and is_unspaced(text[-1]))
        if text == last or (following and is_next):
            found.append(count)
    return found


def _without_last_marks(text: str) -> str:
    while text and (text[-1].isspace() or unicodedata.category(text[-1]).startswith("P")):
        text = text[:-1]
    return text


POLICIES.register("agreement", Policy(local_agreement))
POLICIES.register("attention", Policy(attention, GUARD_S))
