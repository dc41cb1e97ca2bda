"""Reads prompts and tokens through the model's own forward: any model, on any device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from llaso_model.engine.backends.local import SeparateReader
from llaso_model.engine.backends.prompts import TorchPrompt
from llaso_model.engine.backends.row_cache import RowCache, SoloRows, can_share_steps
from llaso_model.engine.backends.row_places import together

_PADDING = {"cpu": 0.0}  # how much more a padded batch of prompts may cost than they do; on other devices:
_PADDING_ELSEWHERE = 1.0


class PaddedReader(SeparateReader):
    """Prompts of like length are padded and read together, and rows of one cache are decoded together.

    Args:
        model: In evaluation mode, on its device.
        padding: How much more a padded batch of prompts may cost than its prompts do; None: as suits the device.
    """

    def __init__(self, model: Any, padding: float | None = None) -> None:
        super().__init__()
        self._model, self._device = model, model.device
        self._padding = _PADDING.get(self._device.type, _PADDING_ELSEWHERE) if padding is None else padding
        self.shares_steps = can_share_steps(model.language_model)
        self._speech: dict[int, Any] = {}  # by slot: what the fusion keeps of it
        self._caches: dict[int, RowCache] = {}  # by the number of their size

    def _read_prompts(self, prompts: Mapping[int, TorchPrompt]) -> Iterator[tuple[int, torch.Tensor]]:
        for slots in self._groups(prompts):
            yield from self._read_together([(slot, prompts[slot]) for slot in slots])

    def _read_tokens(self, tokens: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, torch.Tensor]]:
        for own in together(tokens, self._rows):
            rows = self._rows[own[0]]
            slots = rows.ordered(own)
            last = torch.tensor([[tokens[slot][0] for slot in slots]], device=self._device)
            speech = [self._speech[slot] for slot in slots]
            logits = self._model.read_tokens(last, speech, **rows.inputs(slots)).logits[:, -1]
            yield from zip(slots, logits.split(1), strict=True)

    def remove(self, slot: int) -> None:
        """Frees a slot, whether or not it has a row. A cache without rows gives its memory back."""
        if (rows := self._rows.pop(slot, None)) is not None:
            rows.remove(slot)
        self._speech.pop(slot, None)
        self._caches = {size: cache for size, cache in self._caches.items() if cache.count}

    def _groups(self, prompts: Mapping[int, TorchPrompt]) -> Iterator[list[int]]:
        """Slots whose prompts are read together: those of like cost, as far as padding is worth it."""
        group: list[int] = []
        sizes: list[tuple[int, int]] = []
        for slot in sorted(prompts, key=lambda slot: (prompts[slot].tokens, prompts[slot].frames, slot)):
            size = (prompts[slot].tokens, prompts[slot].frames)
            padded = [(len(sizes) + 1) * max(one) for one in zip(*sizes, size, strict=True)]
            own = [sum(one) for one in zip(*sizes, size, strict=True)]
            is_alike = all(cost <= (1 + self._padding) * least for cost, least in zip(padded, own, strict=True))
            if group and not (is_alike and self._padding and self.shares_steps):
                yield group
                group, sizes = [], []
            group, sizes = [*group, slot], [*sizes, size]
        if group:
            yield group

    def _read_together(self, prompts: Sequence[tuple[int, TorchPrompt]]) -> Iterator[tuple[int, torch.Tensor]]:
        joined = _joined([prompt.inputs for _, prompt in prompts])
        inputs = {name: value.to(self._device) for name, value in joined.items()}
        cache = DynamicCache(config=self._model.config.text_config)
        out, encoded = self._model.read_prompt(inputs, cache)
        speech = self._model.aligner.row_states(encoded, len(prompts))
        for number, (slot, prompt) in enumerate(prompts):
            rows: RowCache | SoloRows = SoloRows(cache)
            if self.shares_steps:
                rows = self._caches.setdefault(prompt.size_class, RowCache(self._model.language_model))
                rows.add(slot, cache, number, prompt.tokens)
            self._rows[slot], self._speech[slot] = rows, speech[number]
            yield slot, out.logits[number : number + 1, -1]


def _joined(inputs: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The inputs of several prompts, each a batch of one, as one batch that is padded on the left.

    That of one prompt has no ``attention_mask``.
    """
    if len(inputs) == 1:
        return {name: value for name, value in inputs[0].items() if name != "attention_mask"}
    longest = max(one["input_ids"].shape[1] for one in inputs)
    joined: dict[str, list[torch.Tensor]] = {}
    for row, one in enumerate(inputs):
        left = longest - one["input_ids"].shape[1]
        texts = {"answered": torch.zeros_like(one["input_ids"], dtype=torch.bool)}
        for name, value in {**texts, **one}.items():
            if name in ("input_ids", "attention_mask", "answered"):
                value = torch.nn.functional.pad(value, (left, 0))
            elif name == "audio_rows":
                value = value + row
            joined.setdefault(name, []).append(value)
    frames = max((value.shape[2] for value in joined.get("input_features", ())), default=0)
    joined["input_features"] = [
        torch.nn.functional.pad(value, (0, frames - value.shape[2])) for value in joined.get("input_features", ())
    ]
    return {name: torch.cat(values) for name, values in joined.items() if values}
