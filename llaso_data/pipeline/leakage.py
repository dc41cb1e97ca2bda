"""Leakage of sets as they lie: samples are read, their sound is decoded, and what others have of them is found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from llaso_data.audio import Pcm, limited
from llaso_data.errors import AudioError, LLaSOError
from llaso_data.instruct.leakage.find import CLIP, KINDS, MOST_EXAMPLES, SOUND, LeakageReport, OtherSets, find_leaks
from llaso_data.instruct.leakage.sounds import LEAST_FRAMES, thinned
from llaso_data.instruct.leakage.traits import SampleTraits, traits_of
from llaso_data.io import outputs, storage
from llaso_data.pipeline.convert.samples import SHARDS, Converted, open_samples, samples_of
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Failure
from llaso_data.uris import shown

LIST_HEADER = "# What leaks, by `llaso-data leakage`; for `llaso-data remove SHARDS --list FILE`."
_COMMAND = "llaso-data leakage"


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


def leakage(uri: str, against: Sequence[str], kinds: Collection[str] = KINDS) -> Leakage:
    """Find what a set shares with others: shards, sets of samples, corpora or conversations of any layout.

    Sound is decoded where a kind needs it.

    Args:
        uri: The set, which is read once and not held.
        against: The others, of which what is compared is held in memory.
        kinds: Which kinds are looked for.

    Raises:
        LLaSOError: A set is not there, no layout reads it, it is empty, or it is compared with itself.
    """
    chosen = tuple(kind for kind in KINDS if kind in kinds)
    same = [other for other in against if storage.absolute(other) == storage.absolute(uri)]
    if same or len({*map(storage.absolute, against)}) < len(against):
        raise LLaSOError(f"{shown(uri)} and what it is compared with must be different sets, each named once")
    unread = Unread()
    hears = bool({CLIP, SOUND} & {*chosen})
    others = OtherSets({shown(other): _traits(other, hears, unread) for other in against})
    report = find_leaks(_traits(uri, hears, unread), others, chosen)
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


def _traits(uri: str, hears: bool, unread: Unread) -> Iterator[SampleTraits]:
    source = open_samples(SourceSpec(path=uri), Convert(), unread.notes)
    for one in samples_of(source, Convert()):
        if isinstance(one, Failure):
            unread.add(shown(uri), one.reason, one.detail)
            continue
        pcms = _sounds(one, uri, unread) if hears else []
        key = one.where.rpartition("!")[2] if source.kind == SHARDS and one.where else None
        traits = traits_of(one.sample, pcms, where=one.where, key=key)
        for sound in traits.sounds:
            if (thinned(sound.codes) != 0).sum() < LEAST_FRAMES:
                unread.add(shown(uri), "short_sound", f"{traits.where}: too little sound for a fingerprint")
        yield traits


def _sounds(one: Converted, uri: str, unread: Unread) -> list[Pcm | None]:
    pcms: list[Pcm | None] = []
    for where, member, start_s, end_s, channels in one.places:
        try:
            pcms.append(limited.decode(where, member, start_s, end_s, channels=channels)[0])
        except AudioError as error:
            unread.add(shown(uri), error.reason, str(error))
            pcms.append(None)
    return pcms
