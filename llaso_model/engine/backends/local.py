"""What the backends that compute here share: prompts are prepared, and tokens chosen, in one way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch

from llaso_model.engine.backends.heard import Hears
from llaso_model.engine.backends.prompts import TorchPrompt
from llaso_model.engine.begun import continued
from llaso_model.engine.drafts import draft
from llaso_model.engine.requests import Details, Request
from llaso_model.engine.sampling import TokenChooser, choose_tokens, stop_tokens
from llaso_model.processing import LLaSOProcessor

_CHEAP_TOKENS = 6  # a step of so many takes no longer than one of one token (bench/answering.py --pieces)


@dataclass(slots=True)
class _Row:
    """A row in a slot.

    Attributes:
        choose: Chooses its tokens.
        prompt: What is asked.
        unread: Whether the prompt has to be read first.
        tokens: Its answer so far.
        draft: Tokens that were read after the last one, and may be wrong; None: its prompt was read last.
        logits: Of its next token, and of the one after each token of the draft (n, vocabulary); None: its prompt or its
            last token has to be read first.
    """

    choose: TokenChooser
    prompt: TorchPrompt
    unread: bool = True
    tokens: list[int] = field(default_factory=list)
    draft: list[int] | None = None
    logits: torch.Tensor | None = None


class Reader(Protocol):
    """Reads prompts and tokens with a model, and keeps what they leave, by slot.

    Attributes:
        most_tokens: Of a slot, that it reads together.
    """

    most_tokens: int

    def read(
        self, prompts: Mapping[int, TorchPrompt], tokens: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Reads prompts into slots that are free, and the next tokens of other slots.

        At least one of the prompts is read; the others may have to wait for another call. Where it raises, what it has
        not yielded is as before.

        Args:
            prompts: By slot.
            tokens: At most :attr:`most_tokens` of each slot.

        Yields:
            Each slot with the logits after its prompt (1, vocabulary), or after each of its tokens (n, vocabulary).
        """

    def keep(self, slot: int, count: int) -> None:
        """Says how many of the tokens that were read last belong to the answer; the others were never read."""

    def remove(self, slot: int) -> None:
        """Frees a slot, whether or not it has a row."""


class SeparateReader:
    """A :class:`Reader` that reads prompts, and then one token of each row."""

    most_tokens = 1

    def __init__(self) -> None:
        self._rows: dict[int, Any] = {}  # by slot: what has its row

    def read(
        self, prompts: Mapping[int, TorchPrompt], tokens: Mapping[int, Sequence[int]]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """See :meth:`Reader.read`."""
        yield from self._read_prompts(prompts)
        yield from self._read_tokens(tokens)

    def keep(self, slot: int, count: int) -> None:
        """See :meth:`Reader.keep`."""
        self._rows[slot].advance(slot, count)

    def _read_prompts(self, prompts: Mapping[int, TorchPrompt]) -> Iterator[tuple[int, torch.Tensor]]:
        raise NotImplementedError

    def _read_tokens(self, tokens: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, torch.Tensor]]:
        raise NotImplementedError


