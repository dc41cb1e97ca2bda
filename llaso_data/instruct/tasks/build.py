"""How instruction data are built of rows: what a task declares under ``build``."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from llaso_data.recipe import Part

Capability = Literal["understanding", "generation", "cross_modal_reasoning", "paralinguistic"]
"""What a task teaches: the groups whose shares a mix names."""
Form = Literal["command", "question", "scenario", "condition"]
"""How an instruction is put: an order, a question, with a situation, with a condition."""
Modality = Literal["text_audio", "audio_text", "audio", "text"]
AnswerForm = Literal["text", "label", "number", "scores", "audio"]
Expected = Literal["answer", "refusal", "ask_back"]
"""What is right to do: answer, refuse, or ask what is meant."""

AUDIO = "audio"
SECOND_AUDIO = "audio_2"
SECOND_TEXT = "text_2"
"""The field of what is said in the second recording."""
ARROW = " => "
"""Stands between the two sides of a line: what goes in and what comes out; an instruction and its twin."""
LANGUAGE = "language"
"""What ``shows`` says of a field that holds a language, which an instruction names in its own language."""
HEARD: frozenset[Modality] = frozenset(("text_audio", "audio"))
"""Modalities whose input is heard. In the others it is read."""
SPOKEN: frozenset[Modality] = frozenset(("audio_text", "audio"))
"""Modalities whose instruction is spoken."""


def _lines(value: object) -> object:
    """The lines of a block of text that are not empty; a list as it is."""
    return [line.strip() for line in value.splitlines() if line.strip()] if isinstance(value, str) else value


Lines = Annotated[tuple[str, ...], BeforeValidator(_lines)]
"""Texts, as a list or as the lines of a block."""


class Answer(Part):
    """What comes out: the row's field that is the answer, and what it looks like.

    A label is written as the instruction's language calls it. A number is an integer within the range of the set.
    Scores are numbers by aspect, of a sentence or of each word, after the text.
    """

    field: str
    form: AnswerForm = "text"


class Build(Part):
    """How a task's samples are built of rows.

    Attributes:
        capability: The group that the task counts to in a mix.
        input: What goes in: ``audio``, a recording; or the field of a text, which is heard or read.
        asks_itself: The input is a question or an instruction. In the modality ``audio`` it stands alone, and in
            ``text_audio`` a template goes with it.
        clips: Recordings that are heard; the second one is the field ``audio_2``.
        needs: The further fields of a row that the task cannot do without, that of the answer among them.
        answer: What comes out.
        scored_as: The set of rows as which answers are scored; None: they are not scored. Its labels and its range are
            those of the instruction.
        closed: Whether an instruction names the labels.
        shows: Fields that an instruction names, each with the label set of its values, or ``language``.
        modalities: In which the task may be asked.
        mentions: By language, words of which every template has one: what the task asks for.
        templates: By language and form.
        expects: ``refusal`` or ``ask_back``: the templates cannot be followed. A template is then a line
            ``INSTRUCTION => TWIN``, whose twin is much alike and can be followed: its answer is :attr:`answer`. A line
            without a twin can be followed where there are two recordings: its answer is what is said in the second.
        replies: By language, right answers of a task that expects none; one is drawn.
        asked_like: Another task, whose templates are this one's, too; they have the same places.
        examples: By language, worked examples: ``what goes in => what comes out``.
    """

    capability: Capability
    input: str = AUDIO
    asks_itself: bool = False
    clips: Literal[1, 2] = 1
    needs: tuple[str, ...] = ()
    answer: Answer
    scored_as: str | None = None
    closed: bool = True
    shows: dict[str, str] = Field(default_factory=dict)
    modalities: tuple[Modality, ...] = ("text_audio", "audio")
    mentions: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    templates: dict[str, dict[Form, Lines]] = Field(default_factory=dict)
    expects: Expected = "answer"
    replies: dict[str, Lines] = Field(default_factory=dict)
    asked_like: str | None = None
    examples: dict[str, Lines] = Field(default_factory=dict)

    def lacks(self, fields: Collection[str], modality: Modality) -> list[str]:
        """The fields that a row lacks to be asked in a modality; empty: nothing.

        A text that is heard may be spoken by a voice, so its recording is not needed.

        Args:
            fields: Names of the fields that the row has.
            modality: One of the task's.
        """
        has_input = self.input in fields or (modality in HEARD and AUDIO in fields)
        wanted = [*([] if has_input else [self.input]), *([SECOND_AUDIO] if self.clips == 2 else []), *self.needs]
        return [name for name in dict.fromkeys(wanted) if name not in fields]
