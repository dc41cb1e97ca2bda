"""The model with the losses of a recipe: the module that a run trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from llaso_model.train.collate import TrainBatch
from llaso_model.train.config import TrainRecipe
from llaso_model.train.losses import LossSums, StepTargets, in_order, in_use

_SILENT_FRAMES = 100

Sums = dict[str, torch.Tensor]


class TrainingModule(nn.Module):
    """The model, and what the losses of a recipe learn beside it; its forward gives the loss.

    ``together``: whatever a micro-batch holds, all parts take part in its loss, as they must where ranks gather the
    parameters of each together. ``restored`` is the folder whose modules of losses are read, if any.
    """

    def __init__(self, model: Any, recipe: TrainRecipe, restored: str | None = None) -> None:
        super().__init__()
        self.model, self.uses_all_parts = model, False
        self.weights = recipe.objectives
        self.losses = in_use(recipe.objectives)
        self.loss_modules: dict[str, str] = {}
        """Name of each module of a loss, and of a loss that writes it."""
        for name, loss in in_order().items():
            own = loss.module_name
            if own is not None and own not in self.loss_modules and (loss.keeps_module or name in self.losses):
                module = loss.module(model, recipe)
                self.add_module(own, module)
                self.loss_modules[own] = name
                if restored is not None:
                    loss.restore(module, restored)

    def forward(self, batch: TrainBatch, targets: StepTargets) -> tuple[torch.Tensor, Sums]:
        """The example's part of the step's loss, and the sums of losses and measures by name (detached)."""
        features, lengths = batch.inputs.get("input_features"), batch.inputs.get("feature_lengths")
        device, total = batch.rows.device, torch.zeros(())
        silence = torch.zeros(1, self.model.config.audio_config.num_mel_bins, _SILENT_FRAMES, device=device)
        speech = None
        if features is not None:
            speech = self.model.get_audio_features(features, lengths)
            total = speech.float().sum() * 0  # every rank has a gradient
        elif self.uses_all_parts:
            unheard = self.model.get_audio_features(silence, torch.tensor([_SILENT_FRAMES], device=device))
            total = unheard.float().sum() * 0
        found: dict[str, LossSums] = {}
        for name, loss in self.losses.items():
            sums = loss.sums(self, batch, speech, targets.by_loss.get(name))
            if sums is not None:
                found[name] = sums
        if self.uses_all_parts:
            total = total + self._idle(found, silence) * 0
        for name, sums in found.items():
            # A whole step may have nothing to learn of a kind: its sum is 0 then, on every rank.
            total = total + self.weights.weight(name) / max(targets.counts[name], 1) * sums.loss
        losses = {name: sums.loss for name, sums in found.items()}
        measures = {name: value for sums in found.values() for name, value in sums.measures.items()}
        return total, {name: value.detach().double() for name, value in (losses | measures).items()}

    def _idle(self, found: dict[str, LossSums], silence: torch.Tensor) -> torch.Tensor:
        """A number that has a part of everything in it that the losses of a micro-batch may have left out."""
        total: torch.Tensor = sum(value.sum() for value in self.model.aligner.parameters())
        for name in self.loss_modules.values():
            # A module of several losses may be used by one of them in part.
            loss = in_order()[name]
            if loss.keeps_module or name not in found:
                number = loss.idle(self, silence)
                total = total if number is None else total + number
        return total
