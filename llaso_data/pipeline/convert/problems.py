"""What could not be converted: counted by reason, the first of each reason kept with file and line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from llaso_data.records import Failure

KEPT = 1000
"""Problems of each reason that are written down; the others are counted."""


class Problems:
    """Counts of problems by reason, and the first ``kept`` of each reason."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self.counts: Counter[str] = Counter()
        self.examples: dict[str, list[str]] = {}

    def add(self, failure: Failure) -> None:
        """Count one."""
        self.counts[failure.reason] += 1
        kept = self.examples.setdefault(failure.reason, [])
        if len(kept) < self._kept:
            kept.append(failure.detail)

    def join(self, counts: Mapping[str, int], examples: Mapping[str, Sequence[str]]) -> None:
        """Count those of a part."""
        self.counts.update(counts)
        for reason, details in examples.items():
            kept = self.examples.setdefault(reason, [])
            kept += list(details)[: self._kept - len(kept)]

    def __len__(self) -> int:
        return self.counts.total()
