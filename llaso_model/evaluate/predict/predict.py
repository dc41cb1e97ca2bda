"""``llaso-model evaluate``: a model's answers to all samples, as one file that does not depend on how it was run.

    plan       which samples share a batch, under which condition: a function of the data and the options
    predict    writes one part file for each batch, its answers; a finished part file is never written again
    join       joins all part files, in the plan's order, to predictions.jsonl

Batches are assigned to ranks by number, and the answers to a batch do not depend on the rank. So runs that were killed,
and runs of any number of ranks, end with the same bytes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, outputs, storage
from llaso_data.io.hub import checkpoint, weights_digest
from llaso_data.records import digest
from llaso_data.shards.layout import canonical
from llaso_data.stream.batching import key_of, padded
from llaso_data.stream.budget import Budget
from llaso_data.stream.fetch import BadSample
from llaso_data.stream.loader import placed
from llaso_data.text import surrogates
from llaso_data.uris import escaped
from llaso_model import generation
from llaso_model.conversations import text_of
from llaso_model.device import own_device
from llaso_model.evaluate import score
from llaso_model.evaluate.conditions import Condition, load_noise, noise_name, noise_sweep, sample_key, variants
from llaso_model.evaluate.datasets import fields, files, tasks
from llaso_model.evaluate.datasets.eval_samples import EvalSample, EvalSamples, map_audio
from llaso_model.evaluate.datasets.open_samples import open_samples
from llaso_model.train.run_folder import MODEL_FOLDER

FORMAT, FORMAT_VERSION = "llaso-evaluation", 1
RUN, PARTS = files.RUN, "predictions"
_BY = "llaso-model evaluate"
_TEMPLATES = ("chat_template.jinja", "processor_config.json")  # beside what weights_digest reads
_PROGRESS_EVERY_S = 10.0
_LOOK_EVERY_S, _ASK_EVERY_S = 0.5, 5.0  # on a disk, of a store

OnProgress = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The settings of an evaluation. ``docs/evaluate.md`` explains the options of these names."""

    model: str
    data: str
    system: str | None = None
    task: tuple[str, ...] = ()
    tasks: str | None = None
    budget: str = "120s"
    max_new_tokens: int = 256
    num_beams: int = 1
    precision: str | None = None
    noise_sweep: str | None = None
    noise: str = "speech"
    variants: bool = False
    seed: int = 0
    language: str | None = None
    audio: str | None = None

    @property
    def name(self) -> str:
        """The system's name. Default: the last part of the path; of a model that training wrote, the run's folder."""
        folder, last = os.path.split(os.path.abspath(self.model))
        return self.system or (os.path.basename(folder) if last == MODEL_FOLDER else last)

    @property
    def effective_precision(self) -> str:
        """The precision of weights and arithmetic. Default: ``bf16`` on a GPU, else ``fp32``."""
        return self.precision or ("bf16" if own_device().type == "cuda" else "fp32")


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """Samples that are asked together, whose answers are one part file.

    Attributes:
        condition: The condition that is applied to their sound; None: none.
        numbers: The samples' numbers in the data.
    """

    condition: Condition | None
    numbers: tuple[int, ...]


def predict(settings: Evaluation, out: str, on_progress: OnProgress = lambda line: None) -> None:
    """Answers the batches of this rank that have no part file yet.

    Args:
        settings: The model, the data and the options.
        out: Folder or URI of the run; all ranks have the same.
        on_progress: Called with a line about progress, on rank 0 every ten seconds.

    Raises:
        LLaSOError: The model, the data or an option cannot be used; or ``out`` has files of another run or command.
    """
    _refuse_foreign(out)
    rank, world_size = placed(None, None)
    folder = checkpoint("MODEL", settings.model, None, kind="llaso")
    samples = open_samples(settings.data, tasks.load(settings.tasks), settings.task, settings.language, settings.audio)
    if rank == 0:
        for task, count in samples.not_asked.items():
            on_progress(f"{count:,} samples of {task} are not asked: their answers are speech, which is not scored")
    conditions, noise_digest = _conditions(settings)
    plan = plan_batches(samples, Budget.of(settings.budget), conditions)
    _claim_folder(
        storage.join(out, RUN),
        {
            **_identity(settings, folder),
            "data": samples.digest,
            "samples": len(samples),
            "conditions": list(conditions),
            "noise": noise_digest,
            "parts": len(plan),
        },
    )
    finished = _finished_parts(out)
    todo = [number for number in range(rank, len(plan), world_size) if _part_path(out, number) not in finished]
    if not todo:
        return
    answer = _load_answerer(folder, settings)
    last_progress_s = time.monotonic()
    for done, number in enumerate(todo, 1):
        lines = _answer_batch(plan[number], samples, settings.name, answer)
        _write_part(out, number, lines)
        if rank == 0 and (time.monotonic() - last_progress_s > _PROGRESS_EVERY_S or done == len(todo)):
            last_progress_s = time.monotonic()
            on_progress(f"{done:,} of {len(todo):,} batches answered{'' if world_size == 1 else ' by rank 0'}")