def _nth(logits: torch.Tensor | None, number: int) -> torch.Tensor:
    assert logits is not None
    return logits[number : number + 1]


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
        return TorchPrompt(inputs, request.sampling, request.begun, later, request.expected)

    def decode(self, tokens: Sequence[int]) -> str:
        """See :meth:`Backend.decode`."""
        text: str = self.processor.decode(list(tokens), skip_special_tokens=True)
        return text

    @torch.no_grad()
    def admit(self, prompts: Mapping[int, TorchPrompt]) -> None:
        """See :meth:`Backend.admit`."""
        for slot, prompt in prompts.items():
            choose = TokenChooser(prompt.sampling, self._generation_config, self._device)
            self._rows[slot] = _Row(choose, prompt)

    @torch.no_grad()
    def step(self, slots: Sequence[int]) -> dict[int, list[int]]:
        """See :meth:`Backend.step`. A row whose prompt is read gets a token, and those of its draft that come true."""
        rows = {slot: self._rows[slot] for slot in slots}
        prompts = {slot: row.prompt for slot, row in rows.items() if row.unread}
        going = [slot for slot, row in rows.items() if row.logits is None and not row.unread]
        spare = _CHEAP_TOKENS // len(going) - 1 if going and not prompts else 0
        tokens = {slot: [rows[slot].tokens[-1], *self._draft(rows[slot], spare)] for slot in going}
        for slot, logits in self.reader.read(prompts, tokens):
            rows[slot].logits = logits
            if slot in tokens:
                rows[slot].draft = tokens[slot][1:]
            else:
                rows[slot].unread = False
                rows[slot].prompt = prompts[slot].without_audio()
        for slot in prompts:
            if not rows[slot].unread:
                self._read_begun(slot, rows[slot])
        read = [slot for slot, row in rows.items() if not row.unread]
        found = dict(zip(read, self._choose([rows[slot] for slot in read]), strict=True))
        for slot, own in found.items():
            row = rows[slot]
            if row.draft is not None:
                self.reader.keep(slot, len(own))
            row.tokens += own
            row.logits = row.draft = None
        return {slot: found.get(slot, []) for slot in slots}

    def _read_begun(self, slot: int, row: _Row) -> None:
        """Reads the tokens that an answer begins with, where they are no part of the prompt."""
        while later := row.prompt.later[: self.reader.most_tokens]:
            ((_, logits),) = self.reader.read({}, {slot: later})
            self.reader.keep(slot, len(later))
            row.logits, row.prompt = logits[-1:], replace(row.prompt, later=row.prompt.later[len(later) :])

    def _draft(self, row: _Row, spare: int) -> list[int]:
        """What may follow the last token of a row.

        Args:
            row: It.
            spare: How many tokens may be guessed where nothing is known of the answer.
        """
        expected = row.prompt.expected
        goes_as_expected = expected and expected[: len(row.tokens)] == tuple(row.tokens)
        most = min(self.reader.most_tokens, row.prompt.sampling.max_new_tokens - len(row.tokens)) - 1
        if not goes_as_expected:
            most = min(spare, most)
        if most <= 0:
            return []
        return draft(row.tokens, expected, row.prompt.inputs["input_ids"][0].tolist(), most)

    def _choose(self, rows: Sequence[_Row]) -> list[list[int]]:
        """The next tokens of rows: each one's, and while these are those of its draft, the ones after."""
        found: list[list[int]] = [[] for _ in rows]
        going = list(range(len(rows)))
        while going:
            answers = {n: [*rows[n].prompt.begun, *rows[n].tokens, *found[n]] for n in going}
            choices = [(rows[n].choose, answers[n], _nth(rows[n].logits, len(found[n]))) for n in going]
            for number, token in zip(going, choose_tokens(choices), strict=True):
                found[number].append(token)
            going = [n for n in going if self._goes_on(rows[n].draft or [], found[n])]
        return found

    def _goes_on(self, drafted: Sequence[int], found: Sequence[int]) -> bool:
        """Whether the last token was drafted and does not end the answer."""
        count = len(found)
        return count <= len(drafted) and found[-1] == drafted[count - 1] and found[-1] not in self.stop_tokens

    def details(self, slot: int, count: int) -> Details:
        """See :meth:`Backend.details`."""
        row = self._rows.get(slot)
        if row is None:
            return Details()
        heard_s = self.reader.heard_s(slot) if isinstance(self.reader, Hears) else ()
        return Details(row.choose.mean_logprob(count), heard_s[:count])

    def retire(self, slots: Iterable[int]) -> None:
        """See :meth:`Backend.retire`."""
        for slot in slots:
            self._rows.pop(slot, None)
            self.reader.remove(slot)
