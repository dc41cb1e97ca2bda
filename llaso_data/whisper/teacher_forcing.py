"""Whisper's decoder teacher-forced over slices of encoder states: log-probabilities and cross-attention.

One clip's scores depend on no other clip's states, whatever is forced beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.engine import Statistics
from llaso_data.whisper.tokenizer import MAX_POSITIONS, WhisperTokenizer

if TYPE_CHECKING:
    import torch

    from llaso_data.whisper.flat_decoder import HeadChoice, Maps
    from llaso_data.whisper.greedy import Decoded, GreedyDecoder

# Alignment heads, as (layer, head), for text that is teacher-forced in characters: a character looks at its sound when
# it is the decoder's input. The key is what the checkpoint's generation config calls its alignment heads, which are for
# BPE tokens; it recognises a checkpoint and those that were fine-tuned from it. Found with bench/alignment.py.
CHARACTER_HEADS: dict[frozenset[tuple[int, int]], tuple[tuple[int, int], ...]] = {
    # tiny.en
    frozenset({(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)}): ((0, 4), (1, 2), (2, 4)),
    # base
    frozenset({(3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)}): ((0, 5), (2, 2), (4, 2)),
}

MAX_SEQUENCES = 16  # in one pass on a GPU
_MAX_POSITIONS = 1024  # in one pass on a CPU; more make the linear layers no faster, and leave the cache
_PASS_COST = 2048  # what a pass costs on a GPU besides its positions, in positions: estimated
_MAX_PROJECTIONS_BYTES = 2 << 30  # keys and values of one batch of windows; what needs more is computed in every pass


@dataclass(frozen=True, slots=True)
class ForcedScores:
    """Scores of one teacher-forced sequence; row ``i`` is of the step that predicts the i-th target.

    Attributes:
        logprobs: Log-probability of each target, (targets,); (0,) where scores were not asked for.
        end_logprobs: Log-probability of end of text in place of each target, likewise.
        attention_HTS: Cross-attention of the chosen heads, (heads, targets, frames), or None.
        heads: The numbers of these heads, counted through all layers.
    """

    logprobs: NDArray[np.float32]
    end_logprobs: NDArray[np.float32]
    attention_HTS: NDArray[np.float32] | None
    heads: tuple[int, ...] = ()


def batch_boundaries(lengths: Sequence[int], pass_cost: int) -> list[int]:
    """Where to cut sequences into passes at the least cost: a dynamic program over the positions, padding included.

    The last bits of a score depend on the padding, so the result depends on nothing but the arguments.

    Args:
        lengths: Positions of each sequence, ascending.
        pass_cost: What a pass costs besides, in positions.

    Returns:
        Boundaries from 0 to the number of sequences; a pass holds at most :data:`MAX_SEQUENCES`.
    """
    least_cost, pass_start = [0], [0]  # of the first so many sequences: the cost, and where their last pass starts
    for end in range(1, len(lengths) + 1):
        starts = range(max(0, end - MAX_SEQUENCES), end)
        costs = [least_cost[start] + pass_cost + lengths[end - 1] * (end - start) for start in starts]
        least_cost.append(min(costs))
        pass_start.append(starts[costs.index(least_cost[-1])])
    boundaries = [len(lengths)]
    while boundaries[-1]:
        boundaries.append(pass_start[boundaries[-1]])
    return boundaries[::-1]


class Decoder:
    """The decoder of one Whisper checkpoint in torch, for teacher forcing."""

    def __init__(
        self,
        model: Any,
        vocabulary: WhisperTokenizer,
        statistics: Statistics,
        compute_type: Literal["float32", "bfloat16"] = "float32",
        decodes: bool = False,
    ) -> None:
        """Use a loaded model.

        Args:
            model: transformers' WhisperForConditionalGeneration; its encoder is not used.
            vocabulary: Its tokenizer.
            statistics: Where passes are counted.
            compute_type: What linear layers and logits are computed in on a CPU; a GPU computes in the model's dtype.
            decodes: Whether it also decodes freely (:attr:`greedy`), on a CPU.
        """
        import torch

        from llaso_data.whisper.flat_decoder import FlatDecoder
        from llaso_data.whisper.linear import can_reorder
        from llaso_data.whisper.token_logprobs import TokenLogprobs

        self.vocabulary = vocabulary
        self.statistics = statistics
        own = model.proj_out.weight
        self.width = int(own.shape[1])
        self._dtype, self._device = own.dtype, own.device
        dtype = torch.bfloat16 if own.device.type == "cpu" and compute_type == "bfloat16" else own.dtype
        # Reordered weights are a second copy. Those in bfloat16 are one anyway, and single tokens gain most.
        packs = (decodes or dtype != own.dtype) and can_reorder(dtype)
        self._decoder = FlatDecoder(model.model.decoder, dtype, packs)
        self._logprobs = TokenLogprobs(model.proj_out, dtype, packs)
        self.greedy: GreedyDecoder | None = None
        if decodes:
            from llaso_data.whisper.greedy import GreedyDecoder

            self.greedy = GreedyDecoder(self._decoder, self._logprobs, vocabulary, model.generation_config)
        named_heads = getattr(model.generation_config, "alignment_heads", None) or ()
        self._alignment_heads: dict[int, list[int]] = {}  # layer -> heads
        for layer, head in CHARACTER_HEADS.get(frozenset((int(a), int(b)) for a, b in named_heads), ()):
            # A checkpoint with fewer layers may still carry the list of the one that it was made from.
            if layer < len(self._decoder.layers) and head < model.config.decoder_attention_heads:
                self._alignment_heads.setdefault(layer, []).append(head)

    def cache_cross_attention(self, states_BSW: torch.Tensor) -> list[EncoderStates]:
        """Compute the keys and values of every layer's cross-attention, once for all texts.

        Args:
            states_BSW: Encoder states, (windows, frames, width).

        Returns:
            Each window's states, to slice; without keys and values where those of the batch take over 2 GiB.
        """
        import torch

        if self.projection_bytes(states_BSW.numel()) > _MAX_PROJECTIONS_BYTES:
            return [EncoderStates(states_SW) for states_SW in states_BSW]
        with torch.inference_mode():
            keys_BLHSD, values_BLHSD = self._decoder.project(states_BSW.to(self._device, self._dtype))
        return [EncoderStates(*window) for window in zip(states_BSW, keys_BLHSD, values_BLHSD, strict=True)]

    def projection_bytes(self, states: int) -> int:
        """The size of all layers' keys and values of encoder states with so many numbers (frames times width)."""
        return 2 * len(self._decoder.layers) * states * int(self._decoder.dtype.itemsize)

    def decode(
        self,
        states: Sequence[EncoderStates],
        languages: Sequence[str],
        places: Sequence[Sequence[slice] | None],
        heads: int = 0,
    ) -> list[Decoded]:
        """Decode windows freely, where this decoder does.

        Args:
            states: Encoder states of each window.
            languages: The language of each.
            places: As :class:`~llaso_data.whisper.greedy.GreedyDecoder` takes them, like ``heads``.
            heads: How many heads measure where tokens are heard.
        """
        import torch

        assert self.greedy is not None
        with torch.inference_mode():
            whole = [
                one if one.keys_LHSD is not None else EncoderStates(one.hidden, *self._projected(one.hidden))
                for one in states
            ]
        prompts = [self.vocabulary.prompt(language) for language in languages]
        decoded: dict[int, Decoded] = {}
        for length in sorted({len(prompt) for prompt in prompts}):
            chosen = [i for i, prompt in enumerate(prompts) if len(prompt) == length]
            found = self.greedy(
                [whole[i] for i in chosen], [prompts[i] for i in chosen], [places[i] for i in chosen], heads
            )
            decoded.update(zip(chosen, found, strict=True))
        tokens = sum(len(one.result.tokens) for one in decoded.values())
        self.statistics.count(windows_decoded=len(decoded), tokens_decoded=tokens)
        return [decoded[i] for i in range(len(states))]

    def _projected(self, hidden_SW: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        keys_1LHSD, values_1LHSD = self._decoder.project(hidden_SW[None].to(self._device, self._dtype))
        return keys_1LHSD[0], values_1LHSD[0]

    def language_probs(self, states: Sequence[EncoderStates]) -> NDArray[np.float32]:
        """Probability of each of ``vocabulary.languages`` for each slice of states: shape (slices, languages)."""
        import torch

        ids = list(self.vocabulary.languages.values())
        starts = [[self.vocabulary.start]] * len(states)
        probs = np.zeros((len(states), len(ids)), dtype=np.float32)
        for batch in self._passes(starts, states):
            hidden, _ = self._read(starts[: len(batch)], [states[i] for i in batch], [slice(0, 1)] * len(batch))
            with torch.inference_mode():
                logits = torch.cat(hidden) @ self._logprobs.weight_VW[ids].T
            probs[batch] = torch.softmax(logits.float(), dim=-1).cpu().numpy()
        return probs

    def force(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        states: Sequence[EncoderStates],
        heads: int = 0,
        alignment_heads: bool = False,
        score: bool = True,
    ) -> list[ForcedScores]:
        """Teacher-force ``targets[i]`` after ``prompts[i]`` over ``states[i]``.

        Args:
            prompts: Tokens before the targets.
            targets: Tokens that are scored, end of text included where it shall be.
            states: Encoder states of each sequence, of any length.
            heads: Give the cross-attention of so many heads of largest norm; 0 for none.
            alignment_heads: Give that of the checkpoint's :data:`CHARACTER_HEADS` instead, where it has any.
            score: False leaves log-probabilities out, which cost more than all the rest.

        Returns:
            The scores in the order of the arguments. What is the same over the same states is read once.

        Raises:
            ValueError: A sequence is longer than Whisper's 448 positions.
        """
        rows = [(tuple(p), tuple(t), id(s)) for p, t, s in zip(prompts, targets, states, strict=True)]
        chosen = {row: i for i, row in reversed([*enumerate(rows)])}  # the first of those that are the same
        unique = sorted(chosen.values())
        found: dict[int, ForcedScores] = {}
        sequences = [[*prompts[i], *targets[i][:-1]] for i in unique]  # the last target is predicted and is no input
        for numbers in self._passes(sequences, [states[i] for i in unique]):
            batch = [unique[n] for n in numbers]
            scores = self._force_batch(
                [prompts[i] for i in batch],
                [targets[i] for i in batch],
                [states[i] for i in batch],
                heads,
                alignment_heads and bool(self._alignment_heads),
                score,
            )
            found.update(zip(batch, scores, strict=True))
        return [found[chosen[row]] for row in rows]

    def _passes(self, sequences: Sequence[Sequence[int]], states: Sequence[EncoderStates]) -> Iterator[list[int]]:
        """The numbers of the sequences that are read together, pass by pass. On a GPU they are of like length."""
        lengths = [len(sequence) for sequence in sequences]
        if self._device.type != "cpu":
            order = sorted(range(len(lengths)), key=lambda i: (lengths[i], states[i].frames, i))
            for first, last in pairwise(batch_boundaries([lengths[i] for i in order], _PASS_COST)):
                yield order[first:last]
            return
        batch: list[int] = []
        positions = 0
        for number, length in enumerate(lengths):
            if batch and positions + length > _MAX_POSITIONS:
                yield batch
                batch, positions = [], 0
            batch.append(number)
            positions += length
        if batch:
            yield batch

    def _force_batch(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        states: Sequence[EncoderStates],
        heads: int,
        alignment_heads: bool,
        score: bool,
    ) -> list[ForcedScores]:
        import torch

        from llaso_data.whisper.flat_decoder import HeadChoice

        named = self._alignment_heads if alignment_heads else {}
        choice = HeadChoice(0 if named else heads, named, without_states=bool(heads) and not score)
        spans = [slice(len(p) - 1, len(p) - 1 + len(t)) for p, t in zip(prompts, targets, strict=True)]
        inputs = [[*p, *t[:-1]] for p, t in zip(prompts, targets, strict=True)]
        hidden, maps = self._read(inputs, states, spans, choice)
        attention: list[tuple[NDArray[np.float32] | None, tuple[int, ...]]] = [(None, ())] * len(targets)
        if heads:
            attention = [(maps_HTS.cpu().numpy(), tuple(ids_H.tolist())) for maps_HTS, ids_H in maps]
        both = np.zeros((0, 2), dtype=np.float32)
        if score:
            ids = [[target, self.vocabulary.end] for each in targets for target in each]
            with torch.inference_mode():
                both = self._logprobs(torch.cat(hidden), torch.tensor(ids, device=self._device)).cpu().numpy()
        ends = np.cumsum([0, *(len(each) if score else 0 for each in targets)])
        return [
            ForcedScores(both[a:b, 0], both[a:b, 1], *maps_and_heads)
            for (a, b), maps_and_heads in zip(pairwise(ends), attention, strict=True)
        ]

    def _read(
        self,
        sequences: Sequence[Sequence[int]],
        states: Sequence[EncoderStates],
        spans: Sequence[slice],
        choice: HeadChoice | None = None,
    ) -> tuple[list[torch.Tensor], list[Maps]]:
        """See :meth:`FlatDecoder.read`. Raises ValueError where a sequence is longer than Whisper's positions."""
        import torch

        from llaso_data.whisper.flat_decoder import HeadChoice

        length = max(map(len, sequences))
        if length > MAX_POSITIONS:
            raise ValueError(f"{length} tokens are more than Whisper's {MAX_POSITIONS} positions")
        self.statistics.count(passes_forced=1)
        with torch.inference_mode():
            return self._decoder.read(
                sequences, states, spans, choice or HeadChoice(), padded=self._device.type != "cpu"
            )