def plan_batches(samples: EvalSamples, budget: Budget, conditions: dict[str, Condition]) -> list[PlannedBatch]:
    """Plans batches of samples of like cost: all samples as they are, then all of them again under each condition.

    Args:
        samples: The data.
        budget: What a batch may cost, padding included. A sample that costs more is asked alone.
        conditions: Conditions by tag.

    Raises:
        LLaSOError: There are no samples.
    """
    if not len(samples):
        raise LLaSOError("there is nothing to ask: the data has no samples of these tasks")
    costs = np.minimum(samples.costs(budget), budget.limit)
    assignment = padded(costs, budget.limit, key_of("evaluation"), 1)
    batches = [tuple(assignment.samples(batch_number).tolist()) for batch_number in assignment.schedule[:, 0].tolist()]
    return [PlannedBatch(condition, batch) for condition in (None, *conditions.values()) for batch in batches]


def join_parts(out: str, on_progress: OnProgress = lambda line: None) -> tuple[str, list[str]]:
    """Waits for the part files of all ranks and joins them to ``predictions.jsonl``.

    Args:
        out: Folder or URI of the run.
        on_progress: Called with a line where parts are missing.

    Returns:
        (the path of ``predictions.jsonl``, a line for each sample that was not asked, with the reason).

    Raises:
        LLaSOError: The folder has no run, no sample could be asked, or a part file is damaged.
    """
    run = _read_run(storage.join(out, RUN))
    parts = [_part_path(out, number) for number in range(run["parts"])]
    _await(out, parts, on_progress)
    storage.sweep(storage.join(out, PARTS))
    answered, skipped = [], []
    for path in parts:
        for line in files.json_rows(path, storage.read_bytes(path)):
            row = checksums.opened(line, path, "; remove it and run llaso-model evaluate again")
            if "skipped" in row:
                skipped.append(f"{row['id']}: {row['skipped']}")
            else:
                answered.append(canonical(row) + b"\n")
    if not answered:
        raise LLaSOError(f"no sample could be asked; {skipped[0]}")
    predictions_path = storage.join(out, files.PREDICTIONS)
    storage.write_bytes(predictions_path, data := b"".join(answered))
    checksums.write_json(storage.join(out, RUN), {**run, "files": {files.PREDICTIONS: checksums.of_bytes(data)}})
    return predictions_path, skipped


def _await(out: str, parts: Sequence[str], on_progress: OnProgress) -> None:
    """Returns once all part files are there. ``out`` is on a disk or a store."""
    missing = len(set(parts) - _finished_parts(out))
    if missing:
        on_progress(f"waiting for {missing:,} batches of other ranks")
    while missing:
        time.sleep(_LOOK_EVERY_S if storage.is_local(out) else _ASK_EVERY_S)
        missing = len(set(parts) - _finished_parts(out))


def _finished_parts(out: str) -> set[str]:
    """The part files that are written, by one listing."""
    folder = storage.join(out, PARTS)
    return {storage.join(folder, row["path"]) for row in storage.listing(folder)}


def predict_on_ray(settings: Evaluation, out: str, workers: int, address: str | None) -> None:
    """Answers all batches on a Ray cluster.

    Args:
        settings: The model, the data and the options.
        out: Folder or URI that every worker sees.
        workers: Processes, one for each GPU.
        address: Address of the cluster; None: a local one is started.
    """
    from llaso_model.train.launch import on_ray as run_on_ray

    run_on_ray(_worker, {"evaluation": asdict(settings)}, out, workers, address, "evaluation")


def _worker(config: dict[str, Any]) -> None:
    predict(Evaluation(**config["evaluation"]), config["out"], print)


def _answer_batch(
    batch: PlannedBatch, samples: EvalSamples, system: str, answer: Callable[[list[EvalSample]], list[str | BadSample]]
) -> list[dict[str, Any]]:
    """The lines of a part file: answers, then samples that could not be asked."""
    read = samples.read(batch.numbers)
    broken = [_broken_sample(sample) for sample in read if isinstance(sample, EvalSample) and _is_broken(sample)]
    askable = [sample for sample in read if isinstance(sample, EvalSample) and not _is_broken(sample)]
    asked = [apply_condition(batch.condition, sample) for sample in askable]
    answers = answer(asked) if asked else []
    lines = [
        {**_prediction_line(sample), "system": system, "answer": surrogates.replace_lone_surrogates(answer_text)}
        for sample, answer_text in zip(asked, answers, strict=True)
        if isinstance(answer_text, str)
    ]
    unasked = [sample for sample in (*read, *broken, *answers) if isinstance(sample, BadSample)]
    bad = [{"id": sample.key, "skipped": f"{sample.shard}: {sample.reason}"} for sample in unasked]
    return lines + (bad if batch.condition is None else [])


def _is_broken(sample: EvalSample) -> bool:
    """Whether a sample has text that no tokenizer and no file can take."""
    texts = [text_of(message) for message in sample.messages]
    return fields.contains_lone_surrogate([sample.id, sample.line, texts])


