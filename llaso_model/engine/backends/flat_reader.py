"""Reads prompts and tokens without padding, for models of plain layers on CPUs, in float32 and bfloat16."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from llaso_data.whisper.linear import can_pack, computes_bf16
from llaso_model.engine.backends.clip_cache import ClipCache, clip_key
from llaso_model.engine.backends.flat_speech import FlatSpeech, is_plain_speech_model
from llaso_model.engine.backends.flat_text import BeforeLayer, FlatText, Span, is_plain_text_model
from llaso_model.engine.backends.heard import Listener
from llaso_model.engine.backends.prefix_cache import PrefixCache
from llaso_model.engine.backends.prompts import TorchPrompt
from llaso_model.engine.backends.row_places import together
from llaso_model.engine.backends.row_store import RowStore

_TOKENS = 1024  # of prompts that are read together; more rows make a product no faster, and leave the cache
_FRAMES = 2 * _TOKENS  # of clips that are encoded together
_SHORTEST_BITS = 6  # rows whose prompt has up to 64 tokens share a store; then of up to twice as many, and so on
_CLIP_BYTES = 64 << 20  # of embeddings of clips: of ten minutes for a language model 3,072 wide
_TEXT_BYTES = 256 << 20  # of keys and values of texts: 1,100 tokens of a language model of 3 B, 5,800 of one of 135 M
_WORTH_SHARING = 4  # tokens that texts begin with


@dataclass(frozen=True, slots=True)
class FlatModel:
    """The weights of a model as they are read flat. Several engines may share them.

    Attributes:
        text: The language model.
        speech: The encoder and the projection; None: the model's own are used.
    """

    text: FlatText
    speech: FlatSpeech | None


def flat_model(model: Any, packs: bool = True) -> FlatModel | None:
    """Prepares a model to be read flat; None where it cannot be.

    Args:
        model: In evaluation mode.
        packs: Whether its weights may be copied into a faster layout, which takes a second or so, and memory.
    """
    if model.device.type != "cpu" or torch.is_autocast_enabled("cpu"):
        return None
    dtypes = {one.dtype for one in model.parameters()}
    computes = dtypes == {torch.float32} or (dtypes == {torch.bfloat16} and computes_bf16(model.device))
    if not computes or not is_plain_text_model(model.language_model):
        return None
    packs = packs and can_pack(model)
    speech = FlatSpeech(model, packs) if is_plain_speech_model(model) else None
    return FlatModel(FlatText(model.language_model, packs), speech)


class FlatReader:
    """Prompts lie one after the other; so do the tokens of a step.

    Args:
        model: Whose weights these are.
        flat: What :func:`flat_model` made of it.
    """

    most_tokens = 16

    def __init__(self, model: Any, flat: FlatModel) -> None:
        self._model, self._flat, self._device = model, flat, model.device
        self._stores: dict[int, RowStore] = {}  # by the number of their size
        self._rows: dict[int, RowStore] = {}  # by slot
        self._speech: dict[int, Any] = {}  # by slot: what the fusion keeps of it
        self._texts: dict[int, list[Hashable]] = {}  # by slot: names of the tokens that were read
        self._last: dict[int, Sequence[int]] = {}  # by slot: tokens that were read and may be wrong
        self._listener = Listener(model.config)
        self._speech_of = None if flat.speech is None else ClipCache(flat.speech, _CLIP_BYTES)
        self._bridges = {number: order for order, number in enumerate(model.aligner.layers)}
        self._known = PrefixCache(0 if self._bridges else _TEXT_BYTES, _WORTH_SHARING)

    def read(
        self, prompts: Mapping[int, TorchPrompt], tokens: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """See :meth:`Reader.read`.

        The first prompts are read, as many as make one line, and the tokens of rows with them: rows go on while others
        join. Where layers attend to speech, each prompt is read by itself, and none waits.
        """
        joining = self._joining(prompts)
        lines = [({slot: prompts[slot]}, {}) for slot in joining] if self._bridges else [(joining, tokens)]
        if self._bridges:
            lines.append(({}, tokens))
        unread = dict(joining)
        try:
            places = self._places(joining, prompts)
            for own, after in lines:
                if own or after:
                    for slot, logits in self._read_line(own, places, after):
                        unread.pop(slot, None)
                        yield slot, logits
        except Exception:
            for slot in unread:
                self.remove(slot)
            raise

    def keep(self, slot: int, count: int) -> None:
        """See :meth:`Reader.keep`."""
        self._rows[slot].advance(slot, count)
        self._texts[slot] += self._last.pop(slot)[:count]
        self._listener.keep(slot, count)

    def remove(self, slot: int) -> None:
        """Frees a slot, whether or not it has a row. A store without rows gives its memory back."""
        if (store := self._rows.pop(slot, None)) is not None:
            self._remember(slot, store)
            store.remove(slot)
        self._speech.pop(slot, None)
        self._last.pop(slot, None)
        self._listener.remove(slot)
        self._stores = {size: store for size, store in self._stores.items() if store.count}

    def heard_s(self, slot: int) -> tuple[float, ...]:
        """See :class:`Hears`."""
        return self._listener.heard_s(slot)

    def _joining(self, prompts: Mapping[int, TorchPrompt]) -> dict[int, TorchPrompt]:
        """The prompts that are read next."""
        found: dict[int, TorchPrompt] = {}
        tokens = frames = 0
        for slot, prompt in prompts.items():
            tokens, frames = tokens + prompt.tokens, frames + prompt.frames
            if found and not self._bridges and (tokens > _TOKENS or frames > _FRAMES):
                break
            found[slot] = prompt
        return found

    def _read_line(
        self,
        prompts: Mapping[int, TorchPrompt],
        places: Mapping[int, tuple[RowStore, int]],
        tokens: Mapping[int, Sequence[int]],
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads prompts and tokens together: prompts, slots with several tokens, then those with one by their store."""
        aligner = self._model.aligner
        several = [slot for slot in tokens if len(tokens[slot]) > 1]
        members = together((slot for slot in tokens if len(tokens[slot]) == 1), self._rows)
        stores = [self._rows[own[0]] for own in members]
        ordered = [store.ordered(own) for store, own in zip(stores, members, strict=True)]
        slots = [*several, *(slot for own in ordered for slot in own)]
        lined = [slot for slot in slots for _ in tokens[slot]]
        keys = {slot: self._clip_keys(prompt) for slot, prompt in prompts.items()}
        names = {slot: self._names(prompt, keys[slot]) for slot, prompt in prompts.items()}
        embeds, spans, encoded = self._prompts_in_line(prompts, places, keys, names)
        if tokens:
            ids = torch.tensor([one for slot in slots for one in tokens[slot]])
            embeds = [*embeds, self._model.get_input_embeddings()(ids)]
        speech = encoded if prompts else aligner.join_rows([self._speech[slot] for slot in lined])
        with aligner.attending_to(speech):
            before = self._before_layer(bool(prompts))
            for slot in several:
                count = len(tokens[slot])
                spans.append(Span(self._rows[slot], *self._rows[slot].place(slot, count), count, count))
            steps = [(store, store.step(own)) for store, own in zip(stores, ordered, strict=True)]
            watch = self._listener.begin([*prompts, *lined])
            logits = self._flat.text.read(torch.cat(embeds), spans, steps, before, watch)
        self._listener.end()
        self._last |= tokens
        if prompts:
            self._texts |= names
            self._remember_beginning(next(iter(prompts)))
            self._speech |= zip(prompts, aligner.row_states(encoded, len(prompts)), strict=True)
        counts = [1] * len(prompts) + [len(tokens[slot]) for slot in slots]
        yield from zip([*prompts, *slots], logits.split(counts), strict=True)

    def _prompts_in_line(
        self,
        prompts: Mapping[int, TorchPrompt],
        places: Mapping[int, tuple[RowStore, int]],
        keys: Mapping[int, Sequence[bytes]],
        names: Mapping[int, Sequence[Hashable]],
    ) -> tuple[list[torch.Tensor], list[Span], Any]:
        """The embeddings of prompts after what all begin with, where they go, and what their layers attend to."""
        if not prompts:
            return [], [], None
        model, encoded = self._model, None
        ids = torch.cat([prompt.inputs["input_ids"] for prompt in prompts.values()], dim=1)
        speech = self._embeddings({slot: prompt.inputs for slot, prompt in prompts.items() if prompt.frames}, keys)
        if self._bridges and speech is not None:
            (inputs,) = (prompt.inputs for prompt in prompts.values())
            lengths, rows, answered = inputs["feature_lengths"], inputs["audio_rows"], inputs.get("answered")
            encoded = model.encode_audio(speech, ids, lengths, rows, None, answered)
        spans = []
        for slot, prompt in prompts.items():
            store, row = places[slot]
            known = self._known.longest(names[slot], prompt.tokens - 1)
            after = 0 if known is None else known.length
            spans.append(Span(store, row, after, prompt.tokens - after, 1))
            self._listener.add(slot, prompt)
            if known is not None:
                store.fill(row, known.keys, known.values)
        with model.aligner.attending_to(encoded):
            embeds = model.merged_embeddings(ids, speech)[0].split([prompt.tokens for prompt in prompts.values()])
        return [own[span.first :] for own, span in zip(embeds, spans, strict=True)], spans, encoded

    def _places(
        self, joining: Mapping[int, TorchPrompt], waiting: Mapping[int, TorchPrompt]
    ) -> dict[int, tuple[RowStore, int]]:
        """New rows of slots: store and place of each. A store grows once for all that wait."""
        lengths: dict[int, dict[int, int]] = {}
        for slot, prompt in waiting.items():
            size = max(0, (prompt.tokens - 1).bit_length() - _SHORTEST_BITS)
            lengths.setdefault(size, {})[slot] = prompt.tokens
        found: dict[int, tuple[RowStore, int]] = {}
        for size, all_of_size in lengths.items():
            if own := {slot: length for slot, length in all_of_size.items() if slot in joining}:
                store = self._stores.setdefault(size, self._flat.text.store(self._device))
                store.reserve(len(all_of_size), max(all_of_size.values()) + 1)
                self._rows |= dict.fromkeys(own, store)
                found |= {slot: (store, row) for slot, row in zip(own, store.add(own), strict=True)}
        return found

    def _embeddings(
        self, prompts: Mapping[int, Mapping[str, torch.Tensor]], keys: Mapping[int, Sequence[bytes]]
    ) -> torch.Tensor | None:
        """Embeddings of all speech of prompts (N, width of the language model); None: there is none."""
        if not prompts:
            return None
        if self._speech_of is None:
            return torch.cat([self._model.get_audio_features(*_speech_of(inputs)) for inputs in prompts.values()])
        features = [window for inputs in prompts.values() for window in inputs["input_features"]]
        lengths = torch.cat([inputs["feature_lengths"] for inputs in prompts.values()]).tolist()
        return torch.cat(self._speech_of([key for slot in prompts for key in keys[slot]], features, lengths))

    def _clip_keys(self, prompt: TorchPrompt) -> list[bytes]:
        """What tells the clips of a prompt from others."""
        if not prompt.frames:
            return []
        features, lengths = _speech_of(prompt.inputs)
        return [clip_key(one, length) for one, length in zip(features, lengths.tolist(), strict=True)]

    def _names(self, prompt: TorchPrompt, keys: Sequence[bytes]) -> list[Hashable]:
        """The names of a prompt's tokens: see :class:`PrefixCache`.

        Where it is not known how many tokens stand for a clip, those of audio are like no other.
        """
        names: list[Hashable] = prompt.inputs["input_ids"][0].tolist()
        audio = [place for place, name in enumerate(names) if name == self._model.config.audio_token_id]
        moments: list[Hashable] = [object() for _ in audio]
        if keys and self._flat.speech is not None and not self._bridges:
            lengths = prompt.inputs["feature_lengths"].tolist()
            counts = [self._flat.speech.count(length) for length in lengths]
            moments = [(key, number) for key, count in zip(keys, counts, strict=True) for number in range(count)]
        for place, moment in zip(audio, moments, strict=True):
            names[place] = moment
        return names

    def _remember(self, slot: int, store: RowStore) -> None:
        """Keeps what reading a row has left, for texts that begin as it does."""
        text = self._texts.pop(slot, None)
        if text is not None:
            self._known.keep(text, *store.of(slot))

    def _remember_beginning(self, slot: int) -> None:
        """Keeps what reading the text before the first audio has left, for prompts that come while it is answered."""
        text = self._texts[slot]
        count = next((place for place, name in enumerate(text) if not isinstance(name, int)), len(text))
        if self._known.longest(text, count) is None:
            keys, values = self._rows[slot].of(slot)
            self._known.keep(text[:count], keys[:, :, :count], values[:, :, :count])

    def _before_layer(self, is_prompt: bool) -> BeforeLayer | None:
        """What the fusion does before the layers that it bridges, on a prompt or on tokens of rows in a line."""
        if not self._bridges:
            return None
        batch = 0 if is_prompt else 1  # the tokens of a prompt are one text, and those of rows one each

        def bridge(number: int, x_NW: torch.Tensor) -> torch.Tensor:
            if number not in self._bridges:
                return x_NW
            bridged = self._model.aligner.bridge_text(self._bridges[number], x_NW.unsqueeze(batch))
            return torch.Tensor.squeeze(bridged, batch)

        return bridge


def _speech_of(inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    return inputs["input_features"], inputs["feature_lengths"]
