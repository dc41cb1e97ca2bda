"""Audio and text to what the model takes, and its answers back to text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from transformers import BatchFeature, ProcessorMixin

from llaso_data import audio as audio_files
from llaso_data.errors import LLaSOError
from llaso_data.stream.batch import sound as sound_of
from llaso_model.configuration import IGNORED, MEL_HOP, TAIL_S, LLaSOConfig, audio_tokens

AUDIO_TOKEN = "<audio>"
TRANSCRIBE = "Transcribe the speech."
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
)
"""For language models without a template of their own: what is said, in turn."""
_FIRST_PRIVATE = 0xF0000
_PRIVATE = re.compile("[\U000f0000-\U000ffffd]")
_PRIVATE_KEPT = re.compile(f"({_PRIVATE.pattern})")
_LEAST_SAMPLES = 400  # what one mel frame is made of

Samples = npt.NDArray[np.float32]
Message = dict[str, Any]


class LLaSOProcessor(ProcessorMixin):  # type: ignore[misc]
    """Whisper's features and the language model's tokenizer and chat template.

    Audio is a path, the bytes of a file, samples at 16 kHz (NumPy or torch, mono), or ``{"array", "sampling_rate"}``.
    In a text ``<audio>`` stands for one audio; the processor puts as many audio tokens there as the model needs.
    """

    def __init__(
        self,
        feature_extractor: Any = None,
        tokenizer: Any = None,
        chat_template: str | None = None,
        audio_token: str = AUDIO_TOKEN,
        stack: int = 5,
        max_audio_length: float = 30.0,
        tail_s: float = TAIL_S,
        encoder: dict[str, Any] | None = None,
        fusion: str = "splice",
    ) -> None:
        """``encoder``, ``fusion``, ``stack``, ``max_audio_length`` and ``tail_s`` are the model's."""
        if audio_token not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [audio_token]})
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.audio_token = audio_token
        self.audio_token_id = tokenizer.convert_tokens_to_ids(audio_token)
        # Marks of the chat's form: the tokenizer's special tokens.
        self._marks = sorted({audio_token, *tokenizer.all_special_tokens, *tokenizer.get_added_vocab()})
        self.stack = stack
        self.max_audio_length = max_audio_length
        self.tail_s = tail_s
        self.encoder = encoder or {"model_type": "whisper"}
        self.fusion = fusion
        self._lengths = LLaSOConfig(audio_config=dict(self.encoder), stack=stack)
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        return_tensors: str = "pt",
        **kwargs: Any,
    ) -> BatchFeature:
        """One instruction for each audio, as a prompt that :meth:`generate` answers.

        A single audio or text makes a batch of one; no text asks for a transcription. A text that says where its audio
        stands (``<audio>``) is taken so, else the audio comes after it. Raises LLaSOError where they do not match.
        """
        audios = [] if audio is None else list(audio) if isinstance(audio, list | tuple) else [audio]
        if text is None:
            text = [TRANSCRIBE] * len(audios)
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise LLaSOError("give audio, or a text, or both")
        waiting = iter(audios)
        plain = sum(self.audio_token not in one for one in texts)
        placed = sum(one.count(self.audio_token) for one in texts)
        unplaced = (len(audios) - placed) // max(plain, 1)  # of each text that does not say where
        conversations = []
        for one in texts:
            pieces = one.split(self.audio_token)
            content: list[Message] = [{"type": "text", "text": pieces[0].strip()}]
            for piece in pieces[1:] or [""] * unplaced:
                if (sound := next(waiting, None)) is None:
                    raise LLaSOError(f"the texts speak of more than the {len(audios)} audios that there are")
                content += [{"type": "audio", "audio": sound}, {"type": "text", "text": piece.strip()}]
            content = [part for part in content if part["type"] == "audio" or part["text"]]
            conversations.append([{"role": "user", "content": content}])
        if next(waiting, None) is not None:
            raise LLaSOError(f"there are {len(audios)} audios, more than the texts speak of")
        return self.batch(conversations, **kwargs)

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """Of one conversation or several: messages whose content is a text or parts of ``text`` and ``audio``.

        With ``tokenize=False`` the text; else what the model takes, as :meth:`batch` gives it.
        """
        several = conversation and isinstance(conversation[0], list | tuple)
        conversations = list(conversation) if several else [conversation]
        if not kwargs.pop("tokenize", True):
            add = kwargs.get("add_generation_prompt", False)
            texts = [self._said(self._text(messages, add)) for messages in conversations]
            return texts if several else texts[0]
        for ignored in ("return_dict", "return_tensors"):
            kwargs.pop(ignored, None)
        return self.batch(conversations, **kwargs)

    def batch(
        self,
        conversations: Sequence[Sequence[Message]],
        output_labels: bool = False,
        add_generation_prompt: bool = True,
    ) -> BatchFeature:
        """Conversations as the model takes them.

        ``input_ids`` and ``attention_mask`` (B, T), padded on the left, with labels on the right; ``input_features``
        (A, mels, frames) of every window of every audio in turn, ``feature_lengths`` (A,) in frames, and ``audio_rows``
        (A,), whose each is. With ``output_labels`` also ``labels``: what an assistant says, to the end of its turn,
        else :data:`IGNORED`. Without, for cross-attention, ``answered`` (B, T): the same of earlier turns, as a mask.
        """
        parted = output_labels or (self.fusion != "splice" and any(map(_answers, conversations)))
        rows: list[tuple[list[int], list[int]]] = []
        windows: list[Samples] = []
        of: list[int] = []
        for number, messages in enumerate(conversations):
            sounds = [samples(part["audio"]) for part in _audios(messages)]
            cut = [self.windows(sound) for sound in sounds]
            windows += [window for own in cut for window in own]
            of += [number] * sum(map(len, cut))
            counts = iter([self._places(own) for own in cut])
            add = add_generation_prompt and not output_labels
            rows.append(self._tokens(messages, counts, parted, add))
        longest = max(len(ids) for ids, _ in rows)
        found: dict[str, Any] = {
            "input_ids": torch.full((len(rows), longest), self.tokenizer.pad_token_id),
            "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
        }
        labels = torch.full((len(rows), longest), IGNORED)
        for number, (ids, wanted) in enumerate(rows):
            place = slice(0, len(ids)) if output_labels else slice(longest - len(ids), longest)
            found["input_ids"][number, place] = torch.tensor(ids)
            found["attention_mask"][number, place] = 1
            labels[number, place] = torch.tensor(wanted)
        if output_labels:
            found["labels"] = labels
        elif parted:
            found["answered"] = labels != IGNORED
        if windows:
            found["audio_rows"] = torch.tensor(of)
        return BatchFeature({**found, **self.features(windows)})

    def features(self, windows: Sequence[Samples]) -> dict[str, torch.Tensor]:
        """Log-mel frames of windows of samples, each by itself, padded with zeros; nothing for none.

        A tail of silence follows each; ``feature_lengths`` are those without it.
        """
        if not windows:
            return {}
        tail = round(self.tail_s * audio_files.SAMPLE_RATE_HZ)
        with torch.autocast("cpu", enabled=False):
            mels = [self._log_mel(np.pad(window, (0, tail))) for window in windows]
        lengths = torch.tensor([len(window) // MEL_HOP for window in windows])
        padded = torch.zeros((len(mels), mels[0].shape[0], max(mel.shape[1] for mel in mels)))
        for number, mel in enumerate(mels):
            padded[number, :, : mel.shape[1]] = mel
        return {"input_features": padded, "feature_lengths": lengths}

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """Tokens to text, as the tokenizer does it."""
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> Any:
        return self.tokenizer.batch_decode(*args, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return ["input_ids", "attention_mask", "input_features", "feature_lengths", "audio_rows", "answered"]

    def _places(self, windows: Sequence[Samples]) -> int:
        """How many audio tokens stand for an audio of these windows."""
        if self.fusion != "splice":
            return len(windows)
        return sum(audio_tokens(len(window), self._lengths) for window in windows)

    def windows(self, sound: Samples) -> list[Samples]:
        """Stretches of at most ``max_audio_length``, each long enough for a frame."""
        size = round(self.max_audio_length * audio_files.SAMPLE_RATE_HZ)
        cut = [sound[first : first + size] for first in range(0, max(len(sound), 1), size)]
        return [np.pad(window, (0, max(0, _LEAST_SAMPLES - len(window)))) for window in cut]

    def _log_mel(self, window: Samples) -> torch.Tensor:
        found = self.feature_extractor(
            window,
            sampling_rate=audio_files.SAMPLE_RATE_HZ,
            padding=False,
            truncation=False,
            return_tensors="np",
        )["input_features"][0]
        return torch.from_numpy(np.asarray(found, np.float32))

    def _text(self, messages: Sequence[Message], add_generation_prompt: bool) -> str:
        """The conversation as the language model's template writes it, one audio token for each audio."""
        plain = [{**message, "content": self._content(message["content"])} for message in messages]
        text: str = self.tokenizer.apply_chat_template(
            plain, tokenize=False, add_generation_prompt=add_generation_prompt, chat_template=self.chat_template
        )
        return text

    def _content(self, content: Any) -> str:
        if isinstance(content, str):
            return self._as_said(content)
        return "\n".join(
            self.audio_token if part["type"] == "audio" else self._as_said(part["text"]) for part in content
        )

    def _as_said(self, text: str) -> str:
        """Marks of the chat's form that somebody wrote are words: they stand as private characters until tokenized."""
        text = _PRIVATE.sub("\ufffd", text)
        for number, mark in enumerate(self._marks):
            text = text.replace(mark, chr(_FIRST_PRIVATE + number))
        return text

    def _said(self, text: str) -> str:
        """The text with marks in place of private characters."""
        return _PRIVATE.sub(lambda found: self._marks[ord(found[0]) - _FIRST_PRIVATE], text)

    def _ids(self, text: str) -> list[int]:
        found: list[int] = []
        for piece in _PRIVATE_KEPT.split(text):
            mark = len(piece) == 1 and _PRIVATE.fullmatch(piece)
            said = self._marks[ord(piece) - _FIRST_PRIVATE] if mark else piece
            if said:
                found += self.tokenizer(said, add_special_tokens=False, split_special_tokens=bool(mark))["input_ids"]
        return found

    def _tokens(
        self, messages: Sequence[Message], counts: Any, parted: bool, add_generation_prompt: bool
    ) -> tuple[list[int], list[int]]:
        """Ids of a conversation, and its labels where it is parted: what the assistants say."""
        ids: list[int] = []
        labels: list[int] = []
        for text, wanted in self._turns(messages, parted, add_generation_prompt):
            pieces = text.split(self.audio_token)
            for number, piece in enumerate(pieces):
                own = [self.audio_token_id] * next(counts) if number else []
                own += self._ids(piece)
                ids += own
                labels += own if wanted else [IGNORED] * len(own)
        return ids, labels

    def _turns(self, messages: Sequence[Message], parted: bool, add_generation_prompt: bool) -> list[tuple[str, bool]]:
        """The conversation's text in stretches, and whether an assistant says each."""
        if not parted:
            return [(self._text(messages, add_generation_prompt), False)]
        found: list[tuple[str, bool]] = []
        done = ""
        for number, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            before, after = self._text(messages[:number], True), self._text(messages[: number + 1], False)
            if not (before.startswith(done) and after.startswith(before)):
                raise LLaSOError("the chat template changes earlier turns when one is added; labels cannot be made")
            found += [(before[len(done) :], False), (after[len(before) :], True)]
            done = after
        whole = self._text(messages, add_generation_prompt)
        return [*found, (whole[len(done) :], False)] if whole.startswith(done) else found


def samples(audio: Any) -> Samples:
    """16 kHz mono float32 of an audio in any form; raises LLaSOError."""
    if isinstance(audio, dict):
        rate = audio.get("sampling_rate", audio_files.SAMPLE_RATE_HZ)
        return _resampled(samples(audio["array"]), rate)
    if isinstance(audio, str) or hasattr(audio, "__fspath__"):
        return audio_files.scaled(audio_files.decode(str(audio))[0])
    if isinstance(audio, bytes):
        return sound_of(audio, "audio")
    found = audio.detach().cpu().numpy() if isinstance(audio, torch.Tensor) else np.asarray(audio)
    if found.dtype == np.int16:
        found = audio_files.scaled(found)
    if found.ndim == 2:
        found = found.mean(axis=int(np.argmin(found.shape)))
    if found.ndim != 1:
        raise LLaSOError(f"audio of {found.ndim} dimensions; give samples (T,) or channels (C, T)")
    return np.ascontiguousarray(found, np.float32)


def _resampled(sound: Samples, rate_hz: int) -> Samples:
    if rate_hz == audio_files.SAMPLE_RATE_HZ:
        return sound
    import soxr

    found: Samples = soxr.resample(sound, rate_hz, audio_files.SAMPLE_RATE_HZ).astype(np.float32)
    return found


def _answers(messages: Sequence[Message]) -> bool:
    return any(message["role"] == "assistant" for message in messages)


def _audios(messages: Sequence[Message]) -> list[Message]:
    return [
        part
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part["type"] == "audio"
    ]
