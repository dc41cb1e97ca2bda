"""What the card of instruction sets lets hear: samples of each task, chosen by a hash of their ids."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from llaso_data.audio import limited
from llaso_data.errors import LLaSOError
from llaso_data.io import storage
from llaso_data.languages import language_name
from llaso_data.pipeline.convert.samples import Converted, samples
from llaso_data.recipe import Convert, SourceSpec
from llaso_data.records import Failure, digest
from llaso_data.report.clip_groups import BUDGET_BYTES, direction
from llaso_data.report.clips import BARS, MAX_SOUND_S, Sound, encode_sound
from llaso_data.shards.sound_spool import Place
from llaso_data.uris import shown

LOOKED_AT = 20_000
"""Of each split, how many samples are read to draw examples from: a set of millions is drawn from its beginning."""
_SEED = "instruct-card"
_MARKUP_BYTES = 5_000
_LONGEST_TEXT = 2_000
_SHOWN_KEPT = 6
_LONGEST_KEPT = 40


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a message: a text, or a sound with what is said in it."""

    text: str
    direction: str = "ltr"
    sound: Sound | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """A message for the page."""

    role: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class SampleExample:
    """A sample to read and hear.

    Attributes:
        id: The sample's.
        task: Its task.
        modality: How it is asked.
        language: Its language's name.
        split: Of the folder that it lies in; may be empty.
        turns: Its messages.
        facts: What is known of its making: (what, value).
        size_bytes: About what it takes of the page.
    """

    id: str
    task: str
    modality: str
    language: str
    split: str
    turns: tuple[Turn, ...]
    facts: tuple[tuple[str, str], ...]
    size_bytes: int


def examples(
    out: str, stated: Mapping[str, Any], of_each: int, budget_bytes: int = BUDGET_BYTES
) -> tuple[dict[str, list[SampleExample]], list[str]]:
    """Draw examples of each task, its modalities in turns, and load their sound.

    Args:
        out: The set's folder.
        stated: What `build-instruct` says of it.
        of_each: At most how many of a task.
        budget_bytes: Of the page, for all of them.

    Returns:
        Examples by task, and what kept others out, in words.
    """
    if of_each < 1:
        return {}, []
    drawn, notes = _drawn(out, stated, of_each)
    loaded: dict[str, list[SampleExample]] = {task: [] for task in sorted(drawn)}
    spent = left_out = 0
    for turn in range(of_each):
        for task in loaded:
            if turn >= len(drawn[task]):
                continue
            if spent >= budget_bytes:
                left_out += 1
                continue
            split, converted = drawn[task][turn]
            example = _example(converted, split)
            loaded[task].append(example)
            spent += example.size_bytes
    if left_out:
        notes.append(f"{left_out:,} more examples were drawn but left out, to keep the page under 15 MB.")
    return loaded, notes


def folders(out: str, stated: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The sets of a run, as (split, folder); without splits it is the folder itself."""
    names = [name for name in stated.get("splits", {}) if name]
    root = storage.absolute(out)
    found = [(name, storage.join(root, name)) for name in names]
    present = [(name, folder) for name, folder in found if storage.exists(folder)]
    return present or [("", root)]


def _drawn(
    out: str, stated: Mapping[str, Any], of_each: int
) -> tuple[dict[str, list[tuple[str, Converted]]], list[str]]:
    """Of each task and modality the samples with the smallest tickets, modalities in turns."""
    best: dict[tuple[str, str], list[tuple[str, str, Converted]]] = {}
    notes: list[str] = []
    for split, folder in folders(out, stated):
        try:
            read = 0
            for one in islice(samples(SourceSpec(path=folder), Convert(), Counter()), LOOKED_AT):
                read += 1
                if isinstance(one, Failure):
                    continue
                held = best.setdefault((one.sample.task, _modality(one)), [])
                held.append((digest(_SEED, one.id), split, one))
                held.sort(key=lambda entry: entry[0])
                del held[of_each:]
        except LLaSOError as error:
            notes.append(f"The samples of {split or 'the set'} cannot be read: {error}")
            continue
        if read == LOOKED_AT:
            notes.append(f"Examples of {split or 'the set'} are among its first {LOOKED_AT:,} samples.")
    by_task: dict[str, list[tuple[str, Converted]]] = {}
    for task in {name for name, _ in best}:
        queues = [best[key] for key in sorted(best) if key[0] == task]
        turns = (queue[turn] for turn in range(of_each) for queue in queues if turn < len(queue))
        by_task[task] = [(split, one) for _, split, one in islice(turns, of_each)]
    return by_task, notes


def _example(one: Converted, split: str) -> SampleExample:
    sample = one.sample
    sounds = [_sound(place) for place in one.places]
    turns = tuple(
        Turn(message.role, tuple(_part(part.text, part.audio, one, sounds) for part in message.content))
        for message in sample.messages
    )
    size = sum(len(sound.opus) for sound, _ in sounds)
    size += _MARKUP_BYTES + sum(4 * len(part.text) for turn in turns for part in turn.parts)
    return SampleExample(
        id=one.id,
        task=sample.task,
        modality=_modality(one),
        language=language_name(sample.language) if sample.language else "",
        split=split or sample.split or "",
        turns=turns,
        facts=tuple(_facts(one)),
        size_bytes=size,
    )


def _part(text: str | None, number: int | None, one: Converted, sounds: list[tuple[Sound, bool]]) -> Part:
    if number is None:
        cut = (text or "")[:_LONGEST_TEXT]
        return Part(cut, direction(cut))
    said = (one.sample.audios[number].text or "")[:_LONGEST_TEXT]
    sound, is_cut = sounds[number]
    return Part(said, direction(said), sound, is_cut)


def _sound(place: Place) -> tuple[Sound, bool]:
    uri, member, start_s, end_s, channels = place
    start_s = start_s or 0.0
    limit_s = start_s + MAX_SOUND_S
    try:
        if end_s is None and not start_s and channels is None:
            pcm, is_cut = limited.decode_beginning(uri, member, MAX_SOUND_S)
        else:
            is_cut = end_s is None or end_s > limit_s
            pcm, _ = limited.decode(uri, member, start_s, min(end_s or limit_s, limit_s), channels=channels)
    except LLaSOError as error:
        return Sound(trouble=str(error)), False
    return encode_sound(pcm, BARS), is_cut


def _modality(one: Converted) -> str:
    provenance = one.sample.provenance
    kept = (provenance.kept or {}) if provenance else {}
    said = kept.get("modality")
    return said if isinstance(said, str) else one.sample.modality.replace("+", "_")


def _facts(one: Converted) -> Iterator[tuple[str, str]]:
    provenance = one.sample.provenance
    if provenance is None:
        return
    if provenance.template:
        yield "template", provenance.template
    if provenance.voice:
        yield "voice", provenance.voice
    if provenance.file:
        yield "source", shown(provenance.file) + (f":{provenance.row}" if provenance.row is not None else "")
    kept = {name: value for name, value in (provenance.kept or {}).items() if name != "modality"}
    texts = (
        (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        for name, value in kept.items()
    )
    short = sorted((name, text) for name, text in texts if len(text) <= _LONGEST_KEPT)  # longer ones are read above
    yield from islice(short, _SHOWN_KEPT)
