"""Whisper's decoder teacher-forced over slices of encoder states: log-probabilities and cross-attention.

Slices of different lengths share a batch under a mask, so that one clip's scores depend on no other clip's states.
The layers' modules are called one by one. transformers offers neither cross-attention over keys and values that were
computed before nor its weights beside scaled dot-product attention.
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

    _Maps = tuple[torch.Tensor, torch.Tensor]  # attention (heads, tokens, frames), and the heads' numbers (heads,)

# Alignment heads, as (layer, head), for text that is teacher-forced in characters: a character looks at its sound when
# it is the decoder's input. The key is what the checkpoint's generation config calls its alignment heads, which are for
# BPE tokens; it recognises a checkpoint and those that were fine-tuned from it. Found with bench/alignment.py.
CHARACTER_HEADS: dict[frozenset[tuple[int, int]], tuple[tuple[int, int], ...]] = {
    # tiny.en
    frozenset({(1, 0), (2, 0), (2, 5), (3, 0), (3, 1), (3, 2), (3, 3), (3, 4)}): ((0, 4), (1, 2), (2, 4)),
    # base
    frozenset({(3, 1), (4, 2), (4, 3), (4, 7), (5, 1), (5, 2), (5, 4), (5, 6)}): ((0, 5), (2, 2), (4, 2)),
}

MAX_SEQUENCES = 16  # in one pass
# What a pass costs besides its positions, in positions: measured on a CPU, estimated for a GPU.
_PASS_COST_CPU, _PASS_COST_GPU = 32, 2048
# Logits are computed for so many targets and so many words of the vocabulary at once, so that they stay in the cache.
_LOGIT_ROWS, _LOGIT_COLUMNS = 512, 4096
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

    def __init__(self, model: Any, vocabulary: WhisperTokenizer, statistics: Statistics) -> None:
        """``model`` is transformers' WhisperForConditionalGeneration; its encoder is not used."""
        self.vocabulary = vocabulary
        self.statistics = statistics
        self._decoder = model.model.decoder
        self._project = model.proj_out
        self._dtype = self._project.weight.dtype
        self._device = self._project.weight.device
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

        layers = self._decoder.layers
        size_bytes = 2 * len(layers) * states_BSW.numel() * self._project.weight.element_size()
        if size_bytes > _MAX_PROJECTIONS_BYTES:
            return [EncoderStates(states_SW) for states_SW in states_BSW]
        with torch.inference_mode():
            hidden_BSW = states_BSW.to(self._device, self._dtype)
            keys_BLSW = torch.stack([layer.encoder_attn.k_proj(hidden_BSW) for layer in layers], dim=1)
            values_BLSW = torch.stack([layer.encoder_attn.v_proj(hidden_BSW) for layer in layers], dim=1)
        return [EncoderStates(*window) for window in zip(states_BSW, keys_BLSW, values_BLSW, strict=True)]

    def language_probs(self, states: Sequence[EncoderStates]) -> NDArray[np.float32]:
        """Probability of each of ``vocabulary.languages`` for each slice of states: shape (slices, languages)."""
        import torch

        ids = list(self.vocabulary.languages.values())
        rows = []
        for first in range(0, len(states), MAX_SEQUENCES):
            batch = states[first : first + MAX_SEQUENCES]
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
            The scores in the order of the arguments. Sequences are batched by length.

        Raises:
            ValueError: A sequence is longer than Whisper's 448 positions.
        """
        lengths = [len(p) + len(t) - 1 for p, t in zip(prompts, targets, strict=True)]  # the last target is no input
        order = sorted(range(len(targets)), key=lambda i: (lengths[i], states[i].frames, i))
        pass_cost = _PASS_COST_CPU if self._device.type == "cpu" else _PASS_COST_GPU
        results: dict[int, ForcedScores] = {}
        for first, last in pairwise(batch_boundaries([lengths[i] for i in order], pass_cost)):
            chosen = order[first:last]
            batch = self._force_batch(
                [prompts[i] for i in chosen],
                [targets[i] for i in chosen],
                [states[i] for i in chosen],
                heads,
                alignment_heads and bool(self._alignment_heads),
                score,
            )
            results.update(zip(chosen, batch, strict=True))
        return [results[i] for i in range(len(targets))]

    def _force_batch(
        self,
        prompts: list[Sequence[int]],
        targets: list[Sequence[int]],
        states: list[EncoderStates],
        heads: int,
        alignment_heads: bool,
        score: bool,
    ) -> list[ForcedScores]:
        import torch

        # The last target is predicted and is no input, so it takes no position.
        inputs = [[*p, *t[:-1]] for p, t in zip(prompts, targets, strict=True)]
        length = max(map(len, inputs))
        if length > MAX_POSITIONS:
            raise ValueError(f"{length} tokens are more than Whisper's {MAX_POSITIONS} positions")
        tokens = torch.full((len(inputs), length), self.vocabulary.end, device=self._device)
        for i, row in enumerate(inputs):
            tokens[i, : len(row)] = torch.tensor(row, device=self._device)
        spans = [slice(len(p) - 1, len(p) - 1 + len(t)) for p, t in zip(prompts, targets, strict=True)]
        hidden, maps = self._run(tokens, states, spans, heads, alignment_heads, score)
        attention: list[tuple[NDArray[np.float32] | None, tuple[int, ...]]] = [(None, ())] * len(targets)
        if heads:
            attention = [(maps_HTS.cpu().numpy(), tuple(ids_H.tolist())) for maps_HTS, ids_H in maps]
        if not score:
            no_scores = np.zeros(0, dtype=np.float32)
            return [ForcedScores(no_scores, no_scores, *maps_and_heads) for maps_and_heads in attention]
        logprobs, end_logprobs = self._logprobs(
            torch.cat([hidden[i, span] for i, span in enumerate(spans)]), [t for target in targets for t in target]
        )
        ends = np.cumsum([0, *map(len, targets)])
        return [
            ForcedScores(logprobs[a:b], end_logprobs[a:b], *maps_and_heads)
            for (a, b), maps_and_heads in zip(pairwise(ends), attention, strict=True)
        ]

    def _logprobs(
        self, hidden_NW: torch.Tensor, targets: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Log-probability of each target, and of end of text in its place; the vocabulary is read once for many."""
        import torch

        logprobs = []
        with torch.inference_mode():
            ids_N2 = torch.tensor([[t, self.vocabulary.end] for t in targets], device=self._device)
            parts_VW = self._project.weight.split(_LOGIT_COLUMNS)
            for rows_RW, ids_R2 in zip(hidden_NW.split(_LOGIT_ROWS), ids_N2.split(_LOGIT_ROWS), strict=True):
                logits = (rows_RW[:, None].float() * self._project.weight[ids_R2].float()).sum(dim=2)
                sums = [(rows_RW @ part.T).float().logsumexp(dim=1) for part in parts_VW]
                logprobs.append(logits - torch.stack(sums, dim=1).logsumexp(dim=1, keepdim=True))
        both: NDArray[np.float32] = torch.cat(logprobs).cpu().numpy()
        return both[:, 0], both[:, 1]

    def _run(
        self,
        tokens_BT: torch.Tensor,
        states: Sequence[EncoderStates],
        spans: Sequence[slice] = (),
        heads: int = 0,
        alignment_heads: bool = False,
        score: bool = True,
    ) -> tuple[torch.Tensor, list[_Maps]]:
        """Hidden states (batch, tokens, width), and the chosen attention maps of each sequence's ``spans``.

        Without scores, what follows the last alignment head is left out, and the hidden states mean nothing.
        """
        import torch

        self.statistics.count(passes_forced=1)
        layers = self._decoder.layers
        if alignment_heads and not score:
            layers = layers[: max(self._alignment_heads) + 1]
        attention: list[_Maps | None] = [None] * len(states)
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
                layer_heads = range(layer.encoder_attn.num_heads)
                chosen = self._alignment_heads.get(number, []) if alignment_heads else list(layer_heads)
                map_heads = chosen if heads else []
                weights_only = alignment_heads and not score and number == len(layers) - 1
                context_BTW, weights_BHTS = self._cross(
                    layer, number, hidden_BTW, states, cross_B11S, map_heads, weights_only
                )
                if context_BTW is not None:
                    hidden_BTW = hidden_BTW + context_BTW
                    inner = layer.activation_fn(layer.fc1(layer.final_layer_norm(hidden_BTW)))
                    hidden_BTW = hidden_BTW + layer.fc2(inner)
                if weights_BHTS is None:
                    continue
                ids = torch.tensor([number * len(layer_heads) + head for head in chosen], dtype=torch.long)
                for i, state in enumerate(states):
                    # Only the largest so far are kept: all heads of a large model would not fit in memory.
                    maps = weights_BHTS[i, :, spans[i], : state.frames].float()
                    before = attention[i]
                    both = (torch.cat([before[0], maps]), torch.cat([before[1], ids])) if before else (maps, ids)
                    attention[i] = both if alignment_heads else _largest(*both, heads)
            hidden_BTW = self._decoder.layer_norm(hidden_BTW)
        return hidden_BTW, [maps for maps in attention if maps is not None]

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
        """One layer's cross-attention (None with ``weights_only``), and the weights of ``heads`` (None where none)."""
        import torch

        attention = layer.encoder_attn
        batch, length, width = hidden_BTW.shape

        def by_head(x_BNW: torch.Tensor) -> torch.Tensor:
            return x_BNW.view(batch, -1, attention.num_heads, attention.head_dim).transpose(1, 2)

        def padded(parts: list[torch.Tensor]) -> torch.Tensor:
            return by_head(torch.nn.utils.rnn.pad_sequence(parts, batch_first=True))

        def hidden(state: EncoderStates) -> torch.Tensor:
            return state.hidden_SW.to(self._device, self._dtype)

        query_BHTD = by_head(attention.q_proj(layer.encoder_attn_layer_norm(hidden_BTW)) * attention.scaling)
        keys_BHSD = padded([attention.k_proj(hidden(s)) if s.keys_LSW is None else s.keys_LSW[number] for s in states])
        weights_BHTS = None
        if heads:
            scores_BHTS = query_BHTD[:, heads] @ keys_BHSD[:, heads].transpose(2, 3)
            weights_BHTS = torch.softmax(scores_BHTS + mask_B11S, dim=-1)
        if weights_only:
            return None, weights_BHTS
        values_BHSD = padded(
            [attention.v_proj(hidden(s)) if s.values_LSW is None else s.values_LSW[number] for s in states]
        )
        if weights_BHTS is not None and len(heads) == attention.num_heads:
            context_BHTD = weights_BHTS @ values_BHSD
        else:
            context_BHTD = torch.nn.functional.scaled_dot_product_attention(
                query_BHTD, keys_BHSD, values_BHSD, attn_mask=mask_B11S, scale=1.0
            )
        context_BTW: torch.Tensor = attention.out_proj(context_BHTD.transpose(1, 2).reshape(batch, length, width))
        return context_BTW, weights_BHTS


def _largest(maps_HTS: torch.Tensor, ids_H: torch.Tensor, heads: int) -> _Maps:
    """The ``heads`` maps of largest norm, largest first."""
    import torch

    norms = torch.linalg.vector_norm(maps_HTS, dim=(1, 2))
    chosen = torch.topk(norms, min(heads, len(norms))).indices
    return maps_HTS[chosen], ids_H[chosen.cpu()]
