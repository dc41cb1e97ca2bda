"""Leakage while instruction data are built: rows that another split has, or a set that models are tested on.

What others are tested on comes first, then the test split, then validation: a row leaves the split that is less
protected. What is compared of the protected side is held in memory, and the training rows flow past it. A million rows
to be looked up take 40 MB here, besides 60 MB while their recordings are planned; a million protected rows with a clip
and a text each take 1.9 GiB (``bench/leakage.py``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from llaso_data.errors import LLaSOError
from llaso_data.instruct.leakage.find import CLIP, KINDS, MOST_EXAMPLES, SOUND, Leak, OtherSets
from llaso_data.instruct.leakage.sounds import is_short
from llaso_data.instruct.leakage.texts import NormalText
from llaso_data.instruct.leakage.traits import SampleTraits, normal_texts
from llaso_data.instruct.row import InstructRow
from llaso_data.io import storage
from llaso_data.pipeline.hearing import Workplace
from llaso_data.pipeline.instruct.heard_rows import HeardRows, heard_rows
from llaso_data.pipeline.instruct.row_store import RowStore
from llaso_data.pipeline.leakage import Unread, traits_of_set
from llaso_data.recipe import LeakageCheck
from llaso_data.records import SPLITS
from llaso_data.shards.sound_spool import shown_place
from llaso_data.uris import shown

TRAIN, VALIDATION, TEST = range(len(SPLITS))
_LESS_PROTECTED = {TRAIN: (VALIDATION, TEST), VALIDATION: (TEST,), TEST: ()}
"""Of a split's rows, the splits in which they may not be."""

_SOUND_KINDS = frozenset((CLIP, SOUND))

Rows = npt.NDArray[np.bool_]
"""(rows,) which of the rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowLeaks:
    """What rows leak.

    Attributes:
        leaks: (rows,) bool: the rows to leave out of their split.
        kinds: What was looked for.
        looked_up: By split, the rows that were looked up.
        leaked: By split, those that leak; one that is found in several ways counts once.
        other_rows: By other set, the samples or rows that they were compared with. Sets are called by their addresses,
            splits by their names.
        counts: By other set and kind, the rows that were found.
        examples: By kind, the first ones.
        not_compared: By set or split and reason, what could not be compared. ``short_sound``: recordings with too
            little sound for a fingerprint.
        not_compared_examples: The first of these, in words.
        notes: What the readers have to say of the sets.
    """

    leaks: Rows
    kinds: tuple[str, ...] = ()
    looked_up: dict[str, int] = field(default_factory=dict)
    leaked: dict[str, int] = field(default_factory=dict)
    other_rows: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[Leak]] = field(default_factory=dict)
    not_compared: dict[str, dict[str, int]] = field(default_factory=dict)
    not_compared_examples: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON, without the rows."""
        names = [name for name in self.__dataclass_fields__ if name not in ("leaks", "examples")]
        stated = {name: getattr(self, name) for name in names}
        examples = {kind: [asdict(leak) for leak in leaks] for kind, leaks in self.examples.items()}
        return stated | {"kinds": list(self.kinds), "examples": examples}


def find_leaks_of_rows(
    rows: RowStore, splits: npt.NDArray[np.int8], text_counts: Rows, check: LeakageCheck, place: Workplace
) -> RowLeaks:
    """Find the rows that their split must not have, since another split or a set that is tested on has them.

    Rows of one split may share what they like. Where there is nothing to compare, nothing is decoded.

    Args:
        rows: All rows.
        splits: (rows,) the split of each, an index into :data:`SPLITS`; -1: it is in none.
        text_counts: (rows,) whether the texts of a row are compared: not where the same few are in every set.
        check: Which sets, which kinds, and what becomes of leaks.
        place: Where sound is decoded; it has a folder.

    Raises:
        LLaSOError: Something leaks and the recipe refuses that; a set of ``against`` is not there or is empty; or as
            :func:`~.heard_rows.heard_rows`.
    """
    search = _Search(rows, splits, text_counts, check, place)
    found = search()
    if check.found == "refuse" and found.leaks.any():
        raise LLaSOError(_refusal(found))
    return found


