"""Completion: the assistant's tokens, given speech and the text before."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llaso_model.configuration import IGNORED
from llaso_model.train.losses import LOSSES, Loss, LossSums

if TYPE_CHECKING:
    from llaso_model.train.collate import TrainBatch
    from llaso_model.train.module import TrainingModule


class Completion(Loss):
    """Cross-entropy of the assistant's tokens, also by task: the measures ``completion/TASK``."""

    name = "completion"
    order = 30
    needs = frozenset(("answers",))

    def counts(self, batch: TrainBatch) -> dict[str, float]:
        """Tokens with a label, and the same by task without the first token of a row, which has no loss."""
        counts: dict[str, float] = {self.name: batch.targets}
        labels = batch.inputs["labels"][:, 1:]
        by_row = torch.zeros(len(batch.keys)).index_add(
            0, batch.rows[:, 1:].reshape(-1), (labels != IGNORED).float().reshape(-1)
        )
        for task, count in zip(batch.tasks, by_row.tolist(), strict=True):
            counts[f"{self.name}/{task}"] = counts.get(f"{self.name}/{task}", 0) + count
        return counts

    def sums(self, module: TrainingModule, batch: TrainBatch, speech: torch.Tensor | None, targets: Any) -> LossSums:
        """See :meth:`Loss.sums`."""
        by_row = _by_row(module, batch, speech)
        total = by_row.sum()
        measures = {}
        for task in sorted(set(batch.tasks)):
            own = torch.tensor([task == one for one in batch.tasks], device=by_row.device)
            measures[f"{self.name}/{task}"] = (by_row * own).sum()
        return LossSums(total, measures)


def _by_row(module: TrainingModule, batch: TrainBatch, speech: torch.Tensor | None) -> torch.Tensor:
    """Cross-entropy of the tokens with a label, summed for each sample (B,)."""
    inputs = batch.inputs
    if speech is not None and module.weights.state_noise and module.training:
        size = speech.detach().float().square().mean().sqrt()
        speech = speech + module.weights.state_noise * size * torch.randn_like(speech)
    hidden = module.model.hidden_states(
        inputs["input_ids"],
        speech,
        inputs.get("feature_lengths"),
        inputs.get("audio_rows"),
        inputs.get("attention_mask"),
        inputs.get("position_ids"),
        inputs["labels"],
    )
    labels = inputs["labels"][:, 1:]
    is_target = labels != IGNORED  # logits are computed at targets only
    logits = module.model.get_output_embeddings()(hidden[:, :-1][is_target]).float()
    losses = nn.functional.cross_entropy(logits, labels[is_target], reduction="none")
    by_row = torch.zeros(len(batch.keys), device=losses.device)
    return by_row.index_add(0, batch.rows[:, 1:][is_target], losses)


LOSSES.register(Completion.name, Completion())
