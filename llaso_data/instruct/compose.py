"""Samples of rows: what stands in the prompt, what is heard and what is spoken, by modality.

An :class:`Outline` is a sample whose spoken parts are still texts. It is a pure function of a task, a row and a seed.
Once its clips are made, :func:`sample_of` gives the sample.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.instruct.rendering import EXAMPLE_SHARE, LANGUAGES, Instruction, Renderer
from llaso_data.instruct.row import TARGET_AUDIO, InstructRow
from llaso_data.instruct.tasks.build import AUDIO, HEARD, Build, Modality
from llaso_data.instruct.wording import wording
from llaso_data.records import Message, Provenance, Sample, Utterance, digest

_OTHERS = re.compile(r"[\W_]+")
CONTEXT = "context"
"""The field of a text that a row's own instruction or question is about."""
MODALITIES: tuple[Modality, ...] = ("text_audio", "audio_text", "audio", "text")


@dataclass(frozen=True, slots=True)
class SpokenText:
    """A text that a voice is to speak."""

    text: str
    language: str


@dataclass(frozen=True, slots=True)
class Clip:
    """One audio of a sample: what is heard one after the other. A recording alone is heard as it is."""

    pieces: tuple[SpokenText | Utterance, ...]

    @property
    def recording(self) -> Utterance | None:
        """The recording that the clip is; None where it has to be made."""
        alone = self.pieces[0] if len(self.pieces) == 1 else None
        return alone if isinstance(alone, Utterance) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """A sample before its voices have spoken.

    Attributes:
        row: The row, for ids and provenance.
        task: Name of the task.
        modality: How it is asked.
        instruction: What is asked, and the right answer where that is a text.
        prompt: The user's message: texts and clips.
        answer: The assistant's message.
        language: Of the sample.
        labels: The row's labels that went into it.
        tags: What else is said of it, for its provenance.
    """

    row: InstructRow
    task: str
    modality: Modality
    instruction: Instruction
    prompt: tuple[str | Clip, ...]
    answer: str | Clip
    language: str | None
    labels: Mapping[str, Any]
    tags: Mapping[str, Any]

    @property
    def clips(self) -> list[Clip]:
        """The clips in the order in which the messages name them."""
        return [part for part in (*self.prompt, self.answer) if isinstance(part, Clip)]

    @property
    def spoken(self) -> list[SpokenText]:
        """The texts that voices are to speak, in the same order."""
        return [piece for clip in self.clips for piece in clip.pieces if isinstance(piece, SpokenText)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How rows are asked.

    Attributes:
        seed: Decides every draw.
        modalities: Shares of the modalities.
        languages: Shares of the languages of instructions.
        voiced: The languages that a voice speaks.
        example_share: Share of written instructions with a worked example.
        carrier_share: Share of the clips that hold all that is asked, and follow a written sentence.
        estimated: Whether labels that a model estimated may be asked for.
    """

    seed: int = 0
    modalities: Mapping[str, float]
    languages: Mapping[str, float] = field(default_factory=lambda: LANGUAGES)
    voiced: Collection[str] = ()
    example_share: float = EXAMPLE_SHARE
    carrier_share: float = 0.0
    estimated: bool = False


def voiced_as(language: str | None, voiced: Collection[str]) -> str | None:
    """What voices call the language of a text, ``zh`` for ``zh-CN``; None where none speaks it, or it is not known."""
    if language is None or language in voiced:
        return language
    base = language.partition("-")[0]
    return base if base in voiced else None


def modalities_of(
    renderer: Renderer, row: InstructRow, fields: Mapping[str, Any], asking: Asking
) -> tuple[Modality, ...]:
    """The modalities in which a row can be asked, in the order of :data:`MODALITIES`; empty: in none.

    Args:
        renderer: Of the task.
        row: The row.
        fields: What it has.
        asking: Which modalities have a share, and which languages are spoken.
    """
    build = renderer.build
    about = about_of(build, row, fields)
    known = build.modalities if about is None else _about_modalities(about)
    return tuple(
        modality
        for modality in MODALITIES
        if modality in known
        and asking.modalities.get(modality, 0) > 0
        and not build.lacks(fields, modality)
        and _can_be_spoken(renderer, row, fields, modality, asking)
    )


def bits_of(modalities: Iterable[Modality]) -> int:
    """Modalities as one number, a bit for each of :data:`MODALITIES`."""
    return sum(1 << MODALITIES.index(modality) for modality in modalities)


def modalities_in(bits: int) -> list[Modality]:
    """The modalities of a number that :func:`bits_of` gave."""
    return [modality for place, modality in enumerate(MODALITIES) if bits >> place & 1]


def draw_modality(allowed: Sequence[Modality], task: str, row: InstructRow, asking: Asking, turn: int = 0) -> Modality:
    """One of the modalities that a row allows: a function of the row, the task, the seed and the turn.

    Args:
        allowed: Of :func:`modalities_of`.
        task: Name of the task.
        row: The row.
        asking: The shares and the seed.
        turn: How many times the row was asked before. The first modality is drawn by the shares, the next among those
            that are left, until each has had its turn.
    """
    left: list[Modality] = []
    drawn = allowed[0]
    for number in range(turn + 1):
        left = left or list(allowed)
        shares = [asking.modalities.get(modality, 0.0) for modality in left]
        point = _share("modality", task, asking.seed, row.id, *([number] if number else [])) * sum(shares)
        drawn = left[-1]
        for modality, share in zip(left, shares, strict=True):
            point -= share
            if point < 0:
                drawn = modality
                break
        left.remove(drawn)
    return drawn


def turned(row: InstructRow, turn: int) -> InstructRow:
    """A row as it is asked once more: with an id of its own, which decides the draws."""
    return replace(row, id=digest(row.id, "turn", turn)) if turn else row


def asked_in_turn(
    renderer: Renderer, row: InstructRow, allowed: Sequence[Modality], turn: int, asking: Asking
) -> Outline:
    """A row as it is asked in one of its turns, in the modality that is drawn for it.

    Args:
        renderer: Of the task.
        row: The row.
        allowed: Of :func:`modalities_of`.
        turn: How many times the row was asked before.
        asking: How.

    Raises:
        LLaSOError: As of :func:`outline`.
    """
    modality = draw_modality(allowed, renderer.name, row, asking, turn)
    return outline(renderer, turned(row, turn), modality, asking)


def outline(
    renderer: Renderer, row: InstructRow, modality: Modality, asking: Asking, answerable: bool | None = None
) -> Outline:
    """A row as it is asked in a modality.

    Args:
        renderer: Of the task.
        row: The row.
        modality: One of :func:`modalities_of`.
        asking: How.
        answerable: Whether an instruction that cannot be followed is replaced by its twin; None: drawn.

    Raises:
        LLaSOError: The row lacks something, or has a value that the task cannot have.
    """
    fields, build = row.fields(asking.estimated), renderer.build
    about = about_of(build, row, fields)
    if about is not None:
        instruction, prompt = _about(renderer, row, fields, modality, about, asking)
    else:
        spoken = modality in ("audio_text", "audio")
        languages = asking.languages if not spoken else _voiced_shares(renderer, asking)
        instruction = renderer(fields, row.id, asking.seed, modality, languages, asking.example_share, answerable)
        prompt = _prompt(build, row, fields, modality, instruction, asking)
    carriers = wording(instruction.language).carriers
    key = (renderer.name, asking.seed, row.id)
    if modality == "audio" and carriers and _share("carrier", *key) < asking.carrier_share:
        prompt = (carriers[int(digest("which carrier", *key), 16) % len(carriers)], *prompt)
    named = (build.input, CONTEXT, *build.needs, *build.shows, build.answer.field)
    return Outline(
        row=row,
        task=renderer.name,
        modality=modality,
        instruction=instruction,
        prompt=prompt,
        answer=_answer(build, row, instruction),
        language=row.language or (row.audio.language if row.audio else None) or instruction.language,
        labels={name: row.labels[name] for name in dict.fromkeys(named) if name in row.labels},
        tags={},
    )


def sample_of(made: Outline, clips: Sequence[Utterance], split: str | None, voices: Sequence[str] = ()) -> Sample:
    """The sample of an outline whose clips are made.

    Args:
        made: The outline.
        clips: An utterance for each of its clips, in their order.
        split: Of the sample.
        voices: Who spoke, as ``engine/voice``, for the provenance.
    """
    numbers = iter(range(len(clips)))
    prompt = [part if isinstance(part, str) else next(numbers) for part in made.prompt]
    answer = made.answer if isinstance(made.answer, str) else next(numbers)
    source = made.row.provenance or Provenance()
    kept: dict[str, Any] = {**(source.kept or {}), "modality": made.modality, **made.tags}
    if made.labels:
        kept["labels"] = dict(made.labels)
    return Sample(
        task=made.task,
        messages=(Message.of("user", *prompt), Message.of("assistant", answer)),
        audios=tuple(clips),
        language=made.language,
        split=split,
        provenance=Provenance(
            layout=source.layout,
            file=source.file,
            row=source.row,
            template=made.instruction.template,
            voice=" ".join(dict.fromkeys(voices)) or None,
            seed=made.instruction.seed,
            kept=kept,
        ),
    )


def about_of(build: Build, row: InstructRow, fields: Mapping[str, Any]) -> str | Utterance | None:
    """What a row's own question is about: a text beside it, or a recording that does not say the question itself."""
    if not build.asks_itself or build.input not in fields:
        return None
    if fields.get(CONTEXT):
        return str(fields[CONTEXT])
    said = fields.get("text")
    if AUDIO in fields and said is not None and plain(said) != plain(fields[build.input]):
        return row.audio
    return None


def _about_modalities(about: str | Utterance) -> tuple[Modality, ...]:
    return ("text_audio", "audio_text", "audio") if isinstance(about, str) else ("text_audio", "audio")


def _can_be_spoken(
    renderer: Renderer, row: InstructRow, fields: Mapping[str, Any], modality: Modality, asking: Asking
) -> bool:
    """Whether there are voices for all that has to be spoken."""
    build = renderer.build
    of_row = voiced_as(row.language, asking.voiced)
    about = about_of(build, row, fields)
    if about is not None:  # the row's own question is spoken but in text_audio, where a text that it is about is
        return of_row is not None or (modality == "text_audio" and not isinstance(about, str))
    if modality in ("audio_text", "audio") and not (build.asks_itself and modality == "audio"):
        shares = _voiced_shares(renderer, asking)
        if not shares:
            return False
    is_read = modality not in HEARD
    return is_read or AUDIO in fields or of_row is not None


def unasked(renderer: Renderer, row: InstructRow, fields: Mapping[str, Any], asking: Asking) -> str | None:
    """Why a row that has all that a task needs is asked in no modality; None: it lacks something.

    Args:
        renderer: Of the task.
        row: A row for which :func:`modalities_of` gives nothing.
        fields: What it has.
        asking: Which modalities have a share, and which languages are spoken.
    """
    build = renderer.build
    about = about_of(build, row, fields)
    known = build.modalities if about is None else _about_modalities(about)
    complete = [modality for modality in known if not build.lacks(fields, modality)]
    if not complete:
        return None
    if not any(asking.modalities.get(modality, 0) > 0 for modality in complete):
        return f"instruct.modalities has no share of {' or '.join(complete)}"
    if not asking.voiced:
        return "no voice that speaks it"
    if voiced_as(row.language, asking.voiced) is None:
        return "no language is known of it (--language)" if row.language is None else f"no voice speaks {row.language}"
    return "no voice speaks an instruction for it"


def _voiced_shares(renderer: Renderer, asking: Asking) -> dict[str, float]:
    """Shares of the languages in which an instruction of the task can be spoken."""
    known = renderer.languages & frozenset(asking.voiced)
    return {name: share for name, share in asking.languages.items() if share > 0 and name in known}


def _prompt(
    build: Build,
    row: InstructRow,
    fields: Mapping[str, Any],
    modality: Modality,
    instruction: Instruction,
    asking: Asking,
) -> tuple[str | Clip, ...]:
    if modality == "text":
        return (f"{instruction.text}\n{fields[build.input]}",)
    if modality == "audio_text":
        return (Clip((SpokenText(instruction.text, instruction.language),)), str(fields[build.input]))
    heard = _heard(build, row, fields, asking)
    if modality == "audio":
        asked = () if build.asks_itself else (SpokenText(instruction.text, instruction.language),)
        return (Clip((*asked, heard)),)
    second = (Clip((row.second,)),) if instruction.clips == 2 and row.second is not None else ()
    return (instruction.text, Clip((heard,)), *second)


def _heard(build: Build, row: InstructRow, fields: Mapping[str, Any], asking: Asking) -> SpokenText | Utterance:
    """What goes in where it is heard: the recording, else a text that a voice speaks."""
    if row.audio is not None and AUDIO in fields:
        return row.audio
    language = voiced_as(row.language, asking.voiced)
    if language is None:
        raise LLaSOError(f"no voice speaks {row.language or 'a language that is not known'}")
    return SpokenText(str(fields[build.input]), language)


def _about(
    renderer: Renderer,
    row: InstructRow,
    fields: Mapping[str, Any],
    modality: Modality,
    about: str | Utterance,
    asking: Asking,
) -> tuple[Instruction, tuple[str | Clip, ...]]:
    """A row whose own instruction is about something: one of the two is spoken, or both in one clip."""
    instruction = renderer.itself(fields, asking.seed)
    asked = instruction.text
    language = voiced_as(row.language, asking.voiced)

    def spoken(text: str) -> SpokenText:
        if language is None:
            raise LLaSOError(f"no voice speaks {row.language or 'a language that is not known'}")
        return SpokenText(text, language)

    heard = spoken(about) if isinstance(about, str) and modality != "audio_text" else about
    if modality == "audio_text":
        assert isinstance(about, str)
        return instruction, (Clip((spoken(asked),)), about)
    assert not isinstance(heard, str)
    if modality == "audio":
        return instruction, (Clip((spoken(asked), heard)),)
    return instruction, (asked, Clip((heard,)))


def _answer(build: Build, row: InstructRow, instruction: Instruction) -> str | Clip:
    if build.answer.form != "audio":
        assert instruction.answer is not None
        return instruction.answer
    answer = row.target if build.answer.field == TARGET_AUDIO else row.audio
    if answer is None:
        raise LLaSOError(f"the row has no {build.answer.field}")
    return Clip((answer,))


def plain(text: object) -> str:
    """The letters and digits of a text, in small letters: what it is compared by where that has to be quick."""
    return _OTHERS.sub("", str(text).casefold())


def _share(*key: Any) -> float:
    return int(digest(*key, length=12), 16) / 16**12