def splits_to_look_up(splits: npt.NDArray[np.int8], for_test: bool) -> npt.NDArray[np.int8]:
    """The splits by which leaks are searched: rows of no split are all of one.

    Args:
        splits: (rows,) the split of each; -1: it is in none.
        for_test: A test set is built: rows of other splits are not in it, and are compared with nothing.

    Returns:
        (rows,) as :func:`find_leaks_of_rows` takes it.
    """
    alone = (splits < 0).all()
    if not for_test:
        return np.full_like(splits, TRAIN) if alone else splits
    tested = np.full_like(splits, -1)
    tested[alone | (splits == TEST)] = TEST
    return tested


def rows_to_compare(splits: npt.NDArray[np.int8], check: LeakageCheck) -> tuple[Rows, Rows]:
    """Which rows are looked up, and which are those of other splits that they are looked up in.

    Args:
        splits: As of :func:`find_leaks_of_rows`.
        check: As of :func:`find_leaks_of_rows`.
    """
    has = [bool((splits == split).any()) and bool(check.kinds) for split in range(len(SPLITS))]
    looked_up, protected = np.zeros(len(splits), np.bool_), np.zeros(len(splits), np.bool_)
    for split, others in _LESS_PROTECTED.items():
        held = [other for other in others if has[other]]
        if has[split] and (held or check.against):
            looked_up |= splits == split
            for other in held:
                protected |= splits == other
    return looked_up, protected


class _Search:
    """One search; its call does all of it."""

    def __init__(
        self, rows: RowStore, splits: npt.NDArray[np.int8], text_counts: Rows, check: LeakageCheck, place: Workplace
    ) -> None:
        self._rows, self._splits, self._text_counts = rows, splits, text_counts
        self._against, self._place = check.against, place
        self._kinds = tuple(kind for kind in KINDS if kind in check.kinds)
        self._hears = bool(_SOUND_KINDS & {*self._kinds})
        self._looked_up, self._protected = rows_to_compare(splits, check)
        self._unread = Unread()
        self._examples: dict[str, list[Leak]] = {}

    def __call__(self) -> RowLeaks:
        if not self._looked_up.any():
            return RowLeaks(leaks=np.zeros(len(self._splits), np.bool_), kinds=self._kinds)
        heard = None
        if self._hears:
            compared = np.flatnonzero(self._looked_up | self._protected)
            heard = heard_rows(self._rows, map(int, compared), self._place)
            self._note_unheard(heard)
        others = OtherSets(self._other_sets(heard))
        names = list(others.samples)
        found = np.zeros((len(names), len(self._kinds), len(self._splits)), np.bool_)
        for traits, numbers, kinds in self._traits(self._looked_up, heard):
            self._note(others.leaks(traits, kinds), numbers, names, found)
        return self._report(others, names, found)

    def _other_sets(self, heard: HeardRows | None) -> dict[str, Iterable[SampleTraits]]:
        sets: dict[str, Iterable[SampleTraits]] = {}
        for uri in self._against:
            address = storage.absolute(uri)
            place = self._place if self._hears else None
            sets[shown(address)] = traits_of_set(address, place, self._unread, by_recording=True)
        for split in (TEST, VALIDATION):
            protected = self._protected & (self._splits == split)
            if protected.any():
                sets[SPLITS[split]] = (traits for traits, *_ in self._traits(protected, heard))
        return sets

    def _traits(
        self, wanted: Rows, heard: HeardRows | None
    ) -> Iterator[tuple[SampleTraits, Sequence[int] | npt.NDArray[np.int32], tuple[str, ...]]]:
        """What is compared of rows, first of all but their sound, then of each recording: the rows that have it, and
        the kinds by which it is looked up."""
        others = tuple(kind for kind in self._kinds if kind not in _SOUND_KINDS)
        for number in map(int, np.flatnonzero(wanted)) if others else ():
            row = self._rows[number]
            texts = texts_of_row(row) if self._text_counts[number] else ()
            yield SampleTraits(ids=_ids_of(row), where=_where(row), texts=texts), [number], others
        sounds = tuple(kind for kind in self._kinds if kind in _SOUND_KINDS)
        for one, numbers in heard.recordings(wanted) if heard is not None else ():
            if one.audio_id is not None and one.sound is not None:
                where = _where(self._rows[int(numbers[0])])
                yield SampleTraits(where=where).hearing([(one.audio_id, one.sound)]), numbers, sounds

    def _note(
        self,
        leaks: Iterable[Leak],
        numbers: Sequence[int] | npt.NDArray[np.int32],
        names: list[str],
        found: npt.NDArray[np.bool_],
    ) -> None:
        for leak in leaks:
            for number in numbers:
                held = {SPLITS[other] for other in _LESS_PROTECTED[int(self._splits[number])]}
                if leak.other in SPLITS and leak.other not in held:
                    continue
                cell = names.index(leak.other), self._kinds.index(leak.kind), number
                shown_so_far = self._examples.setdefault(leak.kind, [])
                if not found[cell] and len(shown_so_far) < MOST_EXAMPLES:
                    shown_so_far.append(replace(leak, where=_where(self._rows[int(number)])))
                found[cell] = True

    def _note_unheard(self, heard: HeardRows) -> None:
        """Count the recordings that cannot be compared, by the split of a row that has them."""
        for one, numbers in heard.recordings(self._looked_up | self._protected):
            where = _where(self._rows[int(numbers[0])])
            for split in sorted({int(split) for split in self._splits[numbers]}):
                if one.failure is not None:
                    self._unread.add(SPLITS[split], one.failure.reason, f"{where}: {one.failure.detail}")
                elif one.sound is not None and is_short(one.sound):
                    self._unread.add(SPLITS[split], "short_sound", f"{where}: too little sound for a fingerprint")

    def _report(self, others: OtherSets, names: list[str], found: npt.NDArray[np.bool_]) -> RowLeaks:
        leaks: Rows = np.asarray(found.any(axis=(0, 1)))
        empty = [name for name in names if name not in SPLITS and not others.samples[name]]
        if empty:
            examples = "; ".join(self._unread.examples[:1])
            raise LLaSOError(f"leakage.against: {empty[0]}: there is no sample in it that can be read; {examples}")
        splits = [split for split in range(len(SPLITS)) if (self._looked_up & (self._splits == split)).any()]
        of_rows = {SPLITS[split]: int((self._splits == split).sum()) for split in (VALIDATION, TEST)}
        return RowLeaks(
            leaks=leaks,
            kinds=self._kinds,
            looked_up={SPLITS[split]: int((self._splits == split).sum()) for split in splits},
            leaked={SPLITS[split]: int((leaks & (self._splits == split)).sum()) for split in splits},
            other_rows={name: of_rows.get(name, others.samples[name]) for name in names},
            counts={
                name: {kind: int(found[place, number].sum()) for number, kind in enumerate(self._kinds)}
                for place, name in enumerate(names)
            },
            examples={kind: self._examples[kind] for kind in self._kinds if kind in self._examples},
            not_compared={name: dict(sorted(counts.items())) for name, counts in self._unread.counts.items()},
            not_compared_examples=self._unread.examples,
            notes=dict(self._unread.notes),
        )


