"""Whisper's decoder teacher-forced over slices of encoder states: log-probabilities and cross-attention.

Slices of different lengths share a batch under a mask, so one clip's scores see nothing of another's states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llaso_data.asr.engine import Statistics
from llaso_data.asr.vocabulary import MAX_POSITIONS, Vocabulary

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

BATCH = 16  # sequences in one pass; fixed, because it decides the padding and so the last bits of a score


@dataclass(frozen=True, slots=True)
class Forced:
    """One sequence: ``logprobs[i]`` of the i-th target, which row ``i`` of ``attention_HTS`` predicts."""

    logprobs: NDArray[np.float32]  # (targets,)
    end_logprobs: NDArray[np.float32]  # (targets,): of end of text in each target's stead
    attention_HTS: NDArray[np.float32] | None  # (heads, targets, frames): the chosen ones, or None
    heads: tuple[int, ...] = ()  # which they are, counted through the layers


class Decoder:
    """The decoder of one Whisper checkpoint in torch, in eager attention so that its weights can be read."""

    def __init__(self, model: Any, vocabulary: Vocabulary, statistics: Statistics) -> None:
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

    def language_probs(self, states: Sequence[torch.Tensor]) -> NDArray[np.float32]:
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
        states: Sequence[torch.Tensor],
        heads: int = 0,
        reading: bool = False,
    ) -> list[Forced]:
        """Score ``targets[i]`` after ``prompts[i]`` over ``states[i]`` (frames, width).

        With ``heads`` > 0 the cross-attention of that many heads of largest norm comes with it; with ``reading`` that
        of the checkpoint's :data:`READING_HEADS` instead, where it has any. Sequences are batched by length; a
        sequence longer than 448 positions is the caller's mistake (ValueError).
        """
        order = sorted(range(len(targets)), key=lambda i: (len(targets[i]), states[i].shape[0], i))
        results: dict[int, Forced] = {}
        for first in range(0, len(order), BATCH):
            chosen = order[first : first + BATCH]
            batch = self._force_batch(
                [prompts[i] for i in chosen],
                [targets[i] for i in chosen],
                [states[i] for i in chosen],
                heads,
                reading and bool(self._reading),
            )
            results.update(zip(chosen, batch, strict=True))
        return [results[i] for i in range(len(targets))]

    def _force_batch(
        self,
        prompts: list[Sequence[int]],
        targets: list[Sequence[int]],
        states: list[torch.Tensor],
        heads: int,
        reading: bool,
    ) -> list[Forced]:
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
        hidden, maps = self._run(tokens, states, spans, heads, reading)
        forced = []
        for i, target in enumerate(targets):
            logits = self._project(hidden[i, spans[i]]).float()
            wanted = torch.tensor(list(target), device=self._device)
            all_logprobs = torch.log_softmax(logits, dim=-1)
            logprobs = all_logprobs.gather(1, wanted[:, None])[:, 0].cpu().numpy()
            end_logprobs = all_logprobs[:, self.vocabulary.end].cpu().numpy()
            chosen = maps[i][0].cpu().numpy() if heads else None
            forced.append(Forced(logprobs, end_logprobs, chosen, tuple(maps[i][1].tolist()) if heads else ()))
        return forced

    def _run(
        self,
        tokens_BT: torch.Tensor,
        states: Sequence[torch.Tensor],
        spans: Sequence[slice] = (),
        heads: int = 0,
        reading: bool = False,
    ) -> tuple[torch.Tensor, list[_Maps]]:
        """Hidden states (batch, tokens, width) and, per sequence, the chosen attention maps."""
        import torch

        self.statistics.passes_forced += 1
        captured: list[torch.Tensor] = []
        hooks = [
            layer.encoder_attn.register_forward_hook(lambda _module, _inputs, output: captured.append(output[1]))
            for layer in self._decoder.layers
            if heads
        ]
        try:
            with torch.inference_mode():
                batch, length = tokens_BT.shape
                memory, cross_mask = self._memory(states)
                lowest = torch.finfo(self._dtype).min
                causal = torch.full((length, length), lowest, dtype=self._dtype, device=self._device).triu(1)
                positions = self._decoder.embed_positions.weight[:length]
                hidden = self._decoder.embed_tokens(tokens_BT) + positions
                kept: list[_Maps | None] = [None] * batch
                for number, layer in enumerate(self._decoder.layers):
                    hidden = layer(
                        hidden,
                        attention_mask=causal[None, None],
                        encoder_hidden_states=memory,
                        encoder_attention_mask=cross_mask,
                        use_cache=False,
                    )
                    if heads:
                        # Only the best so far are kept: all heads of a large model would not fit.
                        weights_BHTS = captured.pop()
                        of_layer = range(weights_BHTS.shape[1])
                        own = self._reading.get(number, []) if reading else list(of_layer)
                        ids = torch.tensor([number * len(of_layer) + head for head in own], dtype=torch.long)
                        for i, state in enumerate(states):
                            maps = weights_BHTS[i, own, spans[i], : state.shape[0]].float()
                            before = kept[i]
                            both = (
                                (torch.cat([before[0], maps]), torch.cat([before[1], ids])) if before else (maps, ids)
                            )
                            kept[i] = both if reading else _largest(*both, heads)
                hidden = self._decoder.layer_norm(hidden)
        finally:
            for hook in hooks:
                hook.remove()
        return hidden, [maps for maps in kept if maps is not None]

    def _memory(self, states: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """The slices padded to one length (batch, frames, width), and the mask that hides the padding."""
        import torch

        frames = max(state.shape[0] for state in states)
        shape = (len(states), frames, states[0].shape[1])
        memory = torch.zeros(shape, dtype=self._dtype, device=self._device)
        mask = torch.full((len(states), 1, 1, frames), torch.finfo(self._dtype).min, dtype=self._dtype)
        for i, state in enumerate(states):
            memory[i, : state.shape[0]] = state.to(self._device, self._dtype)
            mask[i, :, :, : state.shape[0]] = 0
        return memory, mask.to(self._device)


def _largest(maps_HTS: torch.Tensor, ids_H: torch.Tensor, heads: int) -> _Maps:
    """The ``heads`` maps of largest norm, largest first."""
    import torch

    norms = torch.linalg.vector_norm(maps_HTS, dim=(1, 2))
    chosen = torch.topk(norms, min(heads, len(norms))).indices
    return maps_HTS[chosen], ids_H[chosen.cpu()]
