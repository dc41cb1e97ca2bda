"""The scorer of texts that transcription is given: backward scores, word times and likelihood ratios."""

from __future__ import annotations

from collections.abc import Sequence

from llaso_data.align.backward import score_backward
from llaso_data.align.likelihood import log_likelihood_ratios
from llaso_data.recipe import Align
from llaso_data.whisper.clips import BackwardScores, Clip
from llaso_data.whisper.teacher_forcing import Decoder


class Scorer:
    """Scores and aligns with one decoder; see :class:`llaso_data.whisper.clips.TextScorer`."""

    scores_texts = True

    def __init__(self, decoder: Decoder, settings: Align) -> None:
        """``settings``: the recipe's section."""
        self._decoder = decoder
        self._settings = settings
        self.heads = settings.heads

    def align(self, clips: Sequence[Clip]) -> list[BackwardScores]:
        """See :func:`llaso_data.align.backward.score_backward`."""
        return score_backward(self._decoder, clips, self._settings)

    def compare(self, clips: Sequence[Clip], hypotheses: Sequence[str | None]) -> list[float | None]:
        """See :func:`llaso_data.align.likelihood.log_likelihood_ratios`."""
        return log_likelihood_ratios(self._decoder, clips, hypotheses)


class NoScores:
    """A scorer that scores nothing, for whoever wants hypotheses alone: teacher forcing takes half of the time."""

    scores_texts = False

    def __init__(self, settings: Align | None = None) -> None:
        """``settings``: the recipe's section, if it has one."""
        self.heads = (settings or Align()).heads

    def align(self, clips: Sequence[Clip]) -> list[BackwardScores]:
        """No scores and no words."""
        return [BackwardScores((), None, None, None) for _ in clips]

    def compare(self, clips: Sequence[Clip], hypotheses: Sequence[str | None]) -> list[float | None]:
        """No ratios."""
        return [None for _ in clips]
