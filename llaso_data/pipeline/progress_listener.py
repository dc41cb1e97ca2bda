"""Who is told how a build goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class ProgressListener(Protocol):
    """Is told how a build goes on (:class:`llaso_data.pipeline.progress.Progress` is one)."""

    def planned(self, blocks: int, inputs: int) -> None:
        """Called with the totals, where all planned inputs fit in memory; again where a calibration adds to them."""

    def block_done(
        self, *, inputs: int, failed: int, audio_s: float, skipped: bool, verdicts: Mapping[str, int]
    ) -> None:
        """Called after each block; ``skipped`` where an earlier run observed it."""
