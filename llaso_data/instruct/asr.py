"""The task `asr`: transcribe what is said. One utterance gives one sample."""

from __future__ import annotations

import functools

from llaso_data import records
from llaso_data.errors import LLaSOError
from llaso_data.instruct.utterance_task import UtteranceTask
from llaso_data.records import Message, Sample, Utterance

TASK = "asr"

TEMPLATES: tuple[str, ...] = (
    "Transcribe the speech in this recording.",
    "Write down what is said in the audio.",
    "What does the speaker say?",
    "Please transcribe this audio.",
    "Convert the speech to text.",
    "Type out the words that you hear.",
    "Give me a transcript of this recording.",
    "What words are spoken in this clip?",
    "Listen to the audio and write the exact words.",
    "Provide a word-for-word transcript of the speech.",
    "Turn this recording into text.",
    "Please write out everything that the person says.",
    "What is being said here?",
    "Put the spoken words into writing.",
    "Transcribe the following audio accurately.",
    "Can you write down the speech that you hear?",
    "Recognize the speech and output the text.",
    "Write the sentence that is spoken in the recording.",
    "Produce a verbatim transcription of the audio clip.",
    "I need the text of this voice recording.",
    "Take dictation from this recording.",
    "Tell me exactly what the voice says.",
    "Note down the spoken content of this clip, word by word.",
    "Render the speech as written text, in the language that is spoken.",
)


def make(utterance: Utterance, seed: int = 0) -> Sample:
    """The transcription of an utterance.

    Args:
        utterance: With its text.
        seed: Decides the instruction.

    Returns:
        A pure function of the two: an instruction and the audio by the user, the utterance's text as the answer.

    Raises:
        LLaSOError: The utterance has no text.
    """
    if utterance.text is None:
        raise LLaSOError("an utterance without a text cannot be transcribed")
    return Sample(
        task=TASK,
        messages=conversation(instruction(utterance.id, seed), utterance.text),
        audios=(utterance,),
        language=utterance.language,
    )


def conversation(asked: str, text: str) -> tuple[Message, ...]:
    """A transcription: the user asks and lets audio 0 be heard, the text is the answer."""
    return _question(asked), Message.of("assistant", text)


@functools.lru_cache(256)
def _question(asked: str) -> Message:
    return Message.of("user", asked, 0)


def instruction(utterance_id: str, seed: int = 0) -> str:
    """The instruction of one sample: a uniform draw from :data:`TEMPLATES`, a pure function of its arguments."""
    return TEMPLATES[int(records.digest(TASK, seed, utterance_id), 16) % len(TEMPLATES)]


TRANSCRIPTION = UtteranceTask(name=TASK, make=make, templates_digest=records.digest(TASK, *TEMPLATES))
"""The task as what makes samples of utterances."""
