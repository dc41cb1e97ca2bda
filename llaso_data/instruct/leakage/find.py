"""What samples share with those of other sets: the same sample, sound or text, and nearly the same.

The other sets are held in memory, as what is compared of them; the samples that are looked up flow through.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from llaso_data.instruct.leakage.fingerprint import Codes
from llaso_data.instruct.leakage.sounds import LEAST_FRAMES, SoundIndex, thinned
from llaso_data.instruct.leakage.texts import NormalText, TextIndex
from llaso_data.instruct.leakage.traits import SampleTraits

SAMPLE, CLIP, SOUND, WORDS, NEAR_WORDS = KINDS = ("sample", "audio", "sound", "text", "near_text")
"""The same sample by its id; the same decoded sound, bit by bit; the same sound by its fingerprint; the same normalised
text; a text of which few words differ. What is the same is not said to be nearly the same, too."""

MOST_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Leak:
    """A sample that another set has, or nearly.

    Attributes:
        kind: One of :data:`KINDS`.
        where: The sample's place.
        other: The other set.
        other_where: The place in it.
        differs: Share of the fingerprint's bits or of the words that differ; 0 where the kind is exact.
        text: The text, where that is what they share; and the other one.
        other_text: The same of the other sample.
    """

    kind: str
    where: str
    other: str
    other_where: str
    differs: float = 0.0
    text: str | None = None
    other_text: str | None = None


@dataclass(slots=True)
class LeakageReport:
    """What a set shares with others.

    Attributes:
        samples: Samples that were looked up.
        leaked: Those that another set has, or nearly; one that is found in several ways counts once.
        other_samples: By set, the samples that they were compared with.
        counts: By other set and kind, the samples that were found.
        examples: By kind, the first ones.
        names: What leaked, as ``llaso-data remove --list`` calls it.
    """

    samples: int = 0
    leaked: int = 0
    other_samples: dict[str, int] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: dict[str, list[Leak]] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python, for JSON."""
        return asdict(self)


class OtherSets:
    """What is compared of sets, to look samples up in."""

    def __init__(self, sets: Mapping[str, Iterable[SampleTraits]]) -> None:
        """Read the sets.

        Args:
            sets: Their samples, by the sets' names.
        """
        self.samples: dict[str, int] = {}
        self._places: list[tuple[str, str]] = []
        self._ids: dict[str, list[int]] = {}
        self._clips: dict[str, list[int]] = {}
        self._texts: dict[str, list[int]] = {}
        owners: dict[bytes, list[int]] = {}
        codes: dict[bytes, Codes] = {}
        texts: dict[str, NormalText] = {}
        for name, samples in sets.items():
            first = len(self._places)
            for one in samples:
                self._add(one, name, codes, owners, texts)
            self.samples[name] = len(self._places) - first
        self._sounds = SoundIndex.of(list(codes.values()))
        self._sound_owners = list(owners.values())
        self._near = TextIndex.of(list(texts.values()))

    def _add(
        self,
        one: SampleTraits,
        name: str,
        codes: dict[bytes, Codes],
        owners: dict[bytes, list[int]],
        texts: dict[str, NormalText],
    ) -> None:
        number = len(self._places)
        self._places.append((name, one.where))
        for id in one.ids:
            self._own(self._ids.setdefault(id, []), number)
        for audio_id in one.audio_ids:
            self._own(self._clips.setdefault(audio_id, []), number)
        for text in one.texts:
            texts.setdefault(text.text, text)
            self._own(self._texts.setdefault(text.text, []), number)
        for sound in one.sounds:
            kept = thinned(sound.codes)
            if np.count_nonzero(kept) < LEAST_FRAMES:
                continue
            # A clip of many tasks is indexed once, or its codes would be so common that they say nothing.
            clip = hashlib.blake2b(kept.tobytes(), digest_size=16).digest()
            if clip not in codes:
                codes[clip] = kept
                owners[clip] = []
            self._own(owners[clip], number)

    def _own(self, numbers: list[int], number: int) -> None:
        """Note a sample, the first one of each set: a text may be that of thousands."""
        if not numbers or self._places[numbers[-1]][0] != self._places[number][0]:
            numbers.append(number)

    def leaks(self, one: SampleTraits, kinds: Collection[str] = KINDS) -> Iterator[Leak]:
        """What the sets share with a sample, kind by kind: of each id, clip or text, the first place in each set.

        Args:
            one: The sample.
            kinds: Which kinds are looked for.
        """
        same_sound: set[int] = set()
        same_text: set[int] = set()
        if SAMPLE in kinds:
            same = sorted({number for id in one.ids for number in self._ids.get(id, ())})
            yield from (self._leak(SAMPLE, one, number) for number in same)
        same_sound.update(number for audio_id in one.audio_ids for number in self._clips.get(audio_id, ()))
        if CLIP in kinds:
            yield from (self._leak(CLIP, one, number) for number in sorted(same_sound))
        if SOUND in kinds:
            yield from self._sounding(one, same_sound)
        for text in one.texts:
            numbers = self._texts.get(text.text, ())
            same_text.update(numbers)
            if WORDS in kinds:
                for number in numbers:
                    yield self._leak(WORDS, one, number, texts=(text, text))
        if NEAR_WORDS in kinds:
            yield from self._nearly(one, same_text)

    def _sounding(self, one: SampleTraits, but: Collection[int]) -> Iterator[Leak]:
        for sound in one.sounds:
            for found in self._sounds.find(sound):
                for number in self._sound_owners[found.clip]:
                    if number not in but:
                        yield self._leak(SOUND, one, number, found.errors)

    def _nearly(self, one: SampleTraits, but: Collection[int]) -> Iterator[Leak]:
        for text in one.texts:
            for found in self._near.find(text):
                other = self._near.texts[found.text]
                for number in self._texts[other.text]:
                    if number not in but:
                        yield self._leak(NEAR_WORDS, one, number, found.changed, (text, other))

    def _leak(
        self,
        kind: str,
        one: SampleTraits,
        number: int,
        differs: float = 0.0,
        texts: tuple[NormalText, NormalText] | None = None,
    ) -> Leak:
        name, where = self._places[number]
        ours, theirs = (None, None) if texts is None else (texts[0].text, texts[1].text)
        return Leak(
            kind=kind,
            where=one.where,
            other=name,
            other_where=where,
            differs=differs,
            text=ours,
            other_text=theirs,
        )


def find_leaks(
    samples: Iterable[SampleTraits], others: OtherSets, kinds: Collection[str] = KINDS, examples: int = MOST_EXAMPLES
) -> LeakageReport:
    """Look samples up in other sets.

    Args:
        samples: The set's, which are read once.
        others: What they are compared with.
        kinds: Which kinds of leaks are looked for.
        examples: How many of each kind are kept.
    """
    report = LeakageReport(other_samples=others.samples)
    counts: dict[str, Counter[str]] = {name: Counter() for name in others.samples}
    names: dict[str, None] = {}
    for one in samples:
        report.samples += 1
        found: set[tuple[str, str]] = set()
        for leak in others.leaks(one, kinds):
            shown = report.examples.setdefault(leak.kind, [])
            if len(shown) < examples and (leak.other, leak.kind) not in found:
                shown.append(leak)
            found.add((leak.other, leak.kind))
        for other, kind in found:
            counts[other][kind] += 1
        if found:
            report.leaked += 1
            names.update(dict.fromkeys(one.names))
    report.counts = {name: {kind: counted[kind] for kind in KINDS if kind in kinds} for name, counted in counts.items()}
    report.examples = {kind: report.examples[kind] for kind in KINDS if kind in report.examples}
    report.names = list(names)
    return report
