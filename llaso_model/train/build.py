"""Builds what a recipe trains: model, processor, trainable weights and the optimizer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, outputs
from llaso_data.io.hub import checkpoint, loading, pretrained
from llaso_model.chat_format import PLAIN_TEMPLATE
from llaso_model.configuration import LLaSOConfig
from llaso_model.encoders import ENCODERS, FROM_SCRATCH, PRETRAINED, loadable_encoders
from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
from llaso_model.processing import LLaSOProcessor
from llaso_model.registration import register
from llaso_model.train.config import Lora, ModelPart, Optimizer, TrainRecipe
from llaso_model.train.losses import LOSSES, LOSSES_FOLDER
from llaso_model.train.module import TrainingModule

TRAINING_FILE = "training.json"


def load_model(part: ModelPart, seed: int) -> tuple[Any, LLaSOProcessor]:
    """Loads or builds the model of a recipe.

    Args:
        part: The recipe's ``model``.
        seed: For new weights.

    Returns:
        The model in float32, and its processor.

    Raises:
        LLaSOError: A checkpoint is missing, damaged or of another kind.
    """
    register()
    transformers.utils.logging.disable_progress_bar()
    torch.manual_seed(seed)
    if part.start is not None:
        folder = checkpoint("model.start", part.start, None, kind="llaso")
        model = pretrained(LLaSOForConditionalGeneration, "model.start", part.start, folder, dtype=torch.float32)
        with loading("model.start", part.start):
            processor = LLaSOProcessor.from_pretrained(folder)
        if part.chat_template is not None:
            processor.chat_template = _template(part.chat_template)
        model.stop_at(processor.stop_tokens())
        return model, processor
    from transformers import AutoConfig, AutoTokenizer

    assert part.language_model is not None
    language_model = checkpoint("model.language_model", part.language_model, None)
    with loading("model.language_model", part.language_model):
        tokenizer = AutoTokenizer.from_pretrained(language_model)
    values = {"max_audio_length": part.max_audio_length, **part.config}
    encoder = None
    if part.encoder is not None:
        encoder = checkpoint("model.encoder", part.encoder, None, kind=loadable_encoders())
        values["audio_config"] = AutoConfig.from_pretrained(encoder)
        if values["audio_config"].model_type == PRETRAINED:
            values.setdefault("whisper", part.encoder)
    elif "audio_config" not in values:
        values["audio_config"] = {"model_type": FROM_SCRATCH}
    config = LLaSOConfig(**values, text_config=AutoConfig.from_pretrained(language_model))
    features = ENCODERS[config.audio_config.model_type].features(config.audio_config)
    processor = LLaSOProcessor(
        features,
        tokenizer,
        chat_template=_template(part.chat_template or ("" if tokenizer.chat_template else "plain")),
        stack=config.stack,
        max_audio_length=config.max_audio_length,
        tail_s=config.tail_s,
        encoder=config.audio_config.to_dict(),
        fusion=config.fusion,
    )
    config.audio_token_id = processor.audio_token_id
    model = LLaSOForConditionalGeneration.from_parts(config, encoder, language_model, dtype=torch.float32)
    model.stop_at(processor.stop_tokens())
    return model, processor


def _template(text: str) -> str | None:
    return PLAIN_TEMPLATE if text == "plain" else text or None


def training_module(recipe: TrainRecipe, model: Any) -> TrainingModule:
    """The model with the losses of a recipe. Weights that the recipe does not train are frozen."""
    part = recipe.model
    model.requires_grad_(False)
    for name, own in parts_of(model).items():
        own.requires_grad_(name in part.train)
    if part.lora is not None:
        add_lora(model, part.lora)
    # Where the model was loaded from: `start` may be an id of the hub.
    module = TrainingModule(model, recipe, None if part.start is None else model.name_or_path)
    if part.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    return module


def parts_of(model: Any) -> dict[str, nn.Module]:
    """The parts of a model by their names in a recipe's ``model.train``."""
    return {"encoder": model.audio_tower, "aligner": model.aligner, "language_model": model.language_model}


