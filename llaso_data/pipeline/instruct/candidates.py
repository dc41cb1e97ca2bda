"""Which task each row can feed: what the sources give, as columns of numbers."""

from __future__ import annotations

import functools
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.instruct.compose import Asking, about_of, bits_of, modalities_of, plain, unasked
from llaso_data.instruct.rendering import Renderer
from llaso_data.instruct.row import TARGET_AUDIO, InstructRow
from llaso_data.instruct.tasks.build import SECOND_AUDIO
from llaso_data.io.prng import splitmix64
from llaso_data.recipe import HoldOut
from llaso_data.records import GIVEN, SPLITS, UNKNOWN, Source, digest

PAIRED = "same_speaker"
"""The field of a pair that the plan makes of two rows."""
_FREE_FORMS = frozenset(("text", "audio", "scores"))


OTHERS = (SECOND_AUDIO, TARGET_AUDIO)
"""Fields of recordings beside the one that a row is about."""


@dataclass(frozen=True, slots=True)
class OtherRecordings:
    """Recordings beside those that rows are about.

    Attributes:
        row: (M,) uint32, the number of the row.
        field: (M,) uint8, its place in :data:`OTHERS`.
        place: (M,) uint64, digest of where the recording is.
        row_place: (R,) uint64, the same of each row's own recording.
    """

    row: npt.NDArray[np.uint32]
    field: npt.NDArray[np.uint8]
    place: npt.NDArray[np.uint64]
    row_place: npt.NDArray[np.uint64]


NO_OTHERS = OtherRecordings(
    np.zeros(0, np.uint32), np.zeros(0, np.uint8), np.zeros(0, np.uint64), np.zeros(0, np.uint64)
)


@dataclass(slots=True)
class Candidates:
    """Pairs of a row and a task that it can feed, in the order of rows and tasks.

    Attributes:
        names: Of the tasks; ``task`` has places in it.
        row: (N,) uint32, the number of the row.
        task: (N,) uint8.
        modalities: (N,) uint8, of :func:`~llaso_data.instruct.compose.bits_of`.
        turn: (N,) uint8, how many times the row is asked for the task before.
        made_pairs: (N,) bool, whether the plan has to find the other recording.
        ids: (R,) uint64, of each row the first half of its id.
        speaker: (R,) uint64, digest of the speaker; 0 where none is known.
        recording: (R,) uint64, digest of the recording's file; of a text, of itself.
        text: (R,) uint64, digest of the text's letters and digits; 0 where there is none.
        repeats: (R,) bool, whether the row before is about the same recording.
        split: (R,) int8, the place in SPLITS that the source names; -1 where it names none.
        not_fed: By task, why rows do not feed it.
        examples: By task, the first values that it cannot have.
        held_out: Rows and candidates that :class:`~llaso_data.recipe.HoldOut` keeps out, by what names them.
        others: Recordings beside those that rows are about.
    """

    names: tuple[str, ...]
    row: npt.NDArray[np.uint32]
    task: npt.NDArray[np.uint8]
    modalities: npt.NDArray[np.uint8]
    turn: npt.NDArray[np.uint8]
    made_pairs: npt.NDArray[np.bool_]
    ids: npt.NDArray[np.uint64]
    speaker: npt.NDArray[np.uint64]
    recording: npt.NDArray[np.uint64]
    text: npt.NDArray[np.uint64]
    repeats: npt.NDArray[np.bool_]
    split: npt.NDArray[np.int8]
    not_fed: dict[str, dict[str, int]]
    examples: dict[str, str] = field(default_factory=dict)
    held_out: dict[str, int] = field(default_factory=dict)
    others: OtherRecordings = NO_OTHERS

    def draws(self, seed: int) -> npt.NDArray[np.uint64]:
        """(N,) uint64: the draw of each candidate, a function of the row, the task and the seed."""
        states = np.array([int(digest("draw", seed, name, length=16), 16) for name in self.names], np.uint64)
        drawn: npt.NDArray[np.uint64] = splitmix64(self.ids[self.row] ^ states[self.task])
        # First turns come before second ones: rows are asked again only where there are no others.
        later = self.turn > 0
        drawn[later] = splitmix64(drawn[later] + self.turn[later])
        ordered: npt.NDArray[np.uint64] = (drawn >> np.uint64(4)) | (self.turn.astype(np.uint64) << np.uint64(60))
        return ordered

    def where(self, kept: npt.NDArray[np.bool_]) -> Candidates:
        """Those candidates for which (N,) ``kept`` holds."""
        names = ("row", "task", "modalities", "turn", "made_pairs")
        return replace(self, **{name: getattr(self, name)[kept] for name in names})

    def times(self, turns: int) -> Candidates:
        """Each candidate so many times, in turn."""
        if turns == 1:
            return self
        return replace(
            self,
            row=np.repeat(self.row, turns),
            task=np.repeat(self.task, turns),
            modalities=np.repeat(self.modalities, turns),
            made_pairs=np.repeat(self.made_pairs, turns),
            turn=np.tile(np.arange(turns, dtype=np.uint8), len(self.row)),
        )


