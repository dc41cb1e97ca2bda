"""What a sample says of its recordings, as rows: its answer is the label of its task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

from llaso_data.formats.conversations.kept import DERIVED
from llaso_data.formats.rows.labels import label_value
from llaso_data.formats.rows.source_row import RowError
from llaso_data.formats.text_sets.exchanges import SEVERAL, asked
from llaso_data.instruct.fields import fields_of, label_fields
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.tasks import Tasks, folded
from llaso_data.instruct.tasks.build import AUDIO, Build
from llaso_data.pipeline.convert.samples import Converted
from llaso_data.records import Failure, Message, Provenance, Sample, Utterance, canonical, digest
from llaso_data.shards.sound_spool import place_of

NOT_A_ROW = "not_a_row"
"""The reason of a sample of which no row can be made."""
OF_SEVERAL = "samples of several recordings, whose answers are not used"
_MODALITY = "modality"
_SPOKEN = ("audio", "pure_audio")
"""What samples keep as their modality where instruction and input are one clip: ours, and that of LLaSO's folders."""
_SPOKEN_INSTRUCTION = "audio_text"


class SampleReader:
    """Reads samples by what tasks declare."""

    def __init__(self, corpus: str, tasks: Tasks, notes: Counter[str]) -> None:
        """``corpus`` is a part of the ids of texts; ``notes`` counts what is passed over."""
        self._corpus, self._tasks, self._notes = corpus, tasks, notes
        self._labels = label_fields(tasks)
        self._build = lru_cache(maxsize=1024)(self._build_of)
        self._forms = lru_cache(maxsize=64)(tasks.forms_of)

    def rows(self, one: Converted) -> list[InstructRow | Failure]:
        """The rows of a sample: of its recordings, or of its texts. A failure says why there is none."""
        sample = one.sample
        where = one.where or (sample.audios[0].source.uri if sample.audios else "")
        try:
            if not sample.audios:
                return [self._of_texts(sample, where)]
            return self._of_audios(one, self._said(sample), where)
        except RowError as error:
            return [_not_a_row(where, str(error))]

    def _build_of(self, task: str) -> Build | None:
        """What the task of a sample declares, which may be named by one of its sets."""
        if task in self._tasks.build:
            return self._tasks.build[task]
        known = self._tasks.set_of(task)
        return None if known is None else self._tasks.build.get(self._tasks.sets[known].task)

    def _of_texts(self, sample: Sample, where: str) -> InstructRow:
        question, answer = self._exchange(sample)
        build = self._build(sample.task)
        named = {build.input: question, build.answer.field: answer} if build is not None and build.asks_itself else None
        labels = {**self._kept(sample), **(named or asked(question, answer))}
        return InstructRow(
            id=digest(self._corpus, canonical(labels)),
            labels=labels,
            language=sample.language,
            split=sample.split,
            where=where,
            provenance=self._provenance(sample),
        )

    def _said(self, sample: Sample) -> dict[str, Any]:
        """What a sample says of its one recording. Raises RowError where its audio is no recording."""
        provenance, build = sample.provenance, self._build(sample.task)
        if provenance is not None and provenance.voice is not None:
            raise RowError(f"its audio was spoken by the voice {provenance.voice}")
        modality = _modality(sample)
        asks_itself = build is not None and build.asks_itself
        if modality == _SPOKEN_INSTRUCTION or (modality in _SPOKEN and not asks_itself):
            raise RowError("its audio holds a spoken instruction, and no recording alone")
        if len(sample.audios) > 1:
            self._notes[OF_SEVERAL] += 1
            return {}
        return {**self._kept(sample), **self._answered(sample, build)}

    def _of_audios(self, one: Converted, labels: dict[str, Any], where: str) -> list[InstructRow | Failure]:
        sample, found = one.sample, list[InstructRow | Failure]()
        versions = one.version.split(" ")
        for number, utterance in enumerate(_placed(one)):
            if utterance.failure is not None:
                found.append(utterance.failure)
            elif not labels and not fields_of(utterance).keys() - {AUDIO, "language"}:
                found.append(_not_a_row(where, f"it says nothing of its audio: {sample.task} is none of the tasks"))
            else:
                found.append(
                    InstructRow(
                        id=utterance.id,
                        labels=labels,
                        audio=utterance,
                        audio_version=versions[number] if len(versions) == len(sample.audios) else one.version,
                        language=utterance.language or sample.language,
                        split=sample.split,
                        where=where,
                        provenance=self._provenance(sample),
                    )
                )
        return found

    def _kept(self, sample: Sample) -> dict[str, Any]:
        """The fields that a sample has kept and that are called as a label."""
        kept = (sample.provenance.kept or {}) if sample.provenance else {}
        found = {name: label_value(value) for name, value in kept.items() if name in self._labels}
        return {name: value for name, value in found.items() if value is not None}

    def _provenance(self, sample: Sample) -> Provenance | None:
        """Where the sample comes from, with what it kept that is no label."""
        known = sample.provenance
        if known is None:
            return None
        others = (DERIVED, _MODALITY, *self._labels)
        kept = {name: value for name, value in (known.kept or {}).items() if name not in others}
        return Provenance(layout=known.layout, file=known.file, row=known.row, kept=kept)

    def _exchange(self, sample: Sample) -> tuple[str, str]:
        """The texts of the first question and of its answer."""
        question: Message | None = None
        for place, message in enumerate(sample.messages):
            if message.role == "user":
                question = message
            elif message.role == "assistant" and question is not None:
                if place + 1 < len(sample.messages):
                    self._notes[SEVERAL] += 1
                return _text(question), _text(message)
        raise RowError("no question in it is followed by an answer")

    def _answered(self, sample: Sample, build: Build | None) -> dict[str, Any]:
        """The label that the answer is; nothing where the task is none of ours, or the recording says it already."""
        if build is None or build.answer.form == "audio" or build.answer.field in fields_of(sample.audios[0]):
            return {}
        _, answer = self._exchange(sample)
        if not answer:
            return {}
        return {build.answer.field: self._label(build, answer) if build.answer.form == "label" else answer}

    def _label(self, build: Build, answer: str) -> str:
        """The answer without what stands around it. Raises RowError where it is no label of the task."""
        said = answer.strip(" .。!！\"'")
        label_set = self._tasks.sets[build.scored_as].labels if build.scored_as else None
        if label_set is not None and folded(said) not in self._forms(label_set):
            raise RowError(f"its answer {answer[:80]!r} is no label of {label_set}")
        return said


def _modality(sample: Sample) -> Any:
    """The modality that a sample has kept: ours, or that of LLaSO's folders."""
    kept: Mapping[str, Any] = (sample.provenance.kept or {}) if sample.provenance else {}
    derived = kept.get(DERIVED)
    return kept.get(_MODALITY) or (derived.get(_MODALITY) if isinstance(derived, Mapping) else None)


def _placed(one: Converted) -> Iterator[Utterance]:
    """The utterances, with their sound where it is now: that of shards lies in their tars."""
    for utterance, place in zip(one.sample.audios, one.places, strict=True):
        if place_of(utterance) == place:
            yield utterance
            continue
        uri, member, start_s, end_s, channels = place
        single = channels[0] if channels is not None and len(channels) == 1 else None
        source = replace(
            utterance.source,
            uri=uri,
            member=member,
            start_s=start_s,
            end_s=end_s,
            channel=single,
            averaged=None if single is not None else channels,
            taken=None,
        )
        yield replace(utterance, source=source)


def _text(message: Message) -> str:
    return "\n".join(part.text for part in message.content if part.text).strip()


def _not_a_row(where: str, why: str) -> Failure:
    return Failure(NOT_A_ROW, f"{where}: {why}")