def add_lora(model: Any, lora: Lora) -> None:
    """Adds adapters to the language model, in place. At first they change nothing."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=list(lora.targets), bias="none"
    )
    try:
        inject_adapter_in_model(config, model.language_model)
    except ValueError as error:
        raise LLaSOError(f"model.lora.targets: {error}") from error


def fold_lora(model: Any) -> None:
    """Adds the adapters' products to their weights and removes the adapters, in place."""
    from peft.tuners.lora import LoraLayer

    for name, module in list(model.language_model.named_modules()):
        if isinstance(module, LoraLayer):
            module.merge(safe_merge=True)
            above, _, last = name.rpartition(".")
            setattr(model.language_model.get_submodule(above), last, module.get_base_layer())


def blocks_of(model: Any) -> list[nn.Module]:
    """The repeated blocks of encoder and language model. Each is sharded and compiled by itself."""
    encoder = ENCODERS[model.config.audio_config.model_type].blocks(model.audio_tower)
    return [*encoder, *model.language_model.get_decoder().layers]


def part_of(name: str) -> str:
    """The part of a recipe that a parameter of the training module belongs to, by the parameter's name."""
    for part, prefix in (
        ("encoder", "model.audio_tower."),
        ("aligner", "model.aligner."),
        ("language_model", "model.language_model."),
    ):
        if name.startswith(prefix):
            return part
    return "heads"


def optimizer_of(module: nn.Module, settings: Optimizer) -> torch.optim.AdamW:
    """AdamW with a parameter group for each part's learning rate. Vectors and scalars have no weight decay."""
    groups: dict[tuple[str, bool], list[nn.Parameter]] = {}
    for name, value in trainable_parameters(module):
        groups.setdefault((part_of(name), value.ndim > 1), []).append(value)
    on_gpu = all(value.is_cuda for values in groups.values() for value in values)
    return torch.optim.AdamW(
        [
            {
                "params": values,
                "lr": settings.lr_of.get(part, settings.lr),  # type: ignore[call-overload]
                "weight_decay": settings.weight_decay if decays else 0.0,
            }
            for (part, decays), values in groups.items()
        ],
        betas=settings.betas,
        foreach=False,  # so that arithmetic does not depend on how tensors are sharded
        fused=on_gpu,  # else hundreds of adapters take thousands of kernels
    )


def learning_rate_factor(settings: Optimizer, step: int, steps: int) -> float:
    """The factor of the learning rate in step number ``step`` (from 0) of ``steps``: warm-up, then the schedule."""
    warmup = round(settings.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, steps - warmup))
    decay = 1 - progress if settings.schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    return settings.final + (1 - settings.final) * decay


def trainable_parameters(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Names and values of the parameters that have a gradient."""
    return ((name, value) for name, value in module.named_parameters() if value.requires_grad)


def save_model(
    folder: Path,
    model: Any,
    processor: LLaSOProcessor,
    module: TrainingModule | None = None,
    recipe: TrainRecipe | None = None,
) -> None:
    """Writes a model's folder for ``from_pretrained`` and for another stage's ``model.start``. It appears whole.

    A folder of that name is replaced: callers check before whether it may be. The saved ``generate`` stops where the
    chat template ends a turn.

    Args:
        folder: Its path.
        model: The speech-language model.
        processor: Its processor.
        module: Its training module, for what losses learn beside the model; None: nothing of that.
        recipe: The recipe that trained it, which is written beside; None: none is.
    """
    model.stop_at(processor.stop_tokens())
    with outputs.whole_folder(folder) as part:
        model.save_pretrained(part)
        processor.save_pretrained(part)
        if module is not None and module.loss_modules:
            (part / LOSSES_FOLDER).mkdir()
            for name, loss in module.loss_modules.items():
                LOSSES[loss].save(getattr(module, name), part / LOSSES_FOLDER)
        if recipe is not None:
            (part / TRAINING_FILE).write_text(recipe.model_dump_json(indent=1))
        checksums.note_folder(part)
