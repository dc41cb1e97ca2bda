"""Audio and text to what the model takes, and its answers back to text."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin

from llaso_data import audio as audio_files
from llaso_model.configuration import IGNORED, MEL_HOP, TAIL_S, LLaSOConfig, audio_tokens
from llaso_model.encoders import PRETRAINED
from llaso_model.fusion import FUSIONS
from llaso_model.sounds import InputError, Samples, samples

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
_OF_TENSORS = ("return_dict", "return_tensors", "padding", "sampling_rate")  # say nothing of a text

Row = tuple[list[int], list[int]]
"""Ids and labels."""

Message = dict[str, Any]


class ChatText(str):
    """A text as :meth:`LLaSOProcessor.apply_chat_template` wrote it: it is not put into the template again.

    ``kept`` is the same with what people wrote in place of private characters, so that their words stay words.
    """

    kept: str

    @classmethod
    def of(cls, text: str, kept: str) -> ChatText:
        made = cls(text)
        made.kept = kept
        return made


class LLaSOProcessor(ProcessorMixin):  # type: ignore[misc]
    """Whisper's features and the language model's tokenizer and chat template.

    Audio is anything that :func:`llaso_model.sounds.samples` takes: a path, the bytes of a file, samples, a mapping.
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
        self.encoder = encoder or {"model_type": PRETRAINED}
        self.fusion = fusion
        self._lengths = LLaSOConfig(audio_config=dict(self.encoder), stack=stack)
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        return_tensors: str | None = "pt",
        sampling_rate: int | None = None,
        padding: bool | str = True,
        **kwargs: Any,
    ) -> BatchFeature:
        """One instruction for each audio, as a prompt that ``generate`` answers.

        A single audio or text makes a batch of one; no text asks for a transcription. A text that says where its audio
        stands (``<audio>``) is taken so, else the audio comes after it. A text that the chat template has written (what
        :meth:`apply_chat_template` returns, or what begins with the special token that the template begins with) is
        taken as it stands. Text of strangers belongs into a conversation, where such tokens are words.

        Args:
            text: One or several.
            audio: One or several, in any form; a list of numbers is one.
            return_tensors: ``pt`` or ``np``.
            sampling_rate: Of samples that do not say theirs, Hz; None: 16,000.
            padding: To the longest; prompts are padded on the left.
            **kwargs: As :meth:`batch` takes them; others are refused.

        Raises:
            InputError: Texts and audios do not match, or what is asked for cannot be had.
        """
        _check_padding(padding, kwargs)
        audios = _listed(audio)
        if text is None:
            text = [TRANSCRIBE] * len(audios)
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise InputError("give audio, or a text, or both")
        sounds = [samples(one, sampling_rate) for one in audios]
        written = [self._is_written(one) for one in texts]
        if all(written):
            return self._of_tensors(self._written(texts, sounds, **kwargs), return_tensors)
        if any(written):
            raise InputError("some of the texts are written by the chat template, others are not")
        return self._of_tensors(self._asked(texts, sounds, **kwargs), return_tensors)

    def _is_written(self, text: str) -> bool:
        """Whether the chat template wrote a text."""
        begins = self._begins()
        return isinstance(text, ChatText) or (begins is not None and text.startswith(begins))

    def _begins(self) -> str | None:
        """The special token that the chat template begins with, if it begins with one."""
        text = self._text([{"role": "user", "content": "a"}], False)
        return next((mark for mark in self._marks if mark != self.audio_token and text.startswith(mark)), None)

    def _written(self, texts: Sequence[str], sounds: Sequence[Samples], **kwargs: Any) -> BatchFeature:
        """Prompts of texts that the chat template has written, with the audios in the places that they name."""
        if kwargs:
            raise InputError(f"{', '.join(kwargs)}: not for a text that the chat template has written already")
        waiting = iter(sounds)
        rows, of_rows = [], []
        for one in texts:
            kept = one.kept if isinstance(one, ChatText) else one
            count = kept.count(self.audio_token)
            own = [sound for _, sound in zip(range(count), waiting, strict=False)]
            if len(own) < count:
                raise InputError(f"the texts have more {self.audio_token} than the {len(sounds)} audios that there are")
            of_rows.append([self.windows(sound) for sound in own])
            rows.append(self._placed(kept, iter([self._places(cut) for cut in of_rows[-1]])))
        if next(waiting, None) is not None:
            raise InputError(f"there are {len(sounds)} audios, more than the texts have {self.audio_token}")
        found = self._padded([(ids, [IGNORED] * len(ids)) for ids in rows], of_rows, right=False)
        del found["labels"]
        return found

    def _asked(self, texts: Sequence[str], sounds: Sequence[Samples], **kwargs: Any) -> BatchFeature:
        """Prompts of instructions, each with its audio."""
        waiting = iter(sounds)
        plain = sum(self.audio_token not in one for one in texts)
        placed = sum(one.count(self.audio_token) for one in texts)
        unplaced = (len(sounds) - placed) // max(plain, 1)  # of each text that does not say where
        conversations = []
        for one in texts:
            pieces = one.split(self.audio_token)
            content: list[Message] = [{"type": "text", "text": pieces[0].strip()}]
            for piece in pieces[1:] or [""] * unplaced:
                if (sound := next(waiting, None)) is None:
                    raise InputError(f"the texts speak of more than the {len(sounds)} audios that there are")
                content += [{"type": "audio", "audio": sound}, {"type": "text", "text": piece.strip()}]
            content = [part for part in content if part["type"] == "audio" or part["text"]]
            conversations.append([{"role": "user", "content": content}])
        if next(waiting, None) is not None:
            raise InputError(f"there are {len(sounds)} audios, more than the texts speak of")
        return self.batch(conversations, **kwargs)

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """Of one conversation or several: messages whose content is a text or parts of ``text`` and ``audio``.

        An audio stands under ``audio``, ``path``, ``url`` or ``base64``. With ``tokenize=False`` the text, which
        calling the processor takes as it stands; else what the model takes, as :meth:`batch` gives it, with
        ``return_dict=False`` its ``input_ids`` alone. ``chat_template`` is used instead of the processor's own,
        ``return_tensors`` (``pt``, ``np``), ``sampling_rate`` and ``padding`` are those of a call. Raises InputError.
        """
        several = bool(conversation) and isinstance(conversation[0], list | tuple)
        conversations = list(conversation) if several else [conversation]
        template = kwargs.pop("chat_template", None)
        if template is not None:
            own = copy.copy(self)
            own.chat_template = template
            return own.apply_chat_template(conversation, **kwargs)
        if not kwargs.pop("tokenize", True):
            add = kwargs.pop("add_generation_prompt", False)
            if unused := [name for name in kwargs if name not in _OF_TENSORS]:
                raise InputError(f"{', '.join(unused)}: not known to this processor")
            kept = [self._text(messages, add) for messages in conversations]
            texts = [ChatText.of(self._said(text), text) for text in kept]
            return texts if several else texts[0]
        _check_padding(kwargs.pop("padding", True), kwargs)
        tensors, whole = kwargs.pop("return_tensors", "pt"), kwargs.pop("return_dict", True)
        found = self._of_tensors(self.batch(conversations, **kwargs), tensors)
        return found if whole else found["input_ids"]

    def _of_tensors(self, found: BatchFeature, kind: str | None) -> BatchFeature:
        if kind in ("pt", None):
            return found
        if kind != "np":
            raise InputError(f"return_tensors={kind!r}: there are pt and np")
        return BatchFeature({name: value.numpy() for name, value in found.items()})

    def batch(
        self,
        conversations: Sequence[Sequence[Message]],
        output_labels: bool = False,
        add_generation_prompt: bool = True,
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """Conversations as the model takes them.

        ``input_ids`` and ``attention_mask`` (B, T), padded on the left, with labels on the right; ``input_features``
        (A, mels, frames) of every window of every audio in turn, ``feature_lengths`` (A,) in frames, and ``audio_rows``
        (A,), whose each is. With ``output_labels`` also ``labels``: what an assistant says, to the end of its turn,
        else :data:`IGNORED`. Without, for cross-attention, ``answered`` (B, T): the same of earlier turns, as a mask.
        """
        parted = output_labels or (FUSIONS[self.fusion].token_per_window and any(map(_answers, conversations)))
        rows: list[Row] = []
        of_rows: list[list[list[Samples]]] = []
        for messages in conversations:
            sounds = [samples(_audio_in(part), sampling_rate) for part in _audios(messages)]
            of_rows.append([self.windows(sound) for sound in sounds])
            counts = iter([self._places(own) for own in of_rows[-1]])
            add = add_generation_prompt and not output_labels
            rows.append(self._tokens(messages, counts, parted, add))
        found = self._padded(rows, of_rows, right=output_labels)
        labels = found.pop("labels")
        if output_labels:
            found["labels"] = labels
        elif parted:
            found["answered"] = labels != IGNORED
        return found

    def _padded(self, rows: Sequence[Row], of_rows: Sequence[Sequence[Sequence[Samples]]], right: bool) -> BatchFeature:
        """Rows of ids and labels, and the windows of each row's audios, as one batch with ``labels``."""
        windows = [window for own in of_rows for cut in own for window in cut]
        of = [number for number, own in enumerate(of_rows) for cut in own for _ in cut]
        longest = max(len(ids) for ids, _ in rows)
        found: dict[str, Any] = {
            "input_ids": torch.full((len(rows), longest), self.tokenizer.pad_token_id),
            "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
        }
        labels = torch.full((len(rows), longest), IGNORED)
        for number, (ids, wanted) in enumerate(rows):
            place = slice(0, len(ids)) if right else slice(longest - len(ids), longest)
            found["input_ids"][number, place] = torch.tensor(ids)
            found["attention_mask"][number, place] = 1
            labels[number, place] = torch.tensor(wanted)
        if windows:
            found["audio_rows"] = torch.tensor(of)
        return BatchFeature({**found, **self.features(windows), "labels": labels})

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

    def stop_tokens(self) -> list[int]:
        """What the chat template ends an answer with, as labels have it: the first special token after its text.

        A base language model's own end of text is often another one. Empty where the template ends a turn without.
        """
        asked = {"role": "user", "content": "a"}
        turns = self._turns([asked, {"role": "assistant", "content": "a"}], True, False)
        said = next(text for text, wanted in turns if wanted)
        special = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        special |= set(self.tokenizer.all_special_ids)
        return [token for token in self._ids(said) if token in special][:1]

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
        if FUSIONS[self.fusion].token_per_window:
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
        return "\n".join(self.audio_token if _is_audio(part) else self._as_said(part["text"]) for part in content)

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
            own = self._placed(text, counts)
            ids += own
            labels += own if wanted else [IGNORED] * len(own)
        return ids, labels

    def _placed(self, text: str, counts: Iterator[int]) -> list[int]:
        """Ids of a text, with as many audio tokens in place of each as ``counts`` say."""
        ids: list[int] = []
        for number, piece in enumerate(text.split(self.audio_token)):
            ids += [self.audio_token_id] * next(counts) if number else []
            ids += self._ids(piece)
        return ids

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
                raise InputError("the chat template changes earlier turns when one is added; labels cannot be made")
            found += [(before[len(done) :], False), (after[len(before) :], True)]
            done = after
        whole = self._text(messages, add_generation_prompt)
        return [*found, (whole[len(done) :], False)] if whole.startswith(done) else found


def _answers(messages: Sequence[Message]) -> bool:
    return any(message["role"] == "assistant" for message in messages)


def _audios(messages: Sequence[Message]) -> list[Message]:
    return [
        part
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if _is_audio(part)
    ]


def _is_audio(part: Message) -> bool:
    """Raises InputError for a part of a message that is neither text nor audio."""
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return False
    if kind != "audio":
        raise InputError(f"a part of a message is text or audio, not {kind!r} with {', '.join(map(str, part))}")
    return True


def _audio_in(part: Message) -> Any:
    """The audio of a message's part, under any of the names that chat messages have for it."""
    if part.get("audio") is not None:
        return part["audio"]
    return {name: value for name, value in part.items() if name != "type"}


def _listed(audio: Any) -> list[Any]:
    """One audio or several as a list; numbers in a list are one audio's samples."""
    if audio is None:
        return []
    if isinstance(audio, list | tuple):
        return [audio] if len(audio) and isinstance(audio[0], int | float | np.number) else list(audio)
    return [audio]


def _check_padding(padding: bool | str | None, options: dict[str, Any]) -> None:
    """Takes what other processors' users say of padding and cutting out of the options; InputError for what is not so.

    Rows are padded to the longest, prompts on the left, and nothing is cut.
    """
    wrong = []
    if padding not in (True, "longest", None):
        wrong.append(f"padding={padding!r}: rows are padded to the longest")
    if options.pop("padding_side", "left") not in ("left", None):
        wrong.append("padding_side: prompts are padded on the left, labels on the right")
    if options.pop("truncation", None) not in (None, False):
        wrong.append("truncation: nothing is cut")
    if options.pop("max_length", None) is not None:
        wrong.append("max_length: nothing is cut, and rows are padded to the longest")
    if wrong:
        raise InputError("; ".join(wrong))
