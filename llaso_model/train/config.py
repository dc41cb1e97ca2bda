"""A training recipe: the YAML file that ``llaso-model train`` runs, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from llaso_data.io import settings
from llaso_data.io.setting_errors import unknown_key
from llaso_data.io.settings import Problem
from llaso_data.recipe import Part
from llaso_data.records import digest
from llaso_data.stream.mixture import Change, Mixture, Source, problems
from llaso_model.encoders import ENCODERS, PRETRAINED
from llaso_model.fusion import FUSIONS
from llaso_model.train.losses import LOSSES, in_use


class Lora(Part):
    """Adapters of low rank in the language model."""

    rank: int = Field(16, ge=1)
    alpha: float = Field(32, gt=0)
    dropout: float = Field(0.05, ge=0, lt=1)
    targets: tuple[str, ...] = Field(("q_proj", "k_proj", "v_proj", "o_proj"), description="names of linear layers")


class SpeechDecoderPart(Part):
    """What rebuilds speech for the reconstruction objective."""

    width: int = Field(384, ge=8)
    layers: int = Field(6, ge=1)
    kernel_size: int = Field(9, ge=1)


class ModelPart(Part):
    """What is trained, and where it begins."""

    start: str | None = Field(None, description="folder of a LLaSO model to go on from, such as stage 1's; or parts:")
    language_model: str | None = Field(None, description="folder or hub id of a causal language model")
    encoder: str | None = Field(
        None, description="folder or hub id of an encoder's checkpoint, such as Whisper's; null: from scratch"
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="other values of LLaSOConfig: fusion, stack, audio_config of a new encoder"
    )
    train: tuple[Literal["encoder", "aligner", "language_model"], ...] = Field(
        ("aligner",), description="parts whose weights are trained; the rest is frozen"
    )
    lora: Lora | None = Field(None, description="adapters in a frozen language model")
    chat_template: str | None = Field(
        None, description="Jinja, or plain: what the roles say, a line each; null: the language model's own, else plain"
    )
    gradient_checkpointing: bool = False
    speech_decoder: SpeechDecoderPart = SpeechDecoderPart()
    max_audio_length: float = Field(30.0, gt=0, description="seconds; longer audio is read in windows of that")
    compile: bool = Field(False, description="torch.compile of the blocks of encoder and language model")


class AugmentPart(Part):
    """Other sound of the same speech, drawn anew in each epoch; see docs/stream.md."""

    noise_snr_db: tuple[float, float] | None = None
    noise_share: float = Field(1.0, ge=0, le=1)
    speed: tuple[float, float] | None = None


class DataPart(Part):
    """What the stream reads: a mixture, and how it is cut into steps."""

    sources: tuple[Source, ...] = Field(min_length=1, description="folders or URIs of shards, as in a mixture")
    temperature: float | None = Field(None, ge=1)
    balance: str | None = None
    changes: tuple[Change, ...] = ()
    budget: str | int = Field("300s", description="of a micro-batch, padding included")
    micro_batches: int = Field(8, ge=1, description="of a global step, over all ranks")
    window: int = Field(20, ge=1, description="shards that are shuffled together")
    pack: bool = Field(False, description="texts of a micro-batch end to end, instead of padded")
    num_workers: int = Field(2, ge=0)
    max_bad: int = Field(100, ge=0, description="samples, of all ranks, that may be unusable before the run stops")
    cache: str | None = None
    cache_gb: float = Field(50, gt=0)
    augment: AugmentPart | None = None
    validation: str | None = Field(None, description="folder or URI of held-out shards")
    validation_samples: int = Field(200, ge=1, description="at most so many of them are transcribed for the WER")
    validation_no_repeat: int = Field(
        0, ge=0, description="no run of so many tokens comes twice in an answer: against loops; 0: plain greedy answers"
    )

    def mixture(self) -> Mixture:
        """The training data as an endless mixture: the number of steps says when to stop."""
        return Mixture(
            sources=self.sources,
            temperature=self.temperature,
            balance=self.balance,
            changes=self.changes,
            epochs=None,
        )


class Objectives(Part):
    """Weights of the losses in their sum; 0 switches one off. Losses of other packages are weighted by their names."""

    model_config = ConfigDict(extra="allow", frozen=True)  # `load` refuses keys that are not losses
    __pydantic_extra__: dict[str, Annotated[float, Field(ge=0)]]

    completion: float = Field(1.0, ge=0, description="what the assistant says, given speech and the text before")
    utterance: float = Field(0.0, ge=0, description="contrastive: a clip finds its text among those of the step")
    word: float = Field(0.0, ge=0, description="contrastive: the sound of a word finds the word")
    reconstruction: float = Field(0.0, ge=0, description="log-mel frames from the states of the text")
    negatives: int = Field(1024, ge=0, description="words of the vocabulary that the contrastive objectives add")
    state_noise: float = Field(0.0, ge=0, description="Gaussian noise on speech embeddings, relative to their size")

    def weight(self, loss: str) -> float:
        """The weight of a loss by its name in the table; 0 where the recipe does not have it."""
        return float(getattr(self, loss, 0.0))


class Optimizer(Part):
    """AdamW, warm-up and cosine."""

    lr: float = Field(5e-5, gt=0)
    lr_of: dict[Literal["encoder", "aligner", "language_model", "heads"], float] = Field(
        default_factory=dict, description="another learning rate of a part"
    )
    weight_decay: float = Field(0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = Field(0.03, ge=0, lt=1, description="share of the steps")
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    final: float = Field(0.0, ge=0, le=1, description="share of the learning rate that the schedule ends at")
    max_grad_norm: float = Field(1.0, gt=0)


class RunPart(Part):
    """How long, how exact, and what is kept."""

    num_epochs: float = Field(1, gt=0)
    max_steps: int | None = Field(None, ge=1, description="ends the run earlier, or later, than num_epochs")
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    parallel: Literal["auto", "ddp", "fsdp"] = Field("auto", description="auto: fsdp on several GPUs, else ddp")
    logging_steps: int = Field(1, ge=1)
    save_steps: int = Field(500, ge=1)
    keep: int = Field(3, ge=1, description="checkpoints; the best is kept beside them")
    validation_steps: int | None = Field(None, ge=1, description="null: with every checkpoint")
    save: Literal["full", "trainable"] = Field("full", description="what the finished model's folder holds")
    tensorboard: bool = True
    wandb: str | None = Field(None, description="project of Weights & Biases")


class TrainRecipe(Part):
    """One stage of training."""

    model: ModelPart = ModelPart()
    data: DataPart
    objectives: Objectives = Objectives()
    optimizer: Optimizer = Optimizer()
    run: RunPart = RunPart()


def identity(recipe: TrainRecipe) -> str:
    """A digest of what must stay the same within a run: model, objectives, optimizer, seed and precision."""
    dumped = recipe.model_dump(mode="json", include={"model", "objectives", "optimizer"})
    parts = {name: _without_later(getattr(recipe, name), part) for name, part in dumped.items()}
    return digest(repr(parts), recipe.run.seed, recipe.run.precision)


def _without_later(part: BaseModel, dumped: Mapping[str, Any]) -> dict[str, Any]:
    """The dumped settings without those that came later and are null, so that older runs keep their identity.

    What a setting maps is in the order of its names, as files of recipes have it.
    """
    kept = {name: _ordered(value) for name, value in dumped.items() if value is not None or name in _FIRST_NULLABLE}
    for name, value in part:
        if isinstance(value, BaseModel):
            kept[name] = _without_later(value, dumped[name])
    return kept


def _ordered(value: Any) -> Any:
    return {name: _ordered(one) for name, one in sorted(value.items())} if isinstance(value, dict) else value


_FIRST_NULLABLE = frozenset(("start", "language_model", "encoder", "lora", "chat_template"))
"""Settings that :func:`identity` has always had, null or not. A new one that changes nothing is null, and left out."""


def load(path: str | None, overrides: Sequence[str] = (), options: Mapping[str, Any] | None = None) -> TrainRecipe:
    """Loads and checks a recipe.

    Args:
        path: A YAML file; None: defaults.
        overrides: KEY=VALUE, which override the file.
        options: Values of command-line options by key; None leaves a key as it is.

    Raises:
        LLaSOError: With file and line of each problem.
    """
    return settings.load(TrainRecipe, path, overrides, options=options, extra_checks=_problems)


def _problems(recipe: TrainRecipe) -> Iterator[Problem]:
    for at, text in problems(recipe.data.mixture()):
        yield ("data", *at), text
    model = recipe.model
    if (model.start is None) == (model.language_model is None):
        yield ("model",), "give either start, a LLaSO model, or language_model (and encoder)"
    if model.start is not None and model.encoder is not None:
        yield ("model", "encoder"), "start has an encoder already"
    if (problem := FUSIONS.problem(model.config.get("fusion", "splice"))) is not None:
        yield ("model", "config", "fusion"), problem
    encoder = model.config.get("audio_config")
    kind = encoder.get("model_type", PRETRAINED) if isinstance(encoder, dict) else PRETRAINED
    if (problem := ENCODERS.problem(kind)) is not None:
        yield ("model", "config", "audio_config", "model_type"), problem
    if model.lora is not None and "language_model" in model.train:
        yield ("model", "lora"), "adapters are for a frozen language model; leave language_model out of train"
    if not model.train and model.lora is None:
        yield ("model", "train"), "nothing is trained"
    yield from _problems_of_objectives(recipe)


def _problems_of_objectives(recipe: TrainRecipe) -> Iterator[Problem]:
    model, objectives = recipe.model, recipe.objectives
    known = list(dict.fromkeys([*Objectives.model_fields, *LOSSES]))
    for name in objectives.model_extra or {}:
        if name not in known:
            yield ("objectives", name), unknown_key(name, known)
    used = in_use(objectives).values()
    if not used:
        yield ("objectives",), "all weights are 0"
    if not any(loss.reaches_speech for loss in used) and set(model.train) & {"encoder", "aligner"}:
        yield ("model", "train"), "no objective of the recipe reaches encoder or aligner"
