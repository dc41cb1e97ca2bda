"""Audio and text to what the model takes, and its answers back to text."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin

from llaso_data import audio as audio_files
from llaso_model.chat_format import ChatFormat, ChatText, Message, audio_of, audio_parts, has_answer
from llaso_model.configuration import IGNORED, MEL_HOP, TAIL_S, LLaSOConfig, audio_tokens
from llaso_model.encoders import PRETRAINED
from llaso_model.fusion import FUSIONS
from llaso_model.placeholders import AudioPlaceholders
from llaso_model.processor_options import as_tensors, check_padding, listed, without_neutral
from llaso_model.sounds import InputError, Samples, samples

AUDIO_TOKEN = "<audio>"
TRANSCRIBE = "Transcribe the speech."
_MIN_SAMPLES = 400  # at 16 kHz, which one mel frame is computed from
_TENSOR_OPTIONS = ("return_dict", "return_tensors", "padding", "sampling_rate")  # without effect on a text

TokenRow = tuple[list[int], list[int]]
"""Token ids and labels of one conversation."""


class LLaSOProcessor(AudioPlaceholders, ProcessorMixin):  # type: ignore[misc]
    """Whisper's features and the language model's tokenizer and chat template.

    Audio is anything that :func:`llaso_model.sounds.samples` takes: a path, the bytes of a file, samples, a mapping.
    In a text ``<audio>`` stands for one audio. The processor puts as many audio tokens there as the model needs.
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
        """A processor for a model.

        Args:
            feature_extractor: Samples at 16 kHz to log-mel frames, 100 a second.
            tokenizer: The language model's. It gets the audio token, and a padding token, where it has none.
            chat_template: Jinja; None: the tokenizer's own.
            audio_token: Stands for one audio in a text.
            stack: The model's; see :class:`LLaSOConfig`.
            max_audio_length: The model's, in seconds.
            tail_s: The model's, in seconds.
            encoder: Values of the model's ``audio_config``; None: Whisper's defaults.
            fusion: The model's.
        """
        if audio_token not in tokenizer.get_vocab():
            tokenizer.add_special_tokens({"additional_special_tokens": [audio_token]})
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        self.audio_token = audio_token
        self.audio_token_id = tokenizer.convert_tokens_to_ids(audio_token)
        self._chat_tokens = sorted({audio_token, *tokenizer.all_special_tokens, *tokenizer.get_added_vocab()})
        self.stack = stack
        self.max_audio_length = max_audio_length
        self.tail_s = tail_s
        self.encoder = encoder or {"model_type": PRETRAINED}
        self.fusion = fusion
        self._lengths = LLaSOConfig(audio_config=dict(self.encoder), stack=stack)
        super().__init__(feature_extractor, tokenizer, chat_template=chat_template)

    @property
    def _chat(self) -> ChatFormat:
        """The tokenizer with the chat template of now: callers may replace either."""
        return ChatFormat(self.tokenizer, self.chat_template, self.audio_token, self._chat_tokens)

    def __call__(
        self,
        text: str | Sequence[str] | None = None,
        audio: Any = None,
        return_tensors: str | None = "pt",
        sampling_rate: int | None = None,
        padding: bool | str = True,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prompts that ``generate`` answers: one instruction for each audio.

        A text with ``<audio>`` has its audio there. In other texts the audio comes after the text. A text that the chat
        template wrote is not put into the template again: :meth:`apply_chat_template` returned it, or it begins with
        the special token that the template begins with. Untrusted text belongs into a conversation (:meth:`batch`),
        where special tokens are words.

        Args:
            text: One or several; None: a request for a transcription of each audio.
            audio: One or several, in any form that :func:`samples` takes; a list of numbers is one audio.
            return_tensors: ``pt`` or ``np``.
            sampling_rate: Of samples that do not say theirs, Hz; None: 16,000.
            padding: Rows are padded to the longest, prompts on the left.
            **kwargs: Those of :meth:`batch`. For texts of the chat template, ``return_text_replacement_offsets``
                adds ``text_replacement_offsets``; see :meth:`replacements`.

        Returns:
            What :meth:`batch` returns, without labels.

        Raises:
            InputError: Texts and audios do not match, or an option is not known or cannot be honoured.
        """
        check_padding(padding, kwargs)
        if isinstance(text, np.ndarray | torch.Tensor) and audio is None:  # as speech recognisers are called
            text, audio = None, text
        audios = listed(audio)
        if text is None:
            text = [TRANSCRIBE] * len(audios)
        texts = [text] if isinstance(text, str) else list(text)
        if not texts:
            raise InputError("give audio, or a text, or both")
        sounds = [samples(one, sampling_rate) for one in audios]
        leading_token = self._chat.leading_token()
        templated = [
            isinstance(one, ChatText) or (leading_token is not None and one.startswith(leading_token)) for one in texts
        ]
        if all(templated):
            return as_tensors(self._batch_of_templated(texts, sounds, **kwargs), return_tensors)
        if any(templated):
            raise InputError("some of the texts are written by the chat template, others are not")
        return as_tensors(self._batch_of_instructions(texts, sounds, **kwargs), return_tensors)

    def _batch_of_templated(
        self,
        texts: Sequence[str],
        sounds: Sequence[Samples],
        return_text_replacement_offsets: bool = False,
        **kwargs: Any,
    ) -> BatchFeature:
        """Prompts of texts that the chat template wrote, with the audios at their audio tokens."""
        if kwargs:
            raise InputError(f"{', '.join(kwargs)}: not for a text that the chat template has written already")
        chat, remaining = self._chat, iter(sounds)
        rows: list[TokenRow] = []
        windows: list[list[list[Samples]]] = []
        offsets = []
        for text in texts:
            escaped = text.escaped if isinstance(text, ChatText) else text
            count = escaped.count(self.audio_token)
            own = [sound for _, sound in zip(range(count), remaining, strict=False)]
            if len(own) < count:
                raise InputError(f"the texts have more {self.audio_token} than the {len(sounds)} audios that there are")
            windows.append([self.windows(sound) for sound in own])
            ids = chat.ids_with_audio(escaped, self._audio_token_counts(windows[-1]))
            pieces = [chat.unescaped(piece) for piece in escaped.split(self.audio_token)]
            offsets.append(self.replacements(pieces, self._audio_token_counts(windows[-1])))
            rows.append((ids, [IGNORED] * len(ids)))
        if next(remaining, None) is not None:
            raise InputError(f"there are {len(sounds)} audios, more than the texts have {self.audio_token}")
        inputs = self._padded(rows, windows, on_the_right=False)
        del inputs["labels"]
        if return_text_replacement_offsets:
            inputs["text_replacement_offsets"] = offsets
        return inputs

    def _batch_of_instructions(self, texts: Sequence[str], sounds: Sequence[Samples], **kwargs: Any) -> BatchFeature:
        """Prompts of instructions, each with its audio."""
        remaining = iter(sounds)
        without_token = sum(self.audio_token not in text for text in texts)
        at_tokens = sum(text.count(self.audio_token) for text in texts)
        appended = (len(sounds) - at_tokens) // max(without_token, 1)  # audios after each text without a token
        conversations = []
        for text in texts:
            count = text.count(self.audio_token) or appended
            own = [sound for _, sound in zip(range(count), remaining, strict=False)]
            if len(own) < count:
                raise InputError(f"the texts speak of more than the {len(sounds)} audios that there are")
            conversations.append(self.instruction(text, own))
        if next(remaining, None) is not None:
            raise InputError(f"there are {len(sounds)} audios, more than the texts speak of")
        return self.batch(conversations, **kwargs)

    def instruction(self, text: str, audios: Sequence[Any]) -> list[Message]:
        """A conversation of one instruction.

        Args:
            text: With ``<audio>`` where each audio stands; without it, all audios stand after the text.
            audios: In any form that :func:`samples` takes.

        Raises:
            InputError: The text has other than one ``<audio>`` for each audio.
        """
        pieces = text.split(self.audio_token)
        after = pieces[1:] or [""] * len(audios)
        if len(after) != len(audios):
            raise InputError(f"the text has {len(after)} {self.audio_token} for {len(audios)} audios")
        content: list[Message] = [{"type": "text", "text": pieces[0].strip()}]
        for audio, piece in zip(audios, after, strict=True):
            content += [{"type": "audio", "audio": audio}, {"type": "text", "text": piece.strip()}]
        return [{"role": "user", "content": [part for part in content if part["type"] == "audio" or part["text"]]}]

    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any:
        """One conversation or several, as text or as what the model takes.

        Args:
            conversation: Messages, or a list of conversations. A message's content is a text, or parts of ``text`` and
                ``audio``; an audio stands under ``audio``, ``path``, ``url`` or ``base64``.
            **kwargs: ``tokenize`` (default True), ``return_dict`` (default True; else ``input_ids`` alone),
                ``chat_template`` (in place of the processor's own), ``return_tensors``, ``sampling_rate`` and
                ``padding`` as in a call of the processor, and those of :meth:`batch`.

        Returns:
            With ``tokenize=False`` a text, or a list of texts, that a call of the processor takes as it is. Else what
            :meth:`batch` returns.

        Raises:
            InputError: The conversation is of another form, or an option is not known or cannot be honoured.
        """
        kwargs = without_neutral(kwargs)
        several = bool(conversation) and isinstance(conversation[0], list | tuple)
        conversations = list(conversation) if several else [conversation]
        template = kwargs.pop("chat_template", None)
        if template is not None:
            own = copy.copy(self)
            own.chat_template = template
            return own.apply_chat_template(conversation, **kwargs)
        if not kwargs.pop("tokenize", True):
            add = kwargs.pop("add_generation_prompt", False)
            if unused := [name for name in kwargs if name not in _TENSOR_OPTIONS]:
                raise InputError(f"{', '.join(unused)}: not known to this processor")
            chat = self._chat
            escaped = [chat.text(messages, add) for messages in conversations]
            texts = [ChatText.of(chat.unescaped(text), text) for text in escaped]
            return texts if several else texts[0]
        check_padding(kwargs.pop("padding", True), kwargs)
        kind, all_inputs = kwargs.pop("return_tensors", "pt"), kwargs.pop("return_dict", True)
        inputs = as_tensors(self.batch(conversations, **kwargs), kind)
        return inputs if all_inputs else inputs["input_ids"]

    def batch(
        self,
        conversations: Sequence[Sequence[Message]],
        output_labels: bool = False,
        add_generation_prompt: bool = True,
        sampling_rate: int | None = None,
    ) -> BatchFeature:
        """Conversations as the model takes them.

        Args:
            conversations: B conversations of messages.
            output_labels: Whether labels are made, for training. Rows are then padded on the right.
            add_generation_prompt: Whether each text ends with the beginning of an answer; not with labels.
            sampling_rate: Of samples that do not say theirs, Hz; None: 16,000.

        Returns:
            ``input_ids`` and ``attention_mask`` (B, T) int64, padded on the left, with labels on the right. Where there
            is audio, ``input_features`` (A, mels, frames) float32 of all windows of all audios in turn,
            ``feature_lengths`` (A,) in frames, and ``audio_rows`` (A,), the conversation of each window. With
            ``output_labels`` also ``labels`` (B, T): the assistant's tokens, to the end of its turn, else
            :data:`IGNORED`. Without, for cross-attention, ``answered`` (B, T) bool: true at those of earlier turns.

        Raises:
            InputError: A conversation or an audio is of another form.
            AudioError: A file cannot be read.
        """
        chat = self._chat
        by_turns = output_labels or (FUSIONS[self.fusion].token_per_window and any(map(has_answer, conversations)))
        rows: list[TokenRow] = []
        windows: list[list[list[Samples]]] = []
        for messages in conversations:
            sounds = [samples(audio_of(part), sampling_rate) for part in audio_parts(messages)]
            windows.append([self.windows(sound) for sound in sounds])
            counts = self._audio_token_counts(windows[-1])
            add = add_generation_prompt and not output_labels
            rows.append(chat.ids_and_labels(messages, counts, by_turns, add))
        inputs = self._padded(rows, windows, on_the_right=output_labels)
        labels = inputs.pop("labels")
        if output_labels:
            inputs["labels"] = labels
        elif by_turns:
            inputs["answered"] = labels != IGNORED
        return inputs

    def _padded(
        self, rows: Sequence[TokenRow], windows_of_rows: Sequence[Sequence[Sequence[Samples]]], on_the_right: bool
    ) -> BatchFeature:
        """Rows of ids and labels, and the windows of each row's audios, as one batch with ``labels``."""
        windows = [window for audios in windows_of_rows for audio in audios for window in audio]
        audio_rows = [row for row, audios in enumerate(windows_of_rows) for audio in audios for _ in audio]
        longest = max(len(ids) for ids, _ in rows)
        inputs: dict[str, Any] = {
            "input_ids": torch.full((len(rows), longest), self.tokenizer.pad_token_id),
            "attention_mask": torch.zeros((len(rows), longest), dtype=torch.long),
        }
        labels = torch.full((len(rows), longest), IGNORED)
        for row, (ids, row_labels) in enumerate(rows):
            columns = slice(0, len(ids)) if on_the_right else slice(longest - len(ids), longest)
            inputs["input_ids"][row, columns] = torch.tensor(ids)
            inputs["attention_mask"][row, columns] = 1
            labels[row, columns] = torch.tensor(row_labels)
        if windows:
            inputs["audio_rows"] = torch.tensor(audio_rows)
        return BatchFeature({**inputs, **self.features(windows), "labels": labels})

    def features(self, windows: Sequence[Samples]) -> dict[str, torch.Tensor]:
        """Log-mel frames of windows of samples. Each window is computed by itself, with a tail of silence after it.

        Args:
            windows: A windows of samples (T,) at 16 kHz.

        Returns:
            ``input_features`` (A, mels, frames) float32, padded with zeros, and ``feature_lengths`` (A,), the frames
            of each without the tail. Empty for no windows.
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

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Token ids of the prompt of a conversation, those that stand for audio among them."""
        windows = [self.windows(samples(audio_of(part))) for part in audio_parts(messages)]
        return self._chat.ids_and_labels(messages, self._audio_token_counts(windows), False, True)[0]

    def stop_tokens(self) -> list[int]:
        """The token that ends an answer in labels: the first special token that the chat template writes after it.

        A base language model's own end of text is often another token.

        Returns:
            One token, or none where the template ends a turn without a special token.
        """
        chat, question = self._chat, {"role": "user", "content": "a"}
        segments = chat.segments([question, {"role": "assistant", "content": "a"}], False)
        answer = next(text for text, is_answer in segments if is_answer)
        special = {number for number, token in self.tokenizer.added_tokens_decoder.items() if token.special}
        special |= set(self.tokenizer.all_special_ids)
        return [token for token in chat.ids(answer) if token in special][:1]

    def decode(self, *args: Any, **kwargs: Any) -> Any:
        """Tokens to text, as the tokenizer does it."""
        return self.tokenizer.decode(*args, **kwargs)

    def batch_decode(self, *args: Any, **kwargs: Any) -> Any:
        """Rows of tokens to texts, as the tokenizer does it."""
        return self.tokenizer.batch_decode(*args, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        """Names of the tensors that :meth:`batch` may give, labels apart."""
        return ["input_ids", "attention_mask", "input_features", "feature_lengths", "audio_rows", "answered"]

    def _audio_token_counts(self, windows_of_audios: Sequence[Sequence[Samples]]) -> Iterator[int]:
        """How many audio tokens stand for each audio."""
        if FUSIONS[self.fusion].token_per_window:
            return iter([len(windows) for windows in windows_of_audios])
        return iter(
            [sum(audio_tokens(len(window), self._lengths) for window in windows) for windows in windows_of_audios]
        )

    def windows(self, sound: Samples) -> list[Samples]:
        """Cuts samples (T,) at 16 kHz into windows of ``max_audio_length``; the last is padded to one mel frame."""
        size = round(self.max_audio_length * audio_files.SAMPLE_RATE_HZ)
        windows = [sound[first : first + size] for first in range(0, max(len(sound), 1), size)]
        return [np.pad(window, (0, max(0, _MIN_SAMPLES - len(window)))) for window in windows]

    def _log_mel(self, window: Samples) -> torch.Tensor:
        frames = self.feature_extractor(
            window,
            sampling_rate=audio_files.SAMPLE_RATE_HZ,
            padding=False,
            truncation=False,
            return_tensors="np",
        )["input_features"][0]
        return torch.from_numpy(np.asarray(frames, np.float32))