def texts_of_row(row: InstructRow) -> tuple[NormalText, ...]:
    """What is said or written in a row as input. An answer is no input: many rows share it.

    An instruction with an input is one text: alone, it is that of many rows.
    """
    fields = row.fields()
    instruction = "\n".join(str(fields[name]) for name in ("instruction", "input") if fields.get(name))
    said = [(fields.get("text"), row.language), (fields.get("question"), row.language), (instruction, row.language)]
    for one in (row.audio, row.second):
        if one is not None:
            said += [(text, one.language or row.language) for text in (one.text, one.text_given)]
    return normal_texts((str(text), language) for text, language in said if text)


def _ids_of(row: InstructRow) -> tuple[str, ...]:
    recordings = (one for one in (row.audio, row.second, row.target) if one is not None)
    return tuple(dict.fromkeys([row.id, *(one.id for one in recordings)]))


def _where(row: InstructRow) -> str:
    return row.where or (row.id if row.audio is None else shown_place(row.audio))


def _refusal(found: RowLeaks) -> str:
    leaked = ", ".join(f"{count:,} of {split}" for split, count in found.leaked.items() if count)
    counts = "; ".join(
        f"{other}: " + ", ".join(f"{kind} {count:,}" for kind, count in of_kinds.items() if count)
        for other, of_kinds in found.counts.items()
        if any(of_kinds.values())
    )
    first = next(leaks[0] for leaks in found.examples.values())
    return (
        f"{leaked} leak, nothing is written ({counts}; the first: {first.where} | {first.other_where}); set "
        "`instruct.leakage.found: remove` to leave them out, or take them out of the sources"
    )
