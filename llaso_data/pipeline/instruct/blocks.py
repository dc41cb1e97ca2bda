"""Blocks of samples: rendered, given their clips, and written as one immutable part of a sample set. Run by workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llaso_data.errors import AudioError, LLaSOError
from llaso_data.formats import samples as sample_tables
from llaso_data.instruct.compose import Asking, Clip, Outline, SpokenText, asked_in_turn, modalities_in, sample_of
from llaso_data.instruct.rendering import Renderer
from llaso_data.instruct.row import InstructRow
from llaso_data.instruct.voices.variation import Variation
from llaso_data.io import checksums, lock, outputs, storage
from llaso_data.pipeline.instruct.noisy import noisy_clip
from llaso_data.pipeline.instruct.speech import Refusal, SpeechRequest, SpokenLine, make_clip
from llaso_data.pipeline.instruct.tasks import renderers_of
from llaso_data.pipeline.instruct.test_set import TestSet
from llaso_data.records import Sample, Utterance, canonical, digest

BLOCK_SAMPLES = 256
BLOCKS_VERSION = 1
"""Increased when the same rows and settings give other samples; part of every block's digest."""
CLIPS = "clips"
"""What addresses of made clips begin with, in records and wherever their folder is."""
NOT_ASKED = "not_asked"
"""The reason of a row whose values a task cannot have after all."""
MOST_EXAMPLES = 20
"""How many problems of each reason are written down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockSettings:
    """What all blocks of a run share.

    Attributes:
        root: The output, whose lock counts.
        work: The folder of what the run keeps.
        clips: The folder of the clips that are made.
        dataset: Digest of the run's sources and settings.
        tasks: The user's own tasks, as :func:`~.tasks.carried` gives them.
        names: Of the tasks, whose places rows name.
        without: Templates that are held out.
        asking: How rows are asked.
        takes: In how many ways a text is spoken.
        variation: Of what is spoken.
        pause_s: The shortest and the longest pause between what is spoken and the input.
        lock: Token of the run.
        test: What a test set is made with; then turns are places of :data:`~llaso_data.instruct.evaluation.SLOTS`.
    """

    root: str
    work: str
    clips: str
    dataset: str
    tasks: str
    names: tuple[str, ...]
    without: tuple[str, ...]
    asking: Asking
    takes: int
    variation: Variation
    pause_s: tuple[float, float]
    lock: str | None
    test: TestSet | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """A sample that is to be made.

    A row, the task's place in the names, the modalities' bits, the turn, the split, and recordings for babble.
    """

    row: InstructRow
    task: int
    modalities: int
    turn: int
    split: str | None
    voices: tuple[Utterance, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Samples that are made together. ``lines`` has what was spoken for them; it is empty for an outline."""

    number: int
    items: tuple[Item, ...]
    settings: BlockSettings
    lines: Mapping[SpeechRequest, SpokenLine | Refusal] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages."""
        return f"samples {self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockOutline:
    """What a block needs to have spoken: for each item the requests, or why it cannot be asked."""

    number: int
    requests: tuple[tuple[SpeechRequest, ...] | str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockResult:
    """A block that is written.

    Attributes:
        number: The block's.
        failed: Places of the items of which no sample was made.
        refused: Why, with counts; and ``examples`` the first of each.
        counts: (task, modality, language of the instruction, split) → samples.
        templates: By id.
        forms: By form.
        answers: (task, answer) → samples, of labels and numbers.
        layers: (layer, task) → samples, of a test set.
        skipped: Whether an earlier run wrote it.
    """

    number: int
    failed: tuple[int, ...]
    refused: dict[str, int]
    examples: dict[str, list[str]]
    counts: dict[str, int]
    templates: dict[str, int]
    forms: dict[str, int]
    answers: dict[str, int]
    layers: dict[str, int] = field(default_factory=dict)
    skipped: bool = False

    @property
    def samples(self) -> int:
        """How many samples it has."""
        return sum(self.counts.values())


def outline_block(block: Block) -> BlockOutline:
    """Render the items of a block, to know what voices have to speak."""
    requests: list[tuple[SpeechRequest, ...] | str] = []
    for item in block.items:
        made = outlined(item, block.settings)
        requests.append(made if isinstance(made, str) else tuple(_requests(made, block.settings)))
    return BlockOutline(number=block.number, requests=tuple(requests))


def samples_uri(work: str, number: int) -> str:
    """Where the samples of a block lie."""
    return storage.join(work, "samples", f"{number:06d}.parquet")


def stats_uri(work: str, number: int) -> str:
    """Where what is said of a block lies; its existence is the commit."""
    return storage.join(work, "blocks", f"{number:06d}.json")


def write_block(block: Block) -> BlockResult:
    """Make and write the samples of a block, unless an earlier run has."""
    settings = block.settings
    key = _digest(block)
    if (done := _finished(block, key)) is not None:
        return done
    lock.refuse_orphans(settings.root, settings.lock)
    tally = _Tally()
    samples: list[Sample] = []
    for place, item in enumerate(block.items):
        made = outlined(item, settings)
        if isinstance(made, str):
            tally.refuse(place, NOT_ASKED, made)
            continue
        clips = _clips(made, block, item.voices)
        if isinstance(clips, Refusal):
            tally.refuse(place, clips.reason, f"{made.row.where or made.row.id}: {clips.detail}")
            continue
        utterances, voices = clips
        samples.append(sample_of(made, utterances, item.split, voices))
        tally.count(made, item.split, _is_closed(item, settings))
    if samples:
        sample_tables.write(samples_uri(settings.work, block.number), samples)
    result = tally.result(block.number)
    stated = {"digest": key, "has_samples": bool(samples), **_stated(result)}
    checksums.write_json(stats_uri(settings.work, block.number), stated)
    return result


def clip_address(utterance: Utterance, folder: str) -> Utterance:
    """A made clip with its address in records: below :data:`CLIPS`, wherever the folder is."""
    uri = utterance.source.uri
    assert uri.startswith(folder)
    relative = f"{CLIPS}/{uri[len(folder) :].lstrip('/')}"
    return replace(utterance, source=replace(utterance.source, uri=relative))


def outlined(item: Item, settings: BlockSettings) -> Outline | str:
    """A sample as it will be asked, before its voices have spoken; or why it cannot be."""
    renderer = _renderer(item, settings)
    allowed = modalities_in(item.modalities)
    try:
        if settings.test is not None:
            return settings.test.outlined(renderer, item.row, allowed, item.turn, settings.asking)
        return asked_in_turn(renderer, item.row, allowed, item.turn, settings.asking)
    except LLaSOError as error:
        return f"{item.row.where or item.row.id}: {error}"


def _renderer(item: Item, settings: BlockSettings) -> Renderer:
    if settings.test is not None:
        return settings.test.renderer(settings.tasks, settings.names[item.task], item.turn)
    return renderers_of(settings.tasks, settings.names, settings.without)[item.task]


def _is_closed(item: Item, settings: BlockSettings) -> bool:
    return _renderer(item, settings).build.answer.form in ("label", "number")


def _requests(made: Outline, settings: BlockSettings) -> Iterator[SpeechRequest]:
    for spoken in made.spoken:
        yield _request(made, spoken, settings)


def _request(made: Outline, spoken: SpokenText, settings: BlockSettings) -> SpeechRequest:
    take = int(digest("take", settings.asking.seed, made.row.id, made.task, length=8), 16) % settings.takes
    return SpeechRequest(spoken.text, spoken.language, take)


def _clips(made: Outline, block: Block, babble: Sequence[Utterance]) -> tuple[list[Utterance], list[str]] | Refusal:
    utterances: list[Utterance] = []
    voices: list[str] = []
    for number, clip in enumerate(made.clips):
        if (recording := clip.recording) is not None:
            heard = recording if "noise" not in made.tags else _in_noise(made, recording, block, babble)
            if isinstance(heard, Refusal):
                return heard
            utterances.append(heard)
            continue
        found = _made_clip(made, clip, number, block, voices)
        if isinstance(found, Refusal):
            return found
        utterances.append(clip_address(found, block.settings.clips))
    return utterances, voices


def _in_noise(made: Outline, recording: Utterance, block: Block, babble: Sequence[Utterance]) -> Utterance | Refusal:
    settings = block.settings
    key = (settings.asking.seed, made.row.id, made.task)
    heard = noisy_clip(recording, made.tags["snr_db"], made.tags["noise"], key, settings.clips, babble)
    return heard if isinstance(heard, Refusal) else clip_address(heard, settings.clips)


def _made_clip(made: Outline, clip: Clip, number: int, block: Block, voices: list[str]) -> Utterance | Refusal:
    settings = block.settings
    pieces: list[SpokenLine | Utterance] = []
    for piece in clip.pieces:
        if isinstance(piece, Utterance):
            pieces.append(piece)
            continue
        line = block.lines.get(_request(made, piece, settings), Refusal("not_spoken", piece.text[:80]))
        if isinstance(line, Refusal):
            return line
        pieces.append(line)
        voices.append(line.name)
    key = (settings.asking.seed, made.row.id, made.task, number)
    low, high = settings.pause_s
    pause_s = round(low + (high - low) * int(digest("pause", *key, length=8), 16) / 16**8, 3)
    try:
        return make_clip(pieces, settings.variation, pause_s, key, settings.clips)
    except AudioError as error:
        return Refusal(error.reason, error.detail)


def _digest(block: Block) -> str:
    settings = block.settings
    items = (
        part
        for item in block.items
        for part in (
            canonical(item.row),
            settings.names[item.task],
            item.modalities,
            item.turn,
            item.split,
            *tuple(voice.id for voice in item.voices),
        )
    )
    lines = (
        f"{request.key} {line.reason if isinstance(line, Refusal) else (line.name, line.speed, line.seed)}"
        for request, line in block.lines.items()
    )
    return digest("instruct block", BLOCKS_VERSION, settings.dataset, block.number, *items, *sorted(lines))


def _finished(block: Block, key: str) -> BlockResult | None:
    """What an earlier run wrote under this digest; what it wrote under another is no commit any more."""
    work = block.settings.work
    stated = outputs.json_at(stats_uri(work, block.number))
    if not isinstance(stated, dict) or stated.get("digest") != key:
        if stated is not None:
            _remove(stats_uri(work, block.number))
            _remove(samples_uri(work, block.number))
        return None
    if stated["has_samples"] and not storage.exists(samples_uri(work, block.number)):
        return None
    names = BlockResult.__dataclass_fields__
    values = {name: value for name, value in stated.items() if name in names}
    return BlockResult(**{**values, "failed": tuple(stated["failed"]), "skipped": True})


def remove_after(work: str, count: int) -> None:
    """Remove the blocks of earlier runs from a number on, when there were more of them."""
    for folder, ending in (("samples", ".parquet"), ("blocks", ".json")):
        for row in storage.listing(storage.join(work, folder)):
            number = row["path"].removesuffix(ending)
            if number.isdigit() and int(number) >= count:
                _remove(storage.join(work, folder, row["path"]))


def _remove(uri: str) -> None:
    if storage.exists(uri):
        fs, path = storage.filesystem(uri)
        fs.rm_file(path)


def _stated(result: BlockResult) -> dict[str, Any]:
    names = ("number", "refused", "examples", "counts", "templates", "forms", "answers", "layers")
    return {**{name: getattr(result, name) for name in names}, "failed": list(result.failed)}


class _Tally:
    """What became of the items of one block."""

    def __init__(self) -> None:
        self._failed: list[int] = []
        self._refused: Counter[str] = Counter()
        self._examples: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()
        self._templates: Counter[str] = Counter()
        self._forms: Counter[str] = Counter()
        self._answers: Counter[str] = Counter()
        self._layers: Counter[str] = Counter()

    def refuse(self, place: int, reason: str, detail: str) -> None:
        self._failed.append(place)
        self._refused[reason] += 1
        if len(kept := self._examples.setdefault(reason, [])) < MOST_EXAMPLES:
            kept.append(detail)

    def count(self, made: Outline, split: str | None, closed: bool) -> None:
        asked = made.instruction
        self._counts["\t".join((made.task, made.modality, asked.language, split or ""))] += 1
        if asked.template is not None:
            self._templates[asked.template] += 1
            self._forms[asked.form or ""] += 1
        if "layer" in made.tags:
            self._layers[f"{made.tags['layer']}\t{made.task}"] += 1
        if closed and asked.answer is not None:
            self._answers[f"{made.task}\t{asked.answer}"] += 1

    def result(self, number: int) -> BlockResult:
        counters = (self._refused, self._counts, self._templates, self._forms, self._answers, self._layers)
        refused, counts, templates, forms, answers, layers = (dict(sorted(one.items())) for one in counters)
        return BlockResult(
            number=number,
            failed=tuple(self._failed),
            refused=refused,
            examples=self._examples,
            counts=counts,
            templates=templates,
            forms=forms,
            answers=answers,
            layers=layers,
        )


def blocks_of(items: Sequence[Item], first: int, settings: BlockSettings) -> Iterator[Block]:
    """Items in blocks of :data:`BLOCK_SAMPLES`, numbered from ``first``."""
    for number, start in enumerate(range(0, len(items), BLOCK_SAMPLES), first):
        yield Block(number=number, items=tuple(items[start : start + BLOCK_SAMPLES]), settings=settings)
