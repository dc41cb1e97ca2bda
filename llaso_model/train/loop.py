"""One stage of training, from a recipe to a model: ``llaso-model train``.

    for each global step: its micro-batches are collected, what they have of everything is counted over all ranks,
    each gives its part of the loss and of the gradient, the optimizer steps.

Which samples a step has, what is drawn in it, and what it is divided by depend on the step alone. So a run that was
killed goes on with the same losses, and another number of ranks takes the same steps.
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
from llaso_model.configuration import MEL_FRAMES_PER_S, states_of
from llaso_model.device import computes_bf16
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
    """Trains to the end, from the last checkpoint in ``out`` where there is one; returns the last step's record.

    Raises LLaSOError where the folder is not the run's to write to, and where training cannot go on.
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
                # The run may have been stopped after it saved, and before it had validated or noted that.
                told = log.validation_of(progress.step)
                value = _validate(run, validation, log, progress.step) if told is None else told.get("value")
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
                if saves:  # first: validation takes long, and what was trained is not to be lost in it
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
    """What the held-out samples say after so many steps, in the log; the value that checkpoints are compared by."""
    found = validation(run)
    log.bad(done, validation.replaced)
    log.validation(done, found)
    return found.get("value")


def initial_validation(recipe: TrainRecipe) -> dict[str, float]:
    """What validation says of the model before any step."""
    with rank_context(recipe.run.parallel) as context:
        run = prepare_run(recipe, context, 1)
        return Validation(recipe.data, run.processor, context)(run)


def step(run: TrainingRun, number: int, batches: list[TrainBatch]) -> dict[str, Any]:
    """One step of the optimizer with this rank's micro-batches of it; the step's record. Raises LLaSOError."""
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
    """The gradient of a whole step, summed over ranks, in the parameters; and the sums that its losses are made of."""
    targets = targets_of(run, number, batches)
    sums: dict[str, torch.Tensor] = {}
    for batch in batches:
        torch.manual_seed(key_of("dropout", run.recipe.run.seed, number, batch.micro_batch) % 2**63)
        with run.compute:
            loss, own = run.module(batch.to(run.context.device), targets)
        if loss.requires_grad:  # text alone may reach nothing that is trained
            loss.backward()
        for name, value in own.items():
            sums[name] = sums.get(name, 0.0) + value.detach().float()  # a number only once: a GPU need not wait
    sum_gradients([value for _, value in trainable_parameters(run.module)], run.context)
    return run.context.all_reduce_sum({name: float(value) for name, value in sums.items()}), targets


def targets_of(run: TrainingRun, number: int, batches: list[TrainBatch]) -> StepTargets:
    """The texts of the whole step, and how much it has of everything."""
    objectives = run.recipe.objectives
    step = StepContext(
        number, run.recipe.run.seed, run.processor.tokenizer, objectives, run.negative_words, run.context.all_gather
    )
    by_loss = {name: loss.targets(batches, step) for name, loss in run.module.losses.items()}
    return StepTargets(by_loss, run.context.all_reduce_sum(counts_of(batches, objectives)))


def losses_of(run: TrainingRun, sums: dict[str, float], targets: StepTargets) -> dict[str, float]:
    """Means over the step: of each loss and each measure of one, by name, and the weighted sum ``loss``."""
    means = {name: total / count if (count := targets.counts[name]) else 0.0 for name, total in sums.items()}
    weights = run.recipe.objectives
    return {**means, "loss": sum(weights.weight(name) * value for name, value in means.items() if name in LOSSES)}


def flops_of(module: TrainingModule, recipe: TrainRecipe) -> tuple[float, float]:
    """Operations for a mel frame in the encoder and a token in the language model, attention's own left out.

    2 for each multiplication of a weight: once forward, once for the gradient of what goes in where one is wanted,
    once for that of the weight where it is trained.
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
    """How many global steps the run has: epochs times the steps of the first one, or what the recipe says."""
    if recipe.run.max_steps is not None:
        return recipe.run.max_steps
    once = sum(plan.window(StreamPosition(window=number)).steps for number in range(plan.windows_per_epoch))
    return max(1, round(recipe.run.num_epochs * once))


_Step = tuple[int, list[TrainBatch], dict[str, Any]]


def upcoming(loader: StreamingLoader, run: TrainingRun, first: int) -> Iterator[_Step]:
    """The rest of the run's steps, each with this rank's micro-batches and where the stream stands after it.

    The next one is made ready while one is taken.
    """
    loader.transform = run.collator
    steps = _steps(loader, run, first)
    with ThreadPoolExecutor(1) as thread:
        coming = thread.submit(next, steps, None)
        while (step := coming.result()) is not None:
            coming = thread.submit(next, steps, None)
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
    """Names the step's bad samples and adds them to those of the run so far, which all ranks know.

    Raises LLaSOError, on all ranks, where they are more than the recipe's ``max_bad``.
    """
    if record.pop("replaced"):  # the sum over ranks: each of them comes here, or none
        own = [one for batch in batches for one in batch.replaced]
        replaced = [one for of_rank in run.context.all_gather(own) for one in of_rank]
        log.bad(record["step"], replaced)
        bad.update(f"{one.bad.shard.rpartition('/')[2]}:{one.bad.key}" for one in replaced)
        most = run.recipe.data.max_bad
        if len(bad) > most:
            last = replaced[-1].bad
            raise LLaSOError(
                f"{len(bad)} samples were bad, more than data.max_bad={most}; the last: {last.key} in {last.shard}: "
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
    """Raises LLaSOError, on all ranks, where the step's loss or gradient is no number, naming the samples."""
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
    told = ", ".join(named[:16]) if named else "none by itself: the gradient overflowed"
    raise LLaSOError(
        f"step {number + 1}: loss or gradient is not finite; samples of the micro-batches at fault: {told}"
    )
