"""A run of training in memory: module, processor and optimizer on this rank's device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from llaso_data.errors import LLaSOError
from llaso_model.fusion import FUSIONS
from llaso_model.processing import LLaSOProcessor
from llaso_model.train.build import blocks_of, load_model, optimizer_of, training_module
from llaso_model.train.collate import Collator
from llaso_model.train.config import TrainRecipe
from llaso_model.train.distributed import RankContext, shard_parameters
from llaso_model.train.losses import needed
from llaso_model.train.losses.contrastive import NegativeWords
from llaso_model.train.module import TrainingModule

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(slots=True)
class TrainingRun:
    """A run of training, ready for its first step.

    Attributes:
        recipe: The recipe.
        context: This rank's.
        processor: The model's.
        module: The model with its losses.
        optimizer: Of the trainable parameters.
        negative_words: Of the contrastive losses; None: they need none.
        steps: Of the whole run.
    """

    recipe: TrainRecipe
    context: RankContext
    processor: LLaSOProcessor
    module: TrainingModule
    optimizer: torch.optim.AdamW
    negative_words: NegativeWords | None
    steps: int

    @property
    def compute(self) -> Any:
        """The autocast of forwards in lower precision; FSDP2 casts by itself."""
        dtype = DTYPES[self.recipe.run.precision]
        enabled = dtype != torch.float32 and not self.context.sharded
        return torch.autocast(self.context.device.type, dtype, enabled=enabled)

    @property
    def collator(self) -> Collator:
        """The collator that gives the recipe's losses what they need."""
        needs = needed(self.recipe.objectives)
        return Collator(
            self.processor,
            self.module.model.config,
            self.recipe.data.pack,
            reconstruct="reconstruction" in needs,
            contrast="spans" in needs,
            answers="answers" in needs,
            collates=tuple((name, loss.collate) for name, loss in self.module.losses.items()),
        )


def prepare_run(recipe: TrainRecipe, context: RankContext, steps: int) -> TrainingRun:
    """Loads the model and prepares a run.

    Args:
        recipe: The recipe.
        context: This rank's.
        steps: Of the whole run, for the schedule.

    Raises:
        LLaSOError: A checkpoint is damaged, or the recipe's parts do not fit together.
    """
    return run_of(recipe, context, steps, *load_model(recipe.model, recipe.run.seed))


def run_of(recipe: TrainRecipe, context: RankContext, steps: int, model: Any, processor: LLaSOProcessor) -> TrainingRun:
    """Prepares a run of a model in float32, as :func:`load_model` returns it. See :func:`prepare_run`."""
    fusion = FUSIONS[model.config.fusion]
    if recipe.data.pack and not fusion.packs:
        fit = " or ".join(name for name, one in FUSIONS.items() if one.packs)
        raise LLaSOError(f"data.pack: only with the fusion {fit}; packed rows would attend to each other's speech")
    if recipe.model.compile and not fusion.compiles:
        fit = " or ".join(name for name, one in FUSIONS.items() if one.compiles)
        raise LLaSOError(
            f"model.compile: only with the fusion {fit}; torch.compile cannot trace what "
            f"{model.config.fusion} adds to the language model's layers"
        )
    module = training_module(recipe, model)
    if context.sharded:
        module.uses_all_parts = True
        model.enable_input_require_grads()  # else gradients of the first block come in another order without speech
    if DTYPES[recipe.run.precision] == torch.float32:
        torch.backends.cudnn.allow_tf32 = False  # else convolutions on a GPU keep 10 bits
    elif not context.sharded:
        for value in module.parameters():  # frozen weights need no float32 copy
            value.data = value.data if value.requires_grad else value.data.to(DTYPES[recipe.run.precision])
    module.to(context.device)
    if recipe.model.compile:
        for block in blocks_of(model):  # blocks of a kind share one compilation; masks and hooks are outside
            block.forward = torch.compile(block.forward, dynamic=True)
    if context.sharded:
        shard_parameters(module, context, blocks_of(model), DTYPES[recipe.run.precision])
    contrasts = recipe.objectives.negatives and "negative_words" in needed(recipe.objectives)
    return TrainingRun(
        recipe,
        context,
        processor,
        module.train(),
        optimizer_of(module, recipe.optimizer),
        NegativeWords(processor.tokenizer) if contrasts else None,
        steps,
    )
