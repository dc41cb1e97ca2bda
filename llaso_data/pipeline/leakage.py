"""Leakage of sets as they lie: samples are read, their sound is decoded, and what others have of them is found."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.leakage.find import CLIP, KINDS, MOST_EXAMPLES, SOUND, LeakageReport, OtherSets, find_leaks
from llaso_data.instruct.leakage.fingerprint import Fingerprint
from llaso_data.instruct.leakage.sounds import is_short
from llaso_data.instruct.leakage.traits import SampleTraits, traits_of
from llaso_data.io import outputs, storage
from llaso_data.pipeline import engines
from llaso_data.pipeline.convert.samples import SHARDS, open_samples, samples_of
from llaso_data.pipeline.hearing import HeardRecording, Recording, Workplace, hear
from llaso_data.recipe import Convert, Run, SourceSpec
from llaso_data.records import Failure
from llaso_data.uris import shown

LIST_HEADER = "# What leaks, by `llaso-data leakage`; for `llaso-data remove SHARDS --list FILE`."
HERE = Workplace(Run(engine="local"))
"""Where sound is decoded by this process."""
_COMMAND = "llaso-data leakage"
_SAMPLES_OF_A_BLOCK = 128


@dataclass(slots=True)
class Unread:
    """What of the sets could not be compared, and is said.

    Attributes:
        counts: By set and reason. ``short_sound``: clips that have too little sound for a fingerprint.
        examples: The first ones in words.
        notes: What the readers have to say of the sets.
    """

    counts: dict[str, Counter[str]] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, uri: str, reason: str, detail: str) -> None:
        """Count one more."""
        self.counts.setdefault(uri, Counter())[reason] += 1
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(detail)


@dataclass(frozen=True, slots=True)
class Leakage:
    """What a set shares with others, and what of them could not be compared."""

    uri: str
    kinds: tuple[str, ...]
    report: LeakageReport
    unread: Unread

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        unread = {uri: dict(counts) for uri, counts in self.unread.counts.items()}
        return {
            "set": shown(self.uri),
            "kinds": list(self.kinds),
            **self.report.to_dict(),
            "not_compared": unread,
            "not_compared_examples": self.unread.examples,
            "notes": dict(self.unread.notes),
        }


def leakage(uri: str, against: Sequence[str], kinds: Collection[str] = KINDS, place: Workplace = HERE) -> Leakage:
    """Find what a set shares with others: shards, sets of samples, corpora or conversations of any layout.

    Sound is decoded where a kind needs it.

    Args:
        uri: The set, which is read once and not held.
        against: The others, of which what is compared is held in memory.
        kinds: Which kinds are looked for.
        place: Where sound is decoded. What was decoded is found there by the next run.

    Raises:
        LLaSOError: A set is not there, no layout reads it, it is empty, or it is compared with itself.
    """
    chosen = tuple(kind for kind in KINDS if kind in kinds)
    same = [other for other in against if storage.absolute(other) == storage.absolute(uri)]
    if same or len({*map(storage.absolute, against)}) < len(against):
        raise LLaSOError(f"{shown(uri)} and what it is compared with must be different sets, each named once")
    unread = Unread()
    heard_at = place if {CLIP, SOUND} & {*chosen} else None
    with engines.connected(place.run) if heard_at else nullcontext():
        others = OtherSets({shown(other): traits_of_set(other, heard_at, unread) for other in against})
        report = find_leaks(traits_of_set(uri, heard_at, unread), others, chosen)
    for name, count in {shown(uri): report.samples, **others.samples}.items():
        if not count:
            raise LLaSOError(f"{name}: there is no sample in it that can be read; {'; '.join(unread.examples[:1])}")
    return Leakage(uri, chosen, report, unread)


def write_list(found: Leakage, uri: str) -> None:
    """Write what leaked as a list, a name on each line.

    Args:
        found: What was found.
        uri: The list. One that this function wrote before is replaced.

    Raises:
        LLaSOError: There is another file.
    """
    check_list(uri)
    lines = [LIST_HEADER, *found.report.names]
    storage.write_bytes(storage.absolute(uri), "".join(f"{line}\n" for line in lines).encode())


def check_list(uri: str) -> None:
    """Refuse to replace a file that no :func:`write_list` wrote.

    Raises:
        LLaSOError: There is such a file.
    """
    outputs.refuse(storage.absolute(uri), _COMMAND, outputs.marked(LIST_HEADER), "--list")


def traits_of_set(
    uri: str, place: Workplace | None, unread: Unread, *, by_recording: bool = False
) -> Iterator[SampleTraits]:
    """What is compared of each sample of a set, in the set's order.

    Args:
        uri: The set.
        place: Where its sound is decoded; None: none is.
        unread: Counts what cannot be compared.
        by_recording: Whether the ids of recordings are compared, too.
    """
    described = _described(uri, unread, by_recording)
    if place is None:
        yield from (traits for traits, _ in described)
        return
    # Samples wait while their sound is heard, so that a set is read once: as many as the engine has jobs.
    waiting: deque[list[tuple[SampleTraits, list[Recording]]]] = deque()

    def batches() -> Iterator[list[Recording]]:
        while batch := list(islice(described, _SAMPLES_OF_A_BLOCK)):
            waiting.append(batch)
            yield [recording for _, recordings in batch for recording in recordings]

    for heard in hear(batches(), place):
        sounds = iter(heard)
        for traits, recordings in waiting.popleft():
            yield traits.hearing(_decoded(islice(sounds, len(recordings)), traits.where, shown(uri), unread))


def _described(uri: str, unread: Unread, by_recording: bool) -> Iterator[tuple[SampleTraits, list[Recording]]]:
    source = open_samples(SourceSpec(path=uri), Convert(), unread.notes)
    for one in samples_of(source, Convert()):
        if isinstance(one, Failure):
            unread.add(shown(uri), one.reason, one.detail)
            continue
        key = one.where.rpartition("!")[2] if source.kind == SHARDS and one.where else None
        traits = traits_of(one.sample, where=one.where, key=key, by_recording=by_recording)
        yield traits, [Recording(place=place, version=one.version) for place in one.places]


def _decoded(
    heard: Iterable[HeardRecording], where: str, name: str, unread: Unread
) -> Iterator[tuple[str, Fingerprint]]:
    """What could be decoded; what could not, and what has too little sound, is counted under a name."""
    for one in heard:
        if one.failure is not None:
            unread.add(name, one.failure.reason, one.failure.detail)
        if one.audio_id is None or one.sound is None:
            continue
        if is_short(one.sound):
            unread.add(name, "short_sound", f"{where}: too little sound for a fingerprint")
        yield one.audio_id, one.sound
