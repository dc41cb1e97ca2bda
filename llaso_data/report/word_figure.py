"""A picture of word times: waveform and words of some utterances."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llaso_data import audio
from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.io import pictures
from llaso_data.pipeline.commit import observed
from llaso_data.records import Utterance
from llaso_data.uris import shown

BY = "llaso-data words"
"""What the picture names as its maker."""

_COLOURS = ("#1f77b4", "#d2691e")


def choose(align: str, count: int, language: str | None = None) -> list[Utterance]:
    """Choose ``count`` utterances with words from build-align's output, at even steps in the order of their ids.

    Raises:
        LLaSOError: where no utterance has word times.
    """
    with_words = sorted((u for u in observed(align) if u.words and language in (None, u.language)), key=lambda u: u.id)
    if not with_words:
        raise LLaSOError(f"{align}: no utterance with word times" + (f" in {language}" if language else ""))
    indices = np.linspace(0, len(with_words) - 1, min(count, len(with_words))).round().astype(int)
    return [with_words[i] for i in indices]


def draw(utterances: Sequence[Utterance], path: str | Path) -> None:
    """Write a picture with a row for each utterance and each word over its time; the path's ending says the format."""
    pyplot = pictures.pyplot()
    figure, axes = pyplot.subplots(len(utterances), 1, figsize=(16, 2.3 * len(utterances)), squeeze=False)
    for axis, utterance in zip(axes[:, 0], utterances, strict=True):
        pcm = limited.decode_source(utterance.source)
        time_s = np.arange(len(pcm)) / audio.SAMPLE_RATE_HZ
        level = pcm / max(1, int(np.abs(pcm.astype(np.int32)).max()))
        axis.plot(time_s, level, color="#888888", linewidth=0.4)
        for i, word in enumerate(utterance.words):
            colour = _COLOURS[i % 2]
            axis.axvspan(word.start_s, word.end_s, color=colour, alpha=0.22, linewidth=0)
            height = 1.06 + 0.18 * (i % 2)  # neighbours on two lines, so that short words stay legible
            axis.text((word.start_s + word.end_s) / 2, height, word.text, ha="center", fontsize=8, color=colour)
        name = utterance.source.member or shown(utterance.source.uri).rsplit("/", 1)[-1]
        axis.set_title(f"{name} ({utterance.language}, {utterance.decoding})", loc="left", fontsize=8, pad=24)
        axis.set_xlim(0, len(pcm) / audio.SAMPLE_RATE_HZ)
        axis.set_ylim(-1, 1)
        axis.set_yticks([])
        axis.tick_params(labelsize=7)
    axes[-1, 0].set_xlabel("seconds")
    figure.tight_layout()
    pictures.save(figure, str(path), BY, dpi=100)
