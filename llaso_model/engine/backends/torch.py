"""The backend that computes with torch, on this machine: any LLaSO model, both fusions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import DynamicCache

from llaso_data.io.hub import checkpoint, loading, pretrained
from llaso_model.engine.backends import BACKENDS, BackendKind
from llaso_model.engine.backends.row_cache import RowCache, SoloRows, can_share_steps
from llaso_model.engine.begun import continued
from llaso_model.engine.requests import Request, Sampling
from llaso_model.engine.sampling import TokenChooser, stop_tokens
from llaso_model.processing import LLaSOProcessor

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_PADDING = {"cpu": 0.0}  # how much more a padded batch of prompts may cost than they do; on other devices:
_PADDING_ELSEWHERE = 1.0
_SHORTEST = 512  # rows of up to so many tokens share a cache, then of up to four times as many, and so on


@dataclass(frozen=True, slots=True)
class TorchPrompt:
    """What the processor made of one conversation, without padding, and how it is answered.

    Attributes:
        inputs: Tensors of a batch of one, by their names in ``forward``.
        sampling: The request's.
        begun: Tokens that the answer begins with, which are read after the prompt.
    """

    inputs: Mapping[str, torch.Tensor]
    sampling: Sampling
    begun: tuple[int, ...] = ()

    @property
    def tokens(self) -> int:
        """How many tokens the text has, with those that stand for audio."""
        return self.inputs["input_ids"].shape[1]

    @property
    def frames(self) -> int:
        """How many mel frames the audio has."""
        return int(self.inputs["feature_lengths"].sum()) if "feature_lengths" in self.inputs else 0


@dataclass(slots=True)
class _Row:
    """A row in a slot.

    Attributes:
        choose: Chooses its tokens.
        speech: What the fusion keeps of its speech.
        rows: The cache that has its keys and values.
        tokens: Its answer so far (1, T).
        logits: Of its next token (1, vocabulary); None: its last token has to be read first.
    """

    choose: TokenChooser
    speech: Any
    rows: RowCache | SoloRows
    tokens: torch.Tensor
    logits: torch.Tensor | None


class TorchBackend:
    """Rows of a model on its device.

    Each prompt is read by itself; on a GPU together with others of like length. Rows are decoded together, where the
    language model attends to all that came before (no sliding windows, no recurrent states); else one by one.

    Args:
        model: In evaluation mode.
        processor: The model's.
        padding: How much more a padded batch of prompts may cost than they do; None: as the device says.
    """

    def __init__(self, model: Any, processor: LLaSOProcessor, padding: float | None = None) -> None:
        self.model, self.processor = model, processor
        self._device = model.device
        self._padding = _PADDING.get(self._device.type, _PADDING_ELSEWHERE) if padding is None else padding
        self._shares_steps = can_share_steps(model.language_model)
        self._rows: dict[int, _Row] = {}
        self._caches: dict[int, RowCache] = {}  # by the number of their size

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Those of the model's generation configuration."""
        return stop_tokens(self.model.generation_config)

    def prepare(self, request: Request) -> TorchPrompt:
        """See :meth:`Backend.prepare`."""
        inputs, later = continued(dict(self.processor.batch([request.conversation])), request.begun, self.model.config)
        return TorchPrompt(inputs, request.sampling, later)

    def decode(self, tokens: Sequence[int]) -> str:
        """See :meth:`Backend.decode`."""
        text: str = self.processor.decode(list(tokens), skip_special_tokens=True)
        return text

    @torch.no_grad()
    def admit(self, prompts: Mapping[int, TorchPrompt]) -> None:
        """See :meth:`Backend.admit`."""
        for slots in self._groups(prompts):
            self._read([(slot, prompts[slot]) for slot in slots])
        for slot, prompt in prompts.items():
            for token in prompt.begun:
                row = self._rows[slot]
                row.tokens = torch.cat([row.tokens, row.tokens.new_tensor([[token]])], dim=1)
                self._forward(row.rows, [slot])

    @torch.no_grad()
    def step(self, slots: Sequence[int]) -> dict[int, list[int]]:
        """See :meth:`Backend.step`. Each row gets one token."""
        for rows, members in self._by_cache(slots):
            self._forward(rows, members)
        chosen = {}
        for slot in slots:
            row = self._rows[slot]
            assert row.logits is not None
            chosen[slot] = row.choose(row.tokens, row.logits)
        new = torch.stack(list(chosen.values()))
        for number, slot in enumerate(slots):
            row = self._rows[slot]
            row.tokens = torch.cat([row.tokens, new[None, number : number + 1]], dim=1)
            row.logits = None
        return {slot: [token] for slot, token in zip(slots, new.tolist(), strict=True)}

    def retire(self, slots: Iterable[int]) -> None:
        """See :meth:`Backend.retire`. A cache without rows gives its memory back."""
        for slot in slots:
            if (row := self._rows.pop(slot, None)) is not None:
                row.rows.remove(slot)
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
            if group and not (is_alike and self._padding and self._shares_steps):
                yield group
                group, sizes = [], []
            group, sizes = [*group, slot], [*sizes, size]
        if group:
            yield group

    def _read(self, prompts: Sequence[tuple[int, TorchPrompt]]) -> None:
        """Encodes and reads prompts together, and makes their rows."""
        joined = _joined([prompt.inputs for _, prompt in prompts])
        inputs = {name: value.to(self._device) for name, value in joined.items()}
        cache = DynamicCache(config=self.model.config.text_config)
        out, encoded = self.model.read_prompt(inputs, cache)
        speech = self.model.aligner.row_states(encoded, len(prompts))
        for number, (slot, prompt) in enumerate(prompts):
            choose = TokenChooser(prompt.sampling, self.model.generation_config, self._device)
            tokens = torch.empty((1, 0), dtype=torch.long, device=self._device)
            rows: RowCache | SoloRows
            if self._shares_steps:
                rows = self._cache_for(prompt.tokens + prompt.sampling.max_new_tokens)
                rows.add(slot, cache, number, prompt.tokens)
            else:
                rows = SoloRows(cache)
            self._rows[slot] = _Row(choose, speech[number], rows, tokens, out.logits[number : number + 1, -1])

    def _cache_for(self, tokens: int) -> RowCache:
        """The cache of rows of about so many tokens: a long row would make each step of short ones dear."""
        size = 0
        while _SHORTEST * 4**size < tokens:
            size += 1
        return self._caches.setdefault(size, RowCache(self.model.language_model))

    def _by_cache(self, slots: Sequence[int]) -> Iterator[tuple[RowCache | SoloRows, list[int]]]:
        """The slots whose last token has to be read, with the cache that they share."""
        members: dict[int, list[int]] = {}
        for slot in slots:
            if self._rows[slot].logits is None:
                members.setdefault(id(self._rows[slot].rows), []).append(slot)
        for together in members.values():
            yield self._rows[together[0]].rows, together

    def _forward(self, rows: RowCache | SoloRows, slots: Sequence[int]) -> None:
        """Reads the last token of rows that share a cache."""
        slots = rows.ordered(slots)
        last = torch.cat([self._rows[slot].tokens[:, -1:] for slot in slots])
        logits = self.model.read_tokens(last, [self._rows[slot].speech for slot in slots], **rows.inputs(slots)).logits
        rows.advance(slots)
        for number, slot in enumerate(slots):
            self._rows[slot].logits = logits[number : number + 1, -1]


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


def load(name: str, key: str, precision: str | None, device: torch.device | None = None) -> tuple[Any, LLaSOProcessor]:
    """Loads a LLaSO model for generation, with its processor; see :func:`llaso_model.generation.load`."""
    import transformers

    from llaso_model.device import own_device
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
    from llaso_model.registration import register

    register()
    transformers.utils.logging.disable_progress_bar()
    device = device or own_device()
    dtype = _DTYPES[precision or ("bf16" if device.type == "cuda" else "fp32")]
    folder = checkpoint(key, name, None, kind="llaso")
    model = pretrained(LLaSOForConditionalGeneration, key, folder, folder, dtype=dtype).to(device).eval()
    with loading(key, folder):
        processor = LLaSOProcessor.from_pretrained(folder)
    model.stop_at(processor.stop_tokens())  # a model saved by an earlier version may not know them
    return model, processor


BACKENDS.register("torch", BackendKind(open=lambda name, key, precision: TorchBackend(*load(name, key, precision))))