def _broken_sample(sample: EvalSample) -> BadSample:
    why = "half of a surrogate pair in its text or reference; write them from whole characters"
    return BadSample(escaped(sample.id), escaped((sample.line["audio"] or [sample.id])[0]), why)


def _prediction_line(sample: EvalSample) -> dict[str, Any]:
    prompt = "\n".join(text for message in sample.messages if (text := text_of(message)))
    line = {"id": sample.id, "prompt": prompt, **sample.line}
    return {name: value for name, value in line.items() if value not in (None, [], {})}


def apply_condition(condition: Condition | None, sample: EvalSample) -> EvalSample:
    """Applies a condition to the sound of a sample. The random draw depends on the sample's id, not on its batch."""
    if condition is None:
        return sample
    key = sample_key(sample.id)
    messages = map_audio(sample.messages, lambda sound: condition.apply(sound, key))
    line = {
        **sample.line,
        "tags": [*sample.line.get("tags", ()), condition.tag],
        "seed": condition.seed,
        "noise": condition.noise,
    }
    return replace(sample, id=f"{sample.id}@{condition.tag}", messages=messages, line=line)


def _conditions(settings: Evaluation) -> tuple[dict[str, Condition], str | None]:
    """(conditions by tag, digest of the noise where there is a sweep)."""
    conditions: list[Condition] = []
    noise_digest = None
    if settings.noise_sweep is not None:
        noise = load_noise(settings.noise)
        noise_digest = digest(noise) if isinstance(noise, str) else noise_name(noise)
        conditions += noise_sweep(settings.noise_sweep, noise, settings.seed)
    if settings.variants:
        conditions += variants(seed=settings.seed)
    return {condition.tag: condition for condition in conditions}, noise_digest


def _identity(settings: Evaluation, folder: str) -> dict[str, Any]:
    """The part of ``run.json`` that names the system and the options."""
    model = weights_digest(folder), *(_bytes_or_empty(os.path.join(folder, name)) for name in _TEMPLATES)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "system": settings.name,
        "model": digest(*model),
        "options": {
            "budget": settings.budget,
            "max_new_tokens": settings.max_new_tokens,
            "num_beams": settings.num_beams,
            "precision": settings.effective_precision,
            "seed": settings.seed,
        },
    }


def _load_answerer(folder: str, settings: Evaluation) -> Callable[[list[EvalSample]], list[str | BadSample]]:
    """Loads the model. Returns a function that gives its answers, or for a sample that it cannot take the reason."""
    loaded = generation.load(folder, precision=settings.effective_precision)

    def answer(samples: Sequence[EvalSample]) -> list[str | BadSample]:
        refused = [loaded.refusal(sample.messages) for sample in samples]
        taken = [sample.messages for sample, reason in zip(samples, refused, strict=True) if reason is None]
        limits = {"max_new_tokens": settings.max_new_tokens, "num_beams": settings.num_beams}
        answered = iter(loaded.answer(taken, **limits) if taken else ())
        return [
            next(answered) if reason is None else BadSample(sample.id, (sample.line["audio"] or [sample.id])[0], reason)
            for sample, reason in zip(samples, refused, strict=True)
        ]

    return answer


def _refuse_foreign(out: str) -> None:
    """Raises LLaSOError where a file under a run's names is not a run's. It is called before anything is asked."""
    # In this order: another rank may be beginning, and it writes the parts last.
    names = [PARTS] if storage.listing(storage.join(out, PARTS)) else []
    names += [files.PREDICTIONS] if outputs.is_there(storage.join(out, files.PREDICTIONS)) else []
    outputs.refuse(storage.join(out, RUN), _BY, outputs.json_of(FORMAT))
    if names and not storage.exists(storage.join(out, RUN)):
        raise outputs.foreign(storage.join(out, names[0]), _BY)
    score.refuse_foreign(out, _BY)


def _claim_folder(path: str, run: dict[str, Any]) -> None:
    """Writes ``run.json``. Raises LLaSOError where the folder has that of another run."""
    try:
        known = _read_run(path)
    except FileNotFoundError:
        checksums.write_json(path, run)
        return
    if other := [name for name, value in run.items() if known.get(name) != value]:
        raise LLaSOError(
            f"{path.rpartition('/')[0]} has predictions of another run: {', '.join(other)} differ; give another --out"
        )


def _write_part(out: str, number: int, lines: Sequence[dict[str, Any]]) -> None:
    storage.write_bytes(_part_path(out, number), b"".join(canonical(checksums.sealed(line)) + b"\n" for line in lines))


def _read_run(path: str) -> dict[str, Any]:
    """Reads ``run.json``. Raises LLaSOError where it cannot be read, and FileNotFoundError where there is none."""
    try:
        known: dict[str, Any] = checksums.read_json(path, "; remove it and run llaso-model evaluate again")
        return known
    except ValueError as error:
        raise LLaSOError(f"{path} is not what llaso-model evaluate writes ({error}); give another --out") from error


def _part_path(out: str, number: int) -> str:
    return storage.join(out, PARTS, f"part-{number:05d}.jsonl")


def _bytes_or_empty(path: str) -> bytes:
    return storage.read_bytes(path) if os.path.exists(path) else b""
