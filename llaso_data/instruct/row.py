"""A row that instruction data are built of: a recording with what is known of it, or texts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from llaso_data.instruct.fields import fields_of
from llaso_data.instruct.tasks.build import SECOND_AUDIO
from llaso_data.records import Provenance, Utterance, pickling

TARGET_AUDIO = "target_audio"
"""The field of a recording that is an answer, where what is asked for is another recording."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InstructRow:
    """A row of a source, whatever its kind.

    Attributes:
        id: 32 hexadecimal digits: the recording's id; without a recording, a digest of the corpus and the labels. It
            decides every draw, together with the seed.
        labels: Further fields by name (``emotion``, ``question``, ``translation``, ``text`` of a row without a
            recording); they win over the recording's.
        audio: The recording; None of a text set.
        audio_version: Changes with the bytes of the recordings, as far as the source says it.
        second: The other recording of a pair.
        target: The recording that is the answer (:data:`TARGET_AUDIO`).
        language: Of what is said or written in the row.
        split: ``train``, ``validation`` or ``test``, where the source says it.
        where: The place that says the row, for messages: ``data.csv:12``.
        provenance: Layout, file and row, and fields of the source that have no place.
    """

    id: str
    labels: Mapping[str, Any] = field(default_factory=dict)
    audio: Utterance | None = None
    audio_version: str = ""
    second: Utterance | None = None
    target: Utterance | None = None
    language: str | None = None
    split: str | None = None
    where: str = ""
    provenance: Provenance | None = None

    def fields(self, estimated: bool = False) -> dict[str, Any]:
        """Values by field, as tasks name them; a field that is not known is left out.

        Args:
            estimated: Whether a label counts that a model estimated.
        """
        known = {} if self.audio is None else fields_of(self.audio, estimated=estimated)
        known |= {name: value for name, value in self.labels.items() if value is not None and value != ""}
        for name, recording in ((SECOND_AUDIO, self.second), (TARGET_AUDIO, self.target)):
            if recording is not None and recording.failure is None:
                known[name] = recording.source
        if self.language is not None:
            known.setdefault("language", self.language)
        return known


pickling.register(InstructRow)
