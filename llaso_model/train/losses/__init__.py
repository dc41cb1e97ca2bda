"""The losses of training. A loss is a module here that registers itself; a recipe weights it under its name.

A loss is a sum that is divided by what the whole global step has of it. So the gradient of a step is the same however
its micro-batches are cut and distributed to ranks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from llaso_data.registry import Registry

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llaso_data.stream.batch import Batch
    from llaso_model.configuration import LLaSOConfig
    from llaso_model.processing import LLaSOProcessor
    from llaso_model.train.collate import TrainBatch
    from llaso_model.train.config import Objectives, TrainRecipe
    from llaso_model.train.losses.contrastive import NegativeWords
    from llaso_model.train.module import TrainingModule

T = TypeVar("T")

Need = Literal["answers", "spans", "reconstruction", "negative_words"]
"""What a loss needs prepared: an answer of each sample, the spans of speech of words and clips, the targets of the
reconstruction, words of the language model's vocabulary as negatives."""


@dataclass(frozen=True, slots=True)
class LossSums:
    """What a micro-batch adds to a loss.

    Attributes:
        loss: The sum that has a gradient, not divided by anything.
        measures: Sums that are only reported, by name; each is divided by the step's count of that name.
    """

    loss: torch.Tensor
    measures: Mapping[str, torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepContext:
    """What the targets of a loss in a global step are made with.

    Attributes:
        number: From 0.
        seed: The run's.
        tokenizer: The language model's.
        objectives: The recipe's weights and settings of losses.
        negative_words: Words of its vocabulary; None: no loss needs them.
        all_gather: Returns the values of all ranks. All ranks must call it.
    """

    number: int
    seed: int
    tokenizer: Any
    objectives: Objectives
    negative_words: NegativeWords | None
    all_gather: Callable[[Any], list[Any]]


@dataclass(frozen=True, slots=True)
class StepTargets:
    """The targets of a global step.

    Attributes:
        by_loss: What :meth:`Loss.targets` returned, by the loss's name.
        counts: What sums of losses and measures are divided by, over all ranks.
    """

    by_loss: Mapping[str, Any]
    counts: Mapping[str, float]


LOSSES_FOLDER = "losses"
"""Subfolder of a model for what losses learn beside it: other programs load every safetensors file of the folder."""


def folder_of(name: str, model: str | Path) -> Path:
    """Where a model has a file of a loss: the subfolder, or the model's folder, where earlier versions wrote it."""
    folder = Path(model)
    return folder if (folder / name).exists() else folder / LOSSES_FOLDER


class Loss:
    """A loss. A subclass has at least :meth:`counts` and :meth:`sums`.

    Attributes:
        name: Its key in a recipe's ``objectives``, and of its mean in the log.
        order: Losses are computed and added up in this order, then by name. Addition of floats is not associative: a
            loss that comes later leaves the numbers of those before it as they are.
        needs: What the micro-batches and the step have to bring.
        reaches_speech: It has a gradient in the encoder and the aligner.
        measures: What the terminal shows of it beside its mean.
        module_name: Name of what it learns beside the model, in the training module and of its file; None: nothing.
        keeps_module: Every saved model has the module, also one whose recipe does not use the loss.
    """

    name: str
    order: ClassVar[int] = 100
    needs: ClassVar[frozenset[Need]] = frozenset()
    reaches_speech: ClassVar[bool] = True
    measures: tuple[str, ...] = ()
    module_name: ClassVar[str | None] = None
    keeps_module: ClassVar[bool] = False

    @property
    def files(self) -> tuple[str, ...]:
        """Names of the files that :meth:`save` writes."""
        return () if self.module_name is None else (f"{self.module_name}.safetensors",)

    def module(self, model: Any, recipe: TrainRecipe) -> nn.Module:
        """What it learns beside the model, new or as the model to start from has it; asked where it has a name."""
        raise NotImplementedError

    def save(self, module: nn.Module, folder: Path) -> None:
        """Writes its module into the subfolder for it of a model's folder."""
        from safetensors.torch import save_file

        weights = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
        save_file(weights, folder / self.files[0])

    def restore(self, module: nn.Module, folder: str) -> None:
        """Reads what :meth:`save` wrote for a model, where it is there, into the module. Raises LLaSOError."""
        from safetensors.torch import load_file

        from llaso_data.io.hub import loading

        path = folder_of(self.files[0], folder) / self.files[0]
        if path.exists():
            with loading("model.start", str(path)):
                module.load_state_dict(load_file(path))

    def collate(self, batch: Batch, processor: LLaSOProcessor, config: LLaSOConfig) -> Mapping[str, torch.Tensor]:
        """What it needs of a micro-batch that no entry of :attr:`needs` brings; made in the stream's workers.

        Returns:
            Tensors by name. ``batch.extra`` has them as ``LOSS.NAME``.
        """
        return {}

    def counts(self, batch: TrainBatch) -> dict[str, float]:
        """Targets of a micro-batch: under the loss's name, and under that of each measure with another count."""
        raise NotImplementedError

    def targets(self, batches: Sequence[TrainBatch], step: StepContext) -> Any:
        """What the batches of all ranks are compared with. Called on all ranks."""
        return None

    def sums(
        self, module: TrainingModule, batch: TrainBatch, speech: torch.Tensor | None, targets: Any
    ) -> LossSums | None:
        """Its sum over a micro-batch; None where the micro-batch has nothing for it.

        Args:
            module: The model, and what the losses learn beside it.
            batch: The micro-batch.
            speech: Embeddings of all its speech, one window after the other (N, width); None: it has none.
            targets: What :meth:`targets` returned.
        """
        raise NotImplementedError

    def idle(self, module: TrainingModule, silence: torch.Tensor) -> torch.Tensor | None:
        """A sum that every parameter of its module takes part in, for ranks that gather sharded parameters together.

        Args:
            module: The model, and what the losses learn beside it.
            silence: Log-mel frames of a window of silence (1, mels, frames).
        """
        if self.module_name is None:
            return None
        own = getattr(module, self.module_name)
        total: torch.Tensor = sum(value.sum() for value in own.parameters())
        return total


LOSSES: Registry[Loss] = Registry("loss", __name__, "llaso.losses")


def in_order() -> dict[str, Loss]:
    """All losses in the order in which they are added up."""
    return dict(sorted(LOSSES.items(), key=lambda item: (item[1].order, item[0])))


def in_use(objectives: Objectives) -> dict[str, Loss]:
    """The losses that a recipe gives a weight, in the order in which they are added up."""
    return {name: loss for name, loss in in_order().items() if objectives.weight(name)}


def needed(objectives: Objectives) -> frozenset[Need]:
    """What the losses of a recipe need."""
    return frozenset(need for loss in in_use(objectives).values() for need in loss.needs)


def counts_of(batches: Sequence[TrainBatch], objectives: Objectives) -> dict[str, float]:
    """What the sums of losses and measures are divided by, and how many samples were replaced (``replaced``)."""
    total: dict[str, float] = {"replaced": sum(len(batch.replaced) for batch in batches)}
    losses = in_use(objectives)
    for batch in batches:
        for name, loss in losses.items():
            counts = loss.counts(batch)
            counts |= {measure: counts[name] for measure in loss.measures if measure not in counts and name in counts}
            for key, count in counts.items():
                total[key] = total.get(key, 0) + count
    return total
