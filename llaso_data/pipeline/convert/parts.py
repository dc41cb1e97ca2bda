"""Which sample goes into which part: a pure function of the samples in their order, the settings and the seed.

Samples come lazily and few are in memory: a window of them is shuffled and cut into parts. Samples of one file stay
together, so that a long recording is decoded for few parts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llaso_data.pipeline.convert import filtering
from llaso_data.pipeline.convert.problems import Problems
from llaso_data.pipeline.convert.samples import Converted
from llaso_data.pipeline.seen_ids import SeenIds
from llaso_data.recipe import Convert
from llaso_data.records import ESTIMATED, SPLITS, UNKNOWN, Attribute, Failure, Sample, canonical, digest
from llaso_data.shards import layout
from llaso_data.shards.removal import NOTHING_REMOVED, Removed

if TYPE_CHECKING:
    import pyarrow.compute as pc

WINDOW_PARTS = 16
DUPLICATE, REMOVED = "duplicate", "removed"


@dataclass(frozen=True, slots=True)
class PlannedPart:
    """One part before it is written: the folder below the output that it belongs to, its number there, its samples."""

    group: str
    number: int
    samples: tuple[Converted, ...]


def digest_of(dataset: str, part: PlannedPart) -> str:
    """The digest of all that decides the bytes of a part.

    Args:
        dataset: Digest of the conversion.
        part: With its final number.
    """
    samples = ((canonical(one.sample), str(one.places), one.version) for one in part.samples)
    return digest(dataset, part.group, part.number, *(value for of_one in samples for value in of_one))


@dataclass(slots=True)
class Tally:
    """What became of the rows before parts were made: how many were read, let go by the filter, and known before."""

    read: int = 0
    filtered: int = 0
    known: int = 0


def plan(
    stream: Iterable[Converted | Failure],
    settings: Convert,
    shuffle: bool,
    problems: Problems,
    tally: Tally,
    seen: SeenIds | None = None,
    first_numbers: Mapping[str, int] | None = None,
    removed: Removed = NOTHING_REMOVED,
) -> Iterator[PlannedPart]:
    """Cut a stream of samples into parts.

    Args:
        stream: The samples of all sources.
        settings: Samples per part, splits, groups, filter, seed.
        shuffle: Whether the samples of a window change places; else they keep the order of their source.
        problems: Takes rows that give no sample, and repeated samples.
        tally: Counts the rows.
        seen: The samples that were written before; they are not written again.
        first_numbers: The number of the next part of each group.
        removed: What was taken out of the set; it is not written again.
    """
    earlier = seen is not None
    seen = SeenIds() if seen is None else seen
    numbers: Counter[str] = Counter(first_numbers or {})
    pending: dict[str, list[Converted]] = {}
    window = settings.samples_per_part * (WINDOW_PARTS if shuffle else 1)
    condition = None if settings.filter is None else filtering.parse(settings.filter)

    def parts(group: str, samples: list[Converted]) -> Iterator[PlannedPart]:
        ordered = sorted(samples, key=lambda one: _place_key(one, settings.seed)) if shuffle else samples
        for start in range(0, len(ordered), settings.samples_per_part):
            chosen = tuple(ordered[start : start + settings.samples_per_part])
            yield PlannedPart(group, numbers[group], chosen)
            numbers[group] += 1

    for batch in _batches(stream, settings.samples_per_part, problems, tally):
        batch = _left_in(batch, removed, problems)
        for one in _filtered(_unrepeated(batch, seen, problems, tally if earlier else None), condition, tally):
            group, one = _grouped(one, settings)
            waiting = pending.setdefault(group, [])
            waiting.append(one)
            if len(waiting) == window:
                yield from parts(group, pending.pop(group))
    for group in sorted(pending):
        yield from parts(group, pending[group])


def _batches(
    stream: Iterable[Converted | Failure], size: int, problems: Problems, tally: Tally
) -> Iterator[list[Converted]]:
    batch: list[Converted] = []
    for one in stream:
        tally.read += 1
        if isinstance(one, Failure):
            problems.add(one)
            continue
        batch.append(one)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _left_in(batch: list[Converted], removed: Removed, problems: Problems) -> list[Converted]:
    if not removed:
        return batch
    left = []
    for one in batch:
        if removed.holds(one.sample):
            problems.add(Failure(REMOVED, f"{shown(one)}: it was removed from this set"))
        else:
            left.append(one)
    return left


def _unrepeated(batch: list[Converted], seen: SeenIds, problems: Problems, tally: Tally | None) -> list[Converted]:
    """Without repeated samples; where a set grows these are counted as known, else they are problems."""
    repeated = seen.add([one.id for one in batch])
    if tally is not None:
        tally.known += sum(repeated)
    for one, is_repeated in zip(batch, repeated, strict=True):
        if is_repeated and tally is None:
            problems.add(Failure(DUPLICATE, f"{shown(one)}: the same audio and messages as an earlier sample"))
    return [one for one, is_repeated in zip(batch, repeated, strict=True) if not is_repeated]


def shown(one: Converted) -> str:
    """What messages call a sample: its place in its source, else its first audio."""
    sample = one.sample
    return one.where or (sample.audios[0].source.uri if sample.audios else f"sample {sample.id}")


def _filtered(batch: list[Converted], condition: pc.Expression | None, tally: Tally) -> list[Converted]:
    """Without the samples of which is known now that the condition does not hold; durations may come later."""
    if condition is None or not batch:
        return batch
    holds = filtering.mask(condition, filtering.table([one.sample for one in batch]))
    kept = [
        one
        for one, known in zip(batch, holds, strict=True)
        if known or (known is None and any(audio.duration_s is None for audio in one.sample.audios))
    ]
    tally.filtered += len(batch) - len(kept)
    return kept


def _grouped(one: Converted, settings: Convert) -> tuple[str, Converted]:
    """The folder that a sample belongs to, and the sample with its split."""
    names: list[str] = []
    sample = one.sample
    if settings.split:
        split = assign_split(sample, settings)
        names.append(split)
        sample = replace(sample, split=split)
        one = replace(one, sample=sample)
    elif settings.group_by_split and sample.split is not None:
        names.append(sample.split)
    if settings.group_by_parts:
        names.append(parts_of(sample))
    return "/".join(names), one


def assign_split(sample: Sample, settings: Convert) -> str:
    """The split of a sample: a function of what the splits do not share, and of their shares. New data moves nothing.

    A sample whose speaker is not known, or estimated where the settings do not take that, is its recording's; one
    without audio is its text's.
    """
    first = sample.audios[0] if sample.audios else None
    by = settings.by
    if first is None or by == "text":
        answer = "".join(part.text or "" for part in sample.messages[-1].content)
        shared = first.text if first is not None and first.text else answer
    elif by == "speaker" and _is_known(first.speaker.id, settings.estimated):
        shared = f"{first.source.corpus}\0{first.speaker.id.value}"
    else:
        shared = f"{first.source.uri}\0{first.source.member or ''}"
    draw = int(digest("split", by, shared), 16) / 2.0**128
    total = sum(settings.split.values())
    for name in SPLITS:
        draw -= settings.split.get(name, 0.0) / total
        if draw < 0:
            return name
    return max(settings.split, key=lambda name: settings.split[name])


def _is_known(attribute: Attribute, estimated: bool) -> bool:
    return attribute.value != UNKNOWN and (estimated or attribute.origin != ESTIMATED)


def parts_of(sample: Sample) -> str:
    """Which parts a sample has, as the name of a folder: ``text``, ``1-audio``, ``2-audios``."""
    return layout.name_of_parts(len(sample.audios))


def _place_key(one: Converted, seed: int) -> tuple[str, float, str]:
    """Files in the order of their digests with the seed, spans of one file by their start."""
    if not one.places:
        return digest("order", seed, one.id), 0.0, one.id
    uri, member, start_s, *_ = one.places[0]
    return digest("order", seed, uri, member), start_s or 0.0, one.id
