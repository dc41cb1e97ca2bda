"""A task that makes samples of utterances."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from llaso_data.records import Sample, Utterance


@dataclass(frozen=True, slots=True, kw_only=True)
class UtteranceTask:
    """What makes one sample of each utterance.

    Attributes:
        name: The ``task`` of its samples.
        make: A function of a module, so that workers can import it. ``make(utterance, seed)`` gives the sample and
            depends on nothing else; it raises LLaSOError for an utterance of which it can make none.
        templates_digest: Changes when its templates do. Part of what names a set of shards.
    """

    name: str
    make: Callable[[Utterance, int], Sample]
    templates_digest: str
