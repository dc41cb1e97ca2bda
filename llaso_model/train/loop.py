"""One stage of training, from a recipe to a model: ``llaso-model train``.

    for each global step: collate its micro-batches, count their targets over all ranks, compute the part of the loss
    and the gradient of each, sum the gradients over ranks, step the optimizer.

The samples, the random numbers and the denominators of a step depend on its number alone. So a run that was killed
continues with the same losses, and another number of ranks takes the same steps.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.io import outputs
from llaso_data.stream import Augment, StreamingLoader
from llaso_data.stream.batching import key_of
from llaso_data.stream.planner import Planner, StreamPosition
from llaso_data.whisper.linear import computes_bf16
from llaso_model.configuration import MEL_FRAMES_PER_S, states_of
from llaso_model.train import run_folder
from llaso_model.train.build import learning_rate_factor, trainable_parameters
from llaso_model.train.checkpoint import CHECKPOINTS_FOLDER, Checkpoints, TrainProgress
from llaso_model.train.collate import TrainBatch
from llaso_model.train.config import DataPart, TrainRecipe, identity
from llaso_model.train.distributed import rank_context, sum_gradients
from llaso_model.train.export import export
from llaso_model.train.log import BAD_FILE, TrainLog
from llaso_model.train.losses import LOSSES, StepContext, StepTargets, counts_of
from llaso_model.train.module import TrainingModule
from llaso_model.train.run import TrainingRun, prepare_run
from llaso_model.train.validate import Validation


def train(recipe: TrainRecipe, out: str) -> dict[str, Any]:
    """Trains to the end, from the last checkpoint where there is one.

    Args:
        recipe: The recipe.
        out: Folder of the run, which all ranks see.

    Returns:
        The record of the last step.

    Raises:
        LLaSOError: The folder belongs to something else, or training cannot continue.
    """
    folder = outputs.on_disk(out, "a run of training")
    if recipe.run.wandb is not None:
        require("run.wandb", "wandb")
    with rank_context(recipe.run.parallel) as context, run_folder.locked(folder, recipe, context):
        if recipe.run.precision == "bf16" and context.is_leader and not computes_bf16(context.device):
            print("This CPU has no bfloat16: run.precision=fp32 is several times as fast", file=sys.stderr, flush=True)
        loader = loader_of(recipe.data, recipe.run.seed, context.rank, context.world_size)
        run = prepare_run(recipe, context, steps_of(recipe, loader.plan))
        checkpoints = Checkpoints(folder / CHECKPOINTS_FOLDER, context, recipe.run.keep)
        progress = checkpoints.last()
        _check(progress, recipe)
        checkpoints.load(run.module, run.optimizer, progress)
        if progress.stream:
            loader.load_state_dict(progress.stream)
        validation = Validation(recipe.data, run.processor, context)
        record: dict[str, Any] = {}
        bad = set(progress.bad)
        flops = flops_of(run.module, recipe)
        with closing(TrainLog(folder, context, recipe, progress.step, run.steps, flops)) as log:
            if progress.step and validation.due(progress.step, recipe.run.validation_steps, True):
                # The run may have been stopped between saving and validating, or before the result was noted.
                logged = log.validation_of(progress.step)
                value = _validate(run, validation, log, progress.step) if logged is None else logged.get("value")
                checkpoints.note(progress.step, value)
            waiting = time.perf_counter()
            for number, batches, stream in upcoming(loader, run, progress.step):
                waited_s = time.perf_counter() - waiting
                record = step(run, number, batches)
                checkpoints.poll()
                _note_bad(bad, record, batches, run, log)
                log.step(record, batches, waited_s)
                done = number + 1
                saves = done % recipe.run.save_steps == 0 or done == run.steps
                if saves:  # before validation, which takes long
                    reached = TrainProgress(done, stream, None, identity(recipe), tuple(sorted(bad)))
                    checkpoints.save(run.module, run.optimizer, reached)
                if validation.due(done, recipe.run.validation_steps, saves):
                    value = _validate(run, validation, log, done)
                    if saves:
                        checkpoints.note(done, value)
                waiting = time.perf_counter()
            checkpoints.finish()
        export(run, folder)
    return record


def _validate(run: TrainingRun, validation: Validation, log: TrainLog, done: int) -> float | None:
    """Validates and logs the result. Returns the value that checkpoints are compared by."""
    metrics = validation(run)
    log.bad(done, validation.replaced)
    log.validation(done, metrics)
    return metrics.get("value")


def initial_validation(recipe: TrainRecipe) -> dict[str, float]:
    """What validation measures before the first step."""
    with rank_context(recipe.run.parallel) as context:
        run = prepare_run(recipe, context, 1)
        return Validation(recipe.data, run.processor, context)(run)


def step(run: TrainingRun, number: int, batches: list[TrainBatch]) -> dict[str, Any]:
    """Takes one step of the optimizer.

    Args:
        run: The run.
        number: Of the step, from 0.
        batches: This rank's micro-batches of the step.

    Returns:
        The step's record.

    Raises:
        LLaSOError: The loss or the gradient is not finite.
    """
    run.optimizer.zero_grad(set_to_none=True)
    sums, targets = gradients(run, number, batches)
    parameters = [value for _, value in trainable_parameters(run.module)]
    norm = nn.utils.clip_grad_norm_(parameters, run.recipe.optimizer.max_grad_norm)
    norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
    share = learning_rate_factor(run.recipe.optimizer, number, run.steps)
    _refuse_infinite(run, number, batches, sums, float(norm))
    bases = [group["lr"] for group in run.optimizer.param_groups]
    for group, base in zip(run.optimizer.param_groups, bases, strict=True):
        group["lr"] = base * share
    run.optimizer.step()
    for group, base in zip(run.optimizer.param_groups, bases, strict=True):
        group["lr"] = base
    return {
        "step": number + 1,
        **losses_of(run, sums, targets),
        "grad_norm": float(norm),
        "lr": max(bases) * share,
        "replaced": int(targets.counts["replaced"]),
    }


def gradients(run: TrainingRun, number: int, batches: list[TrainBatch]) -> tuple[dict[str, float], StepTargets]:
    """Computes the gradient of a whole step, summed over ranks, into the parameters.

    Returns:
        Sums of losses and measures over all ranks by name, and the targets with the counts that divide them.
    """
    targets = targets_of(run, number, batches)
    sums: dict[str, torch.Tensor] = {}
    for batch in batches:
        torch.manual_seed(key_of("dropout", run.recipe.run.seed, number, batch.micro_batch) % 2**63)
        with run.compute:
            loss, own = run.module(batch.to(run.context.device), targets)
        if loss.requires_grad:  # text alone may reach nothing that is trained
            loss.backward()
        for name, value in own.items():
            sums[name] = (
                sums.get(name, 0.0) + value.detach().float()
            )  # converted to a number only at the end, so that a GPU need not wait
    sum_gradients([value for _, value in trainable_parameters(run.module)], run.context)
    return run.context.all_reduce_sum({name: float(value) for name, value in sums.items()}), targets


def targets_of(run: TrainingRun, number: int, batches: list[TrainBatch]) -> StepTargets:
    """The targets of the whole step, and its counts over all ranks."""
    objectives = run.recipe.objectives
    step = StepContext(
        number, run.recipe.run.seed, run.processor.tokenizer, objectives, run.negative_words, run.context.all_gather
    )
    by_loss = {name: loss.targets(batches, step) for name, loss in run.module.losses.items()}
    return StepTargets(by_loss, run.context.all_reduce_sum(counts_of(batches, objectives)))


def losses_of(run: TrainingRun, sums: dict[str, float], targets: StepTargets) -> dict[str, float]:
    """Means of losses and measures over the step by name, and ``loss``, the weighted sum of losses."""
    means = {name: total / count if (count := targets.counts[name]) else 0.0 for name, total in sums.items()}
    weights = run.recipe.objectives
    return {**means, "loss": sum(weights.weight(name) * value for name, value in means.items() if name in LOSSES)}


def flops_of(module: TrainingModule, recipe: TrainRecipe) -> tuple[float, float]:
    """Operations for a mel frame in the encoder and for a token in the language model, without attention scores.

    Each weight counts 2 operations in the forward, 2 for the gradient of the input where it is needed, and 2 for the
    gradient of the weight where it is trained.
    """
    model = module.model
    states = float(states_of(MEL_FRAMES_PER_S, model.config.audio_config)) / MEL_FRAMES_PER_S
    encoder = sum(value.numel() for value in model.audio_tower.parameters())
    language = sum(value.numel() for value in model.language_model.get_decoder().layers.parameters())
    per_frame = encoder * states * (6 if "encoder" in recipe.model.train else 2)
    per_token = language * (6 if "language_model" in recipe.model.train else 4)
    return per_frame, per_token if recipe.objectives.completion else 0.0


def loader_of(data: DataPart, seed: int, rank: int, world_size: int) -> StreamingLoader:
    """The training data as an endless stream."""
    augment = None
    if data.augment is not None:
        augment = Augment(**data.augment.model_dump())
    return StreamingLoader(
        data.mixture(),
        data.budget,
        seed=seed,
        micro_batches=data.micro_batches,
        rank=rank,
        world_size=world_size,
        num_workers=data.num_workers,
        window=data.window,
        pack=data.pack,
        max_bad=data.max_bad,
        cache=data.cache,
        cache_bytes=round(data.cache_gb * 1e9),
        augment=augment,
    )


def steps_of(recipe: TrainRecipe, plan: Planner) -> int:
    """Global steps of the run: ``run.max_steps``, else ``run.num_epochs`` times the steps of the first epoch."""
    if recipe.run.max_steps is not None:
        return recipe.run.max_steps
    steps_per_epoch = sum(plan.window(StreamPosition(window=number)).steps for number in range(plan.windows_per_epoch))
    return max(1, round(recipe.run.num_epochs * steps_per_epoch))


_Step = tuple[int, list[TrainBatch], dict[str, Any]]


def upcoming(loader: StreamingLoader, run: TrainingRun, first: int) -> Iterator[_Step]:
    """The remaining steps of the run, each prefetched while the one before is taken.

    Args:
        loader: The training data.
        run: The run.
        first: Number of the first step.

    Yields:
        Number of the step, this rank's micro-batches, and the state of the stream after it.
    """
    loader.transform = run.collator
    steps = _steps(loader, run, first)
    with ThreadPoolExecutor(1) as thread:
        following = thread.submit(next, steps, None)
        while (step := following.result()) is not None:
            following = thread.submit(next, steps, None)
            yield step


def _steps(loader: StreamingLoader, run: TrainingRun, first: int) -> Iterator[_Step]:
    if first >= run.steps:
        return
    batches: list[TrainBatch] = []
    for batch in loader:
        batches.append(replace(batch.made, replaced=batch.replaced))
        if batch.after is not None:
            yield batch.step, batches, loader.state_dict()
            batches = []
            if batch.step + 1 >= run.steps:
                return


def _note_bad(
    bad: set[str], record: dict[str, Any], batches: list[TrainBatch], run: TrainingRun, log: TrainLog
) -> None:
    """Logs the step's bad samples of all ranks and adds them to those of the run.

    Raises LLaSOError, on all ranks, where they are more than the recipe's ``max_bad``.
    """
    if record.pop("replaced"):  # a sum over ranks: all of them come here, or none
        own = [sample for batch in batches for sample in batch.replaced]
        replaced = [sample for of_rank in run.context.all_gather(own) for sample in of_rank]
        log.bad(record["step"], replaced)
        bad.update(f"{one.bad.shard.rpartition('/')[2]}:{one.bad.key}" for one in replaced)
        max_bad = run.recipe.data.max_bad
        if len(bad) > max_bad:
            last = replaced[-1].bad
            raise LLaSOError(
                f"{len(bad)} samples were bad, more than data.max_bad={max_bad}; the last: {last.key} in {last.shard}: "
                f"{last.reason}. {BAD_FILE} names them, `llaso-data validate` what is damaged. A larger data.max_bad "
                "goes on"
            )
    record["bad_samples"] = len(bad)


def _check(progress: TrainProgress, recipe: TrainRecipe) -> None:
    if progress.recipe and progress.recipe != identity(recipe):
        raise LLaSOError(
            "the output folder has checkpoints of another recipe (model, objectives, optimizer, seed or precision "
            "differ); give another --output-dir"
        )


def _refuse_infinite(
    run: TrainingRun, number: int, batches: list[TrainBatch], sums: dict[str, float], norm: float
) -> None:
    """Raises LLaSOError, on all ranks, where the step's loss or gradient is not finite. It names the samples."""
    total = torch.tensor([*sums.values(), norm])
    if bool(torch.isfinite(total).all()):
        return
    suspects: list[str] = []
    targets = targets_of(run, number, batches)
    for batch in batches:
        with torch.no_grad(), run.compute:
            loss, _ = run.module(batch.to(run.context.device), targets)
        if not bool(torch.isfinite(loss)):
            suspects += batch.keys
    named = [key for own in run.context.all_gather(suspects) for key in own]
    shown = ", ".join(named[:16]) if named else "none by itself: the gradient overflowed"
    raise LLaSOError(
        f"step {number + 1}: loss or gradient is not finite; samples of the micro-batches at fault: {shown}"
    )
