"""Log-probabilities of chosen tokens, from the decoder's last states: Whisper's output layer has 51,865 words.

In bfloat16 a logit of 20 is 0.06 from what it is. So those that weigh most are computed again in float32: the chosen
tokens', and of each row the largest.
"""

from __future__ import annotations

import torch
from torch import nn

from llaso_data.whisper.linear import Linear

# Logits are computed for so many rows and so many words of the vocabulary at once, so that they stay in the cache.
_ROWS, _COLUMNS = 512, 4096
_LARGEST = 4  # logits of a row that are computed again


class TokenLogprobs:
    """The log-softmax over the vocabulary, at chosen tokens.

    Args:
        projection: The output layer, without biases.
        dtype: What logits are computed in.
        packs: Whether its weights are reordered for this machine.
    """

    def __init__(self, projection: nn.Linear, dtype: torch.dtype, packs: bool) -> None:
        self.weight_VW = projection.weight.detach()
        self._parts = [Linear(_layer(part), packs=packs, dtype=dtype) for part in self.weight_VW.split(_COLUMNS)]
        self._corrects = dtype != self.weight_VW.dtype
        self.words = len(self.weight_VW)

    def logits(self, hidden_NW: torch.Tensor, ids_NK: torch.Tensor) -> torch.Tensor:
        """The logits in float32 of K tokens for each row of states (N, K)."""
        return (hidden_NW[:, None].float() * self.weight_VW[ids_NK].float()).sum(dim=2)

    def __call__(self, hidden_NW: torch.Tensor, ids_NK: torch.Tensor) -> torch.Tensor:
        """The log-probabilities of K tokens for each row of states (N, K); the weights are read once for many rows."""
        pairs = zip(hidden_NW.split(_ROWS), ids_NK.split(_ROWS), strict=True)
        return torch.cat([self.logits(rows, ids) - self._log_sums(rows)[:, None] for rows, ids in pairs])

    def rough_logits(self, rows_RW: torch.Tensor) -> torch.Tensor:
        """All logits of each row of states (R, words), in float32 as far as they are computed in it."""
        return torch.cat([part(rows_RW) for part in self._parts], dim=1).float()

    def corrected(
        self, rows_RW: torch.Tensor, rough_RV: torch.Tensor, log_sums_R: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The largest logits of each row computed again in float32, where they are not, and what follows from them.

        Args:
            rows_RW: States.
            rough_RV: Of :meth:`rough_logits`; minus infinity where a word may not be chosen.
            log_sums_R: The logarithm of the sum of all words' exponentials.

        Returns:
            The largest logits (R, 4), their words, and the sums with them.
        """
        rough, ids = rough_RV.topk(_LARGEST, dim=1)
        if not self._corrects:
            return rough, ids, log_sums_R
        exact = self.logits(rows_RW, ids)
        return exact, ids, _with_exact(log_sums_R, rough, exact)

    def _log_sums(self, rows_RW: torch.Tensor) -> torch.Tensor:
        """The logarithm of the sum of all words' exponentials for each row (R,)."""
        sums, largest, places = [], [], []
        for number, part in enumerate(self._parts):
            logits = part(rows_RW).float()
            # In one pass: log softmax is the logit less the logarithm of the sum.
            sums.append(logits[:, 0] - logits.log_softmax(dim=1)[:, 0])
            if self._corrects:
                values, ids = logits.topk(_LARGEST, dim=1)
                largest.append(values)
                places.append(ids + number * _COLUMNS)
        log_sums = torch.stack(sums, dim=1).logsumexp(dim=1)
        if not self._corrects:
            return log_sums
        rough, at = torch.cat(largest, dim=1).topk(_LARGEST, dim=1)
        exact = self.logits(rows_RW, torch.cat(places, dim=1).gather(1, at))
        return _with_exact(log_sums, rough, exact)


def _with_exact(log_sums_R: torch.Tensor, rough_RK: torch.Tensor, exact_RK: torch.Tensor) -> torch.Tensor:
    """The logarithm of a sum of exponentials (R,) with K of its logits put right."""
    rest = (1.0 - (rough_RK - log_sums_R[:, None]).exp().sum(dim=1)).clamp(min=0.0)
    return log_sums_R + (rest + (exact_RK - log_sums_R[:, None]).exp().sum(dim=1)).log()


def _layer(weight_OI: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight_OI.shape[1], weight_OI.shape[0], bias=False, device="meta")
    layer.weight = nn.Parameter(weight_OI, requires_grad=False)
    return layer
