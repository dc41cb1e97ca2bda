"""Whisper's decoder teacher-forced over slices of encoder states: log-probabilities and cross-attention.

Slices of different lengths share a batch under a mask, so one clip's scores see nothing of another's states. The
layers' own modules are called one by one, because cross-attention over keys and values that are there already, and
its weights, are to be had in no other way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.engine import Statistics
from llaso_data.whisper.tokenizer import MAX_POSITIONS, WhisperTokenizer

if TYPE_CHECKING:
    import torch

    _Maps = tuple[torch.Tensor, torch.Tensor]  # (heads, tokens, frames) and the heads' numbers

# Heads that look at a character where it is read, by what the checkpoint calls its alignment heads (layer, head), which
# tell the checkpoints and their fine-tuned children apart. Measured with bench/alignment.py.
READING_HEADS: dict[frozenset[tuple[int, int]], tuple[tuple[int, int], ...]] = {
    # tiny.en
    frozenset({(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)}): ((0, 4), (1, 2), (2, 4)),
    # base
    frozenset({(3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)}): ((0, 5), (2, 2), (4, 2)),
}

BATCH = 16  # sequences in one pass at most
_PASS_CPU, _PASS_GPU = 32, 2048  # positions that take as long as a pass takes besides; of a GPU reckoned, not measured
_ROWS, _COLUMNS = 512, 4096  # targets and words of the vocabulary whose logits are held at once: they stay in a cache
_KEPT_BYTES = 2 << 30  # keys and values of one batch of windows; what needs more is made anew for every pass


@dataclass(frozen=True, slots=True)
class ForcedScores:
    """One sequence: ``logprobs[i]`` of the i-th target, which row ``i`` of ``attention_HTS`` predicts."""

    logprobs: NDArray[np.float32]  # (targets,), or (0,) where only the attention was asked for
    end_logprobs: NDArray[np.float32]  # (targets,): of end of text in each target's stead; or (0,)
    attention_HTS: NDArray[np.float32] | None  # (heads, targets, frames): the chosen ones, or None
    heads: tuple[int, ...] = ()  # which they are, counted through the layers


def batch_boundaries(lengths: Sequence[int], besides: int) -> list[int]:
    """Where to cut sequences, ``lengths`` ascending, into passes: with the fewest positions, padding included.

    A pass counts ``besides`` positions more and holds at most :data:`BATCH` sequences. The last bits of a score depend
    on the padding, so this depends on nothing else.
    """
    least, start = [0], [0]  # of the first so many: the cost, and where the last pass begins
    for last in range(1, len(lengths) + 1):
        firsts = range(max(0, last - BATCH), last)
        costs = [least[first] + besides + lengths[last - 1] * (last - first) for first in firsts]
        least.append(min(costs))
        start.append(firsts[costs.index(least[-1])])
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(start[cuts[-1]])
    return cuts[::-1]


class Decoder:
    """The decoder of one Whisper checkpoint in torch."""

    def __init__(self, model: Any, vocabulary: WhisperTokenizer, statistics: Statistics) -> None:
        self.vocabulary = vocabulary
        self.statistics = statistics
        self._decoder = model.model.decoder
        self._project = model.proj_out
        self._dtype = self._project.weight.dtype
        self._device = self._project.weight.device
        named = getattr(model.generation_config, "alignment_heads", None) or ()
        self._reading: dict[int, list[int]] = {}  # layer -> heads
        for layer, head in READING_HEADS.get(frozenset((int(a), int(b)) for a, b in named), ()):
            # A checkpoint with fewer layers may still carry the list of the one that it was made from.
            if layer < len(self._decoder.layers) and head < model.config.decoder_attention_heads:
                self._reading.setdefault(layer, []).append(head)

    def read(self, states_BSW: torch.Tensor) -> list[EncoderStates]:
        """Whole windows with the keys and values of every layer, unless those would not fit; one by one, to slice."""
        import torch

        layers = self._decoder.layers
        size_bytes = 2 * len(layers) * states_BSW.numel() * self._project.weight.element_size()
        if size_bytes > _KEPT_BYTES:
            return [EncoderStates(states_SW) for states_SW in states_BSW]
        with torch.inference_mode():
            own = states_BSW.to(self._device, self._dtype)
            keys_BLSW = torch.stack([layer.encoder_attn.k_proj(own) for layer in layers], dim=1)
            values_BLSW = torch.stack([layer.encoder_attn.v_proj(own) for layer in layers], dim=1)
        return [EncoderStates(*each) for each in zip(states_BSW, keys_BLSW, values_BLSW, strict=True)]

    def language_probs(self, states: Sequence[EncoderStates]) -> NDArray[np.float32]:
        """Probability of each of ``vocabulary.languages`` for each slice of states: shape (slices, languages)."""
        import torch

        ids = list(self.vocabulary.languages.values())
        rows = []
        for first in range(0, len(states), BATCH):
            batch = states[first : first + BATCH]
            tokens = torch.full((len(batch), 1), self.vocabulary.start, device=self._device)
            hidden, _ = self._run(tokens, batch)
            logits = self._project(hidden[:, 0])[:, ids].float()
            rows.append(torch.softmax(logits, dim=-1).cpu().numpy())
        return np.concatenate(rows) if rows else np.zeros((0, len(ids)), dtype=np.float32)

    def force(
        self,
        prompts: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        states: Sequence[EncoderStates],
        heads: int = 0,
        reading: bool = False,
        scored: bool = True,
    ) -> list[ForcedScores]:
        """Score ``targets[i]`` after ``prompts[i]`` over ``states[i]``.

        With ``heads`` > 0 the cross-attention of that many heads of largest norm comes with it; with ``reading`` that
        of the checkpoint's :data:`READING_HEADS` instead, where it has any. With ``scored=False`` it comes alone:
        log-probabilities cost more than all the rest. Sequences are batched by length; a sequence longer than 448
        positions is the caller's mistake (ValueError).
        """
        lengths = [len(p) + len(t) - 1 for p, t in zip(prompts, targets, strict=True)]  # the last target is not read
        order = sorted(range(len(targets)), key=lambda i: (lengths[i], states[i].frames, i))
        besides = _PASS_CPU if self._device.type == "cpu" else _PASS_GPU
        results: dict[int, ForcedScores] = {}
        for first, last in pairwise(batch_boundaries([lengths[i] for i in order], besides)):
            chosen = order[first:last]
            batch = self._force_batch(
                [prompts[i] for i in chosen],
                [targets[i] for i in chosen],
                [states[i] for i in chosen],
                heads,
                reading and bool(self._reading),
                scored,
            )
            results.update(zip(chosen, batch, strict=True))
        return [results[i] for i in range(len(targets))]

    def _force_batch(
        self,
        prompts: list[Sequence[int]],
        targets: list[Sequence[int]],
        states: list[EncoderStates],
        heads: int,
        reading: bool,
        scored: bool,
    ) -> list[ForcedScores]:
        import torch

        # The last target is predicted and never read, so it takes no position.
        rows = [[*p, *t[:-1]] for p, t in zip(prompts, targets, strict=True)]
        length = max(map(len, rows))
        if length > MAX_POSITIONS:
            raise ValueError(f"{length} tokens are more than Whisper's {MAX_POSITIONS} positions")
        tokens = torch.full((len(rows), length), self.vocabulary.end, device=self._device)
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = torch.tensor(row, device=self._device)
        spans = [slice(len(p) - 1, len(p) - 1 + len(t)) for p, t in zip(prompts, targets, strict=True)]
        hidden, maps = self._run(tokens, states, spans, heads, reading, scored)
        kept = (
            [(each.cpu().numpy(), tuple(ids.tolist())) for each, ids in maps] if heads else [(None, ())] * len(targets)
        )
        if not scored:
            nothing = np.zeros(0, dtype=np.float32)
            return [ForcedScores(nothing, nothing, *each) for each in kept]
        logprobs, end_logprobs = self._logprobs(
            torch.cat([hidden[i, span] for i, span in enumerate(spans)]), [t for target in targets for t in target]
        )
        ends = np.cumsum([0, *map(len, targets)])
        return [
            ForcedScores(logprobs[a:b], end_logprobs[a:b], *each)
            for (a, b), each in zip(pairwise(ends), kept, strict=True)
        ]

    def _logprobs(
        self, hidden_NW: torch.Tensor, targets: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Of each target, and of end of text in its stead; many at once, so that the vocabulary is read once."""
        import torch

        found = []
        with torch.inference_mode():
            wanted = torch.tensor([[t, self.vocabulary.end] for t in targets], device=self._device)
            parts_VW = self._project.weight.split(_COLUMNS)
            for rows, ids in zip(hidden_NW.split(_ROWS), wanted.split(_ROWS), strict=True):
                logits = (rows[:, None].float() * self._project.weight[ids].float()).sum(dim=2)
                sums = [(rows @ part.T).float().logsumexp(dim=1) for part in parts_VW]
                found.append(logits - torch.stack(sums, dim=1).logsumexp(dim=1, keepdim=True))
        both: NDArray[np.float32] = torch.cat(found).cpu().numpy()
        return both[:, 0], both[:, 1]

    def _run(
        self,
        tokens_BT: torch.Tensor,
        states: Sequence[EncoderStates],
        spans: Sequence[slice] = (),
        heads: int = 0,
        reading: bool = False,
        scored: bool = True,
    ) -> tuple[torch.Tensor, list[_Maps]]:
        """Hidden states (batch, tokens, width) and, per sequence, the chosen attention maps.

        Where no scores are wanted, all that comes after the last reading head is left out, and the hidden states mean
        nothing.
        """
        import torch

        self.statistics.count(passes_forced=1)
        layers = self._decoder.layers if scored or not reading else self._decoder.layers[: max(self._reading) + 1]
        kept: list[_Maps | None] = [None] * len(states)
        with torch.inference_mode():
            length = tokens_BT.shape[1]
            lowest = torch.finfo(self._dtype).min
            causal_TT = torch.full((length, length), lowest, dtype=self._dtype, device=self._device).triu(1)
            longest = torch.tensor([state.frames for state in states], device=self._device)
            outside = torch.arange(int(longest.max()), device=self._device) >= longest[:, None]
            cross_B11S = torch.zeros(outside.shape, dtype=self._dtype, device=self._device)
            cross_B11S = cross_B11S.masked_fill(outside, lowest)[:, None, None]
            hidden_BTW = self._decoder.embed_tokens(tokens_BT) + self._decoder.embed_positions.weight[:length]
            for number, layer in enumerate(layers):
                hidden_BTW = (
                    hidden_BTW
                    + layer.self_attn(layer.self_attn_layer_norm(hidden_BTW), attention_mask=causal_TT[None, None])[0]
                )
                of_layer = range(layer.encoder_attn.num_heads)
                own = self._reading.get(number, []) if reading else list(of_layer)
                looked_at = own if heads else []
                enough = not scored and reading and number == len(layers) - 1
                heard_BTW, weights_BHTS = self._cross(layer, number, hidden_BTW, states, cross_B11S, looked_at, enough)
                if heard_BTW is not None:
                    hidden_BTW = hidden_BTW + heard_BTW
                    inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden_BTW)))
                    hidden_BTW = hidden_BTW + layer.fc2(inner)
                if weights_BHTS is None:
                    continue
                ids = torch.tensor([number * len(of_layer) + head for head in own], dtype=torch.long)
                for i, state in enumerate(states):
                    # Only the best so far are kept: all heads of a large model would not fit.
                    maps = weights_BHTS[i, :, spans[i], : state.frames].float()
                    before = kept[i]
                    both = (torch.cat([before[0], maps]), torch.cat([before[1], ids])) if before else (maps, ids)
                    kept[i] = both if reading else _largest(*both, heads)
            hidden_BTW = self._decoder.layer_norm(hidden_BTW)
        return hidden_BTW, [maps for maps in kept if maps is not None]

    def _cross(
        self,
        layer: Any,
        number: int,
        hidden_BTW: torch.Tensor,
        states: Sequence[EncoderStates],
        mask_B11S: torch.Tensor,
        heads: list[int],
        weights_only: bool,
    ) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        """Cross-attention of one layer (or None), and the weights of the heads that are looked at (or None)."""
        import torch

        attention = layer.encoder_attn
        batch, length, width = hidden_BTW.shape

        def by_head(x_BNW: torch.Tensor) -> torch.Tensor:
            return x_BNW.view(batch, -1, attention.num_heads, attention.head_dim).transpose(1, 2)

        def padded(parts: list[torch.Tensor]) -> torch.Tensor:
            return by_head(torch.nn.utils.rnn.pad_sequence(parts, batch_first=True))

        def own(state: EncoderStates) -> torch.Tensor:
            return state.hidden_SW.to(self._device, self._dtype)

        query_BHTD = by_head(attention.q_proj(layer.encoder_attn_layer_norm(hidden_BTW)) * attention.scaling)
        keys_BHSD = padded([attention.k_proj(own(s)) if s.keys_LSW is None else s.keys_LSW[number] for s in states])
        weights_BHTS = None
        if heads:
            scores_BHTS = query_BHTD[:, heads] @ keys_BHSD[:, heads].transpose(2, 3)
            weights_BHTS = torch.softmax(scores_BHTS + mask_B11S, dim=-1)
        if weights_only:
            return None, weights_BHTS
        values_BHSD = padded(
            [attention.v_proj(own(s)) if s.values_LSW is None else s.values_LSW[number] for s in states]
        )
        if weights_BHTS is not None and len(heads) == attention.num_heads:
            heard_BHTD = weights_BHTS @ values_BHSD
        else:
            heard_BHTD = torch.nn.functional.scaled_dot_product_attention(
                query_BHTD, keys_BHSD, values_BHSD, attn_mask=mask_B11S, scale=1.0
            )
        heard_BTW: torch.Tensor = attention.out_proj(heard_BHTD.transpose(1, 2).reshape(batch, length, width))
        return heard_BTW, weights_BHTS


def _largest(maps_HTS: torch.Tensor, ids_H: torch.Tensor, heads: int) -> _Maps:
    """The ``heads`` maps of largest norm, largest first."""
    import torch

    norms = torch.linalg.vector_norm(maps_HTS, dim=(1, 2))
    chosen = torch.topk(norms, min(heads, len(norms))).indices
    return maps_HTS[chosen], ids_H[chosen.cpu()]
