"""Instructions that ask for a transcription, and the draw that gives each sample one of them."""

from __future__ import annotations

from llaso_data import records

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


def instruction(utterance_id: str, seed: int = 0) -> str:
    """The instruction of one sample: a pure, uniform draw from (seed, utterance id)."""
    return TEMPLATES[int(records.digest(TASK, seed, utterance_id), 16) % len(TEMPLATES)]


def templates_digest() -> str:
    """Changes when a template does; part of a shard set's digest."""
    return records.digest(TASK, *TEMPLATES)
