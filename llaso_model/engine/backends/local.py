"""What the backends that compute here share: prompts are prepared, and tokens chosen, in one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from llaso_model.engine.backends.heard import Hears
from llaso_model.engine.backends.prompts import TorchPrompt
from llaso_model.engine.begun import continued
from llaso_model.engine.requests import Details, Request
from llaso_model.engine.sampling import TokenChooser, choose_tokens, stop_tokens
from llaso_model.processing import LLaSOProcessor


@dataclass(slots=True)
class _Row:
    """A row in a slot.

    Attributes:
        choose: Chooses its tokens.
        tokens: Its answer so far.
        logits: Of its next token (1, vocabulary); None: its last token has to be read first.
    """

    choose: TokenChooser
    tokens: list[int]
    logits: torch.Tensor | None


class Reader(Protocol):
    """Reads prompts and tokens with a model, and keeps what they leave, by slot."""

    def read_prompts(self, prompts: Mapping[int, TorchPrompt]) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads prompts into slots. Yields each slot with the logits of its first token (1, vocabulary)."""

    def read_tokens(self, tokens: Mapping[int, int]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """Reads a token of each slot. Yields slots that were read together, with their logits (n, vocabulary)."""

    def remove(self, slot: int) -> None:
        """Frees a slot, whether or not it has a row."""


class LocalBackend:
    """Rows whose logits a reader computes.

    Args:
        reader: Reads prompts and tokens.
        processor: The model's.
        config: The model's configuration.
        generation_config: The model's.
        device: That of the logits.
    """

    def __init__(
        self, reader: Reader, processor: LLaSOProcessor, config: Any, generation_config: Any, device: torch.device
    ) -> None:
        self.reader, self.processor, self.config = reader, processor, config
        self._generation_config, self._device = generation_config, device
        self._rows: dict[int, _Row] = {}

    @property
    def stop_tokens(self) -> frozenset[int]:
        """Those of the model's generation configuration."""
        return stop_tokens(self._generation_config)

    def prepare(self, request: Request) -> TorchPrompt:
        """See :meth:`Backend.prepare`."""
        inputs, later = continued(dict(self.processor.batch([request.conversation])), request.begun, self.config)
        return TorchPrompt(inputs, request.sampling, later)

    def decode(self, tokens: Sequence[int]) -> str:
        """See :meth:`Backend.decode`."""
        text: str = self.processor.decode(list(tokens), skip_special_tokens=True)
        return text

    @torch.no_grad()
    def admit(self, prompts: Mapping[int, TorchPrompt]) -> None:
        """See :meth:`Backend.admit`."""
        choosers = {
            slot: TokenChooser(one.sampling, self._generation_config, self._device) for slot, one in prompts.items()
        }
        for slot, logits in self.reader.read_prompts(prompts):
            self._rows[slot] = _Row(choosers[slot], [], logits)
        for slot, prompt in prompts.items():
            for token in prompt.begun:
                ((_, self._rows[slot].logits),) = self.reader.read_tokens({slot: token})

    @torch.no_grad()
    def step(self, slots: Sequence[int]) -> dict[int, list[int]]:
        """See :meth:`Backend.step`. Each row gets one token."""
        last = {slot: self._rows[slot].tokens[-1] for slot in slots if self._rows[slot].logits is None}
        for together, logits in self.reader.read_tokens(last):
            for number, slot in enumerate(together):
                self._rows[slot].logits = logits[number : number + 1]
        rows = [self._rows[slot] for slot in slots]
        chosen = choose_tokens([(row.choose, row.tokens, row.logits) for row in rows])
        for row, token in zip(rows, chosen, strict=True):
            row.tokens.append(token)
            row.logits = None
        return {slot: [token] for slot, token in zip(slots, chosen, strict=True)}

    def details(self, slot: int) -> Details:
        """See :meth:`Backend.details`."""
        row = self._rows.get(slot)
        if row is None:
            return Details()
        heard_s = self.reader.heard_s(slot) if isinstance(self.reader, Hears) else ()
        return Details(row.choose.mean_logprob(), heard_s)

    def retire(self, slots: Iterable[int]) -> None:
        """See :meth:`Backend.retire`."""
        for slot in slots:
            self._rows.pop(slot, None)
            self.reader.remove(slot)