class Scan:
    """Takes rows one by one and gathers candidates. About 53 bytes are held for a row, and 6 for a candidate."""

    def __init__(
        self, renderers: Sequence[Renderer], asking: Asking, hold_out: HoldOut, with_texts: bool = True
    ) -> None:
        """Begin.

        Args:
            renderers: Of the tasks, in their order.
            asking: How rows are asked.
            hold_out: What is kept out.
            with_texts: Whether texts are compared; else every ``text`` is 0.
        """
        self._renderers = list(renderers)
        self._ask_themselves = [one.build for one in self._renderers if one.build.asks_itself]
        self._asking, self._hold_out, self._with_texts = asking, hold_out, with_texts
        self._row, self._task, self._modalities = array("I"), array("B"), array("B")
        self._ids, self._speaker, self._recording, self._text = array("Q"), array("Q"), array("Q"), array("Q")
        self._split = array("b")
        self._other_row, self._other_field, self._other_place = array("I"), array("B"), array("Q")
        self._place = array("Q")
        self._last_audio, self._repeats = "", array("b")
        self._uses = [
            {one.build.input, one.build.answer.field, *one.build.needs, *one.build.shows} for one in self._renderers
        ]
        self._values = [(one.build.answer.field, *one.build.shows) for one in self._renderers]
        self._lacks: Counter[frozenset[str]] = Counter()
        self._known: dict[Any, list[tuple[int, int, bool]]] = {}
        self._silent: dict[Any, list[tuple[str, str]]] = {}
        self._asked_of: Counter[Any] = Counter()
        self._not_fed: dict[str, Counter[str]] = {}
        self._examples: dict[str, str] = {}
        self._held_out: Counter[str] = Counter()
        self._fine: set[tuple[int, str]] = set()

    def held_out(self, row: InstructRow) -> str | None:
        """What keeps a row out of the set: ``language``, ``environment`` or ``speaker``; None: nothing."""
        out = self._hold_out
        language = row.language or (row.audio.language if row.audio else None)
        if language is not None and (language in out.languages or language.partition("-")[0] in out.languages):
            return "language"
        if row.audio is not None and row.audio.environment.value in out.environments:
            return "environment"
        if row.audio is not None and row.audio.speaker.id.value in out.speakers:
            return "speaker"
        return None

    def add(self, row: InstructRow) -> None:
        """Take a row; the first has number 0. One that is held out has a number too, and feeds nothing."""
        number = len(self._ids)
        fields = row.fields(self._asking.estimated)
        self._ids.append(int(row.id[:16], 16))
        self._note_groups(row, fields)
        # Of several rows about one recording, the first alone feeds tasks that ask nothing of the labels.
        repeats = row.audio is not None and row.audio.id == self._last_audio
        self._repeats.append(repeats)
        self._last_audio = "" if row.audio is None else row.audio.id
        if (why := self.held_out(row)) is not None:
            self._held_out[why] += 1
            return
        for task, modalities, is_free in self._possible(row, fields):
            if repeats and not self._uses[task] & row.labels.keys():
                continue
            if not is_free and not self._has_values(task, fields):
                continue
            self._row.append(number)
            self._task.append(task)
            self._modalities.append(modalities)

    def done(self) -> Candidates:
        """What was gathered."""
        names = tuple(one.name for one in self._renderers)
        pairs = self._pairs(names)
        row = np.concatenate([np.frombuffer(self._row, np.uint32), pairs[0]])
        task = np.concatenate([np.frombuffer(self._task, np.uint8), pairs[1]])
        modalities = np.concatenate([np.frombuffer(self._modalities, np.uint8), pairs[2]])
        is_made = np.arange(len(row)) >= len(self._row)
        order = np.lexsort((task, row))
        self._tell_lacks()
        return Candidates(
            names=names,
            row=row[order],
            task=task[order],
            modalities=modalities[order],
            turn=np.zeros(len(row), np.uint8),
            made_pairs=is_made[order],
            ids=np.frombuffer(self._ids, np.uint64),
            speaker=np.frombuffer(self._speaker, np.uint64),
            recording=np.frombuffer(self._recording, np.uint64),
            text=np.frombuffer(self._text, np.uint64),
            repeats=np.frombuffer(self._repeats, np.int8).astype(bool),
            split=np.frombuffer(self._split, np.int8),
            not_fed={name: dict(sorted(counts.items())) for name, counts in self._not_fed.items()},
            examples=self._examples,
            held_out=dict(sorted(self._held_out.items())),
            others=OtherRecordings(
                np.frombuffer(self._other_row, np.uint32),
                np.frombuffer(self._other_field, np.uint8),
                np.frombuffer(self._other_place, np.uint64),
                np.frombuffer(self._place, np.uint64),
            ),
        )

    def _note_groups(self, row: InstructRow, fields: Mapping[str, Any]) -> None:
        audio = row.audio
        speaker, place = 0, None
        if audio is not None:
            source = audio.source
            told = audio.speaker.id
            if told.value != UNKNOWN and (self._asking.estimated or told.origin == GIVEN):
                speaker = _speaker_word(source.corpus, told.value)
            place = _place(source)
        self._speaker.append(speaker)
        recording = _word("recording", row.id) if place is None else place[0]
        self._recording.append(recording)
        self._place.append(recording if place is None else place[1])
        text = text_of(fields) if self._with_texts else None
        self._text.append(_word("text", plain(text)) if text else 0)
        self._split.append(SPLITS.index(row.split) if row.split in SPLITS else -1)
        for number, other in enumerate((row.second, row.target)):
            if other is not None:
                self._other_row.append(len(self._ids) - 1)
                self._other_field.append(number)
                self._other_place.append(_place(other.source)[1])

    def _possible(self, row: InstructRow, fields: Mapping[str, Any]) -> list[tuple[int, int, bool]]:
        """(task, modalities, whether every value will do) by the names of the fields alone."""
        abouts = tuple(about_of(build, row, fields) is not None for build in self._ask_themselves)
        key = (frozenset(fields), row.language, abouts)
        self._lacks[key[0]] += 1
        self._asked_of[key] += 1
        if key not in self._known:
            self._known[key] = possible = []
            self._silent[key] = silent = []
            for number, renderer in enumerate(self._renderers):
                allowed = modalities_of(renderer, row, fields, self._asking)
                bits = bits_of(allowed)
                is_free = renderer.build.answer.form in ("text", "audio") and not renderer.build.shows
                if bits:
                    possible.append((number, bits, is_free))
                elif (why := unasked(renderer, row, fields, self._asking)) is not None:
                    silent.append((renderer.name, why))
        return self._known[key]

    def _has_values(self, task: int, fields: Mapping[str, Any]) -> bool:
        """Whether the task can have the row's values; where it cannot, that is counted."""
        renderer = self._renderers[task]
        key = (task, "\0".join([str(fields.get(name)) for name in self._values[task]]))
        if key in self._fine:
            return True
        why = renderer.refuses(fields)
        if why is None:
            if len(self._fine) < 100_000:
                self._fine.add(key)
            return True
        self._not_fed.setdefault(renderer.name, Counter())[f"another {why.field}"] += 1
        self._examples.setdefault(renderer.name, str(why))
        return False

    def _tell_lacks(self) -> None:
        for renderer in self._renderers:
            counts = self._not_fed.setdefault(renderer.name, Counter())
            for names, rows in self._lacks.items():
                lacking = min((renderer.build.lacks(names, one) for one in renderer.build.modalities), key=len)
                if renderer.build.clips == 2 and {SECOND_AUDIO, PAIRED} >= {*lacking} and "speaker" in names:
                    continue
                if lacking:
                    counts[f"no {', '.join(lacking)}"] += rows
        for key, reasons in self._silent.items():
            for name, why in reasons:
                self._not_fed.setdefault(name, Counter())[why] += self._asked_of[key]

    def _pairs(self, names: tuple[str, ...]) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        """Candidates of tasks that compare two recordings: every row whose speaker is known can be half of a pair."""
        bit = bits_of(("text_audio",))
        speaker = np.frombuffer(self._speaker, np.uint64)
        known = np.flatnonzero((speaker != 0) & (np.frombuffer(self._repeats, np.int8) == 0)).astype(np.uint32)
        chosen = [
            number
            for number, renderer in enumerate(self._renderers)
            if renderer.build.clips == 2
            and PAIRED in renderer.build.needs
            and self._asking.modalities.get("text_audio")
        ]
        own = {(row, task) for row, task in zip(self._row, self._task, strict=True) if task in chosen}
        rows = [np.array([row for row in known if (int(row), task) not in own], np.uint32) for task in chosen]
        task = np.repeat(np.array(chosen, np.uint8), [len(one) for one in rows])
        row = np.concatenate(rows) if rows else np.zeros(0, np.uint32)
        return row, task, np.full(len(row), bit, np.uint8)


def is_free(renderer: Renderer) -> bool:
    """Whether a task's answer is no label and no number, so that texts tell what is answered."""
    return renderer.build.answer.form in _FREE_FORMS


def text_of(fields: Mapping[str, Any]) -> str | None:
    """The text of a row that splits hold apart: what is said in it, else what it asks."""
    for name in ("text", "question", "instruction"):
        if name in fields:
            return str(fields[name])
    return None


def _place(source: Source) -> tuple[int, int]:
    """Digests of a recording's file, and of what of it is heard: the same where all of it is."""
    file = _word("recording", f"{source.uri}\0{source.member or ''}")
    part = (source.start_s, source.end_s, source.channel, source.averaged)
    return file, file if part == (None, None, None, None) else _word("part", file, *part)


@functools.lru_cache(1 << 16)
def _speaker_word(corpus: str, speaker: str) -> int:
    return _word("speaker", corpus, speaker)


def _word(*key: object) -> int:
    return int(digest(*key, length=16), 16) or 1
