"""The module that a run trains: the model with the losses of a recipe."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llaso_model.train.collate import TrainBatch
from llaso_model.train.config import TrainRecipe
from llaso_model.train.losses import LOSSES, LossSums, StepTargets, in_order, in_use

_SILENT_FRAMES = 100

Sums = dict[str, torch.Tensor]


class TrainingModule(nn.Module):
    """The model, and the modules of losses beside it. Its forward computes the loss.

    Attributes:
        model: The speech-language model.
        uses_all_parts: Whether every parameter takes part in the loss of every micro-batch, whatever that has. Ranks
            that gather sharded parameters together need this.
        weights: The recipe's objectives.
        losses: Those with a weight, by name.
        loss_modules: Name of each module of a loss, and of a loss that writes it.
    """

    def __init__(self, model: Any, recipe: TrainRecipe, restored: str | None = None) -> None:
        """``restored``: a folder from which the modules of losses are read; None: they are new."""
        super().__init__()
        self.model, self.uses_all_parts = model, False
        self.weights = recipe.objectives
        self.losses = in_use(recipe.objectives)
        self.loss_modules: dict[str, str] = {}
        for name, loss in in_order().items():
            own = loss.module_name
            if own is not None and own not in self.loss_modules and (loss.keeps_module or name in self.losses):
                module = loss.module(model, recipe)
                self.add_module(own, module)
                self.loss_modules[own] = name
                if restored is not None:
                    loss.restore(module, restored)

    def forward(self, batch: TrainBatch, targets: StepTargets) -> tuple[torch.Tensor, Sums]:
        """The loss of a micro-batch.

        Args:
            batch: The micro-batch, on the device.
            targets: Those of the whole step.

        Returns:
            The micro-batch's part of the step's loss, and detached sums of losses and measures by name.
        """
        features, lengths = batch.inputs.get("input_features"), batch.inputs.get("feature_lengths")
        device, total = batch.rows.device, torch.zeros(())
        silence = torch.zeros(1, self.model.config.audio_config.num_mel_bins, _SILENT_FRAMES, device=device)
        speech = None
        if features is not None:
            speech = self.model.get_audio_features(features, lengths)
            total = speech.float().sum() * 0  # so that every rank has a gradient
        elif self.uses_all_parts:
            unused = self.model.get_audio_features(silence, torch.tensor([_SILENT_FRAMES], device=device))
            total = unused.float().sum() * 0
        sums_of_losses: dict[str, LossSums] = {}
        for name, loss in self.losses.items():
            sums = loss.sums(self, batch, speech, targets.by_loss.get(name))
            if sums is not None:
                sums_of_losses[name] = sums
        if self.uses_all_parts:
            total = total + self._idle(sums_of_losses, silence) * 0
        for name, sums in sums_of_losses.items():
            # A whole step may have no targets of a loss. Its sum is 0 then, on every rank.
            total = total + self.weights.weight(name) / max(targets.counts[name], 1) * sums.loss
        losses = {name: sums.loss for name, sums in sums_of_losses.items()}
        measures = {name: value for sums in sums_of_losses.values() for name, value in sums.measures.items()}
        return total, {name: value.detach().double() for name, value in (losses | measures).items()}

    def _idle(self, sums_of_losses: dict[str, LossSums], silence: torch.Tensor) -> torch.Tensor:
        """A sum over all parameters that the losses of a micro-batch may not have used."""
        total: torch.Tensor = sum(value.sum() for value in self.model.aligner.parameters())
        for name in self.loss_modules.values():
            # One of several losses may use their common module in part.
            loss = LOSSES[name]
            if loss.keeps_module or name not in sums_of_losses:
                number = loss.idle(self, silence)
                total = total if number is None else total + number
        return total
