"""An output of real recordings to audit, and a page on it, for the tests of the audit."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from llaso_data import audio
from llaso_data.recipe import Audit, Judge
from llaso_data.records import Utterance, Word
from llaso_data.report.audit import AuditSample, load_sample
from llaso_data.report.audit_server import AuditServer
from llaso_data.text import word_spans
from tests.conftest import Clip
from tests.llaso_data.pipeline.test_judge import utterance
from tests.llaso_data.report.test_card import finished
from tests.support.corpora import louder


def recorded(clips: Sequence[Clip], folder: Path, gains: Sequence[float] = (1.0,)) -> list[Utterance]:
    """The clips at each level as accepted records, their words dealt evenly over the sound."""
    made = []
    for number, (clip, gain) in enumerate((clip, gain) for gain in gains for clip in clips):
        path = louder(clip.path, folder / clip.language / f"{clip.path.stem}-{gain}.wav", gain)
        pcm, _ = audio.decode(str(path))
        seconds = len(pcm) / audio.SAMPLE_RATE_HZ
        starts = [start for start, _ in word_spans(clip.text, clip.language)]
        texts = [clip.text[a:b].strip() for a, b in zip(starts, [*starts[1:], len(clip.text)], strict=True)]
        times = np.linspace(0.1, seconds - 0.1, len(texts) + 1).round(3).tolist()
        plain = utterance(number, language=clip.language, text=clip.text, duration_s=round(seconds, 3))
        made.append(
            dataclasses.replace(
                plain,
                source=dataclasses.replace(plain.source, uri=str(path)),
                audio_id=audio.audio_id(pcm),
                words=tuple(Word(t, a, b) for t, a, b in zip(texts, times, times[1:], strict=False)),
            )
        )
    return made


def to_audit(folder: Path, utterances: list[Utterance], items: int, seed: int = 0) -> AuditSample:
    """A finished run of these records, of which so many are drawn."""
    half = len(utterances) // 2
    judging = Judge(audit=Audit(items=items, seed=seed))
    return load_sample(finished(str(folder), [utterances[:half], utterances[half:]], judging))


@contextmanager
def served(found: AuditSample, **options: Any) -> Iterator[AuditServer]:
    """The page of an audit, as long as this is open."""
    with AuditServer(found, **options) as server:
        thread = threading.Thread(target=server.serve)
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            thread.join()
