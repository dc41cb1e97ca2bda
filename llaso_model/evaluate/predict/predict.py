"""``llaso-model evaluate``: a model's answers to all questions, as one file that does not depend on how it was made.

    plan       which questions share a batch, under which condition: a function of the data and the options
    predict    each batch's answers become one immutable part; what is there is not made again
    join       all parts, in the plan's order, are predictions.jsonl

Parts are assigned to ranks by number, and a batch is the same whoever computes it: so runs that were killed, and
runs of any number of ranks, end with the same bytes.
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
from llaso_data.uris import escaped
from llaso_model import generation
from llaso_model.conversations import text_of
from llaso_model.device import own_device
from llaso_model.evaluate import score
from llaso_model.evaluate.conditions import Condition, load_noise, noise_name, noise_sweep, sample_key, variants
from llaso_model.evaluate.datasets import fields, files, tasks
from llaso_model.evaluate.datasets.eval_samples import EvalSample, EvalSamples, map_audio, open_samples
from llaso_model.train.run_folder import MODEL_FOLDER

FORMAT, FORMAT_VERSION = "llaso-evaluation", 1
RUN, PARTS = files.RUN, "predictions"
_BY = "llaso-model evaluate"
_TEMPLATES = ("chat_template.jinja", "processor_config.json")  # beside what weights_digest reads
_SAY_EVERY_S = 10.0
_LOOK_EVERY_S, _ASK_EVERY_S = 0.5, 5.0  # on a disk, of a store

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What is asked of whom, and how; ``docs/evaluate.md`` explains the options of these names."""

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
        """The system's: as given, else the model's last part; of what training wrote, the run's."""
        folder, last = os.path.split(os.path.abspath(self.model))
        return self.system or (os.path.basename(folder) if last == MODEL_FOLDER else last)

    @property
    def computed(self) -> str:
        """The precision: as given, else what the device is good at."""
        return self.precision or ("bf16" if own_device().type == "cuda" else "fp32")


@dataclass(frozen=True, slots=True)
class PlannedBatch:
    """One part: questions that share a batch, and the condition that they are heard in; None: as they are."""

    condition: Condition | None
    numbers: tuple[int, ...]


def predict(said: Evaluation, out: str, say: Say = lambda line: None) -> None:
    """Makes this rank's parts in the folder ``out``, those that are not there yet. ``say`` is told how far it is.

    Raises LLaSOError where the model, the data or an option cannot be used, or ``out`` has what is not of this run.
    """
    _refuse_foreign(out)
    rank, world_size = placed(None, None)
    folder = checkpoint("MODEL", said.model, None, kind="llaso")
    questions = open_samples(said.data, tasks.load(said.tasks), said.task, said.language, said.audio)
    conditions, noise_digest = _conditions(said)
    plan = plan_batches(questions, Budget.of(said.budget), conditions)
    _agree(
        storage.join(out, RUN),
        {
            **_identity(said, folder),
            "data": questions.digest,
            "samples": len(questions),
            "conditions": list(conditions),
            "noise": noise_digest,
            "parts": len(plan),
        },
    )
    there = _there(out)
    todo = [number for number in range(rank, len(plan), world_size) if _part(out, number) not in there]
    if not todo:
        return
    answer = _answerer(folder, said)
    told = time.monotonic()
    for done, number in enumerate(todo, 1):
        lines = _answered(plan[number], questions, said.name, answer)
        _write_part(out, number, lines)
        if rank == 0 and (time.monotonic() - told > _SAY_EVERY_S or done == len(todo)):
            told = time.monotonic()
            say(f"{done:,} of {len(todo):,} batches answered{'' if world_size == 1 else ' by rank 0'}")


def plan_batches(questions: EvalSamples, budget: Budget, conditions: dict[str, Condition]) -> list[PlannedBatch]:
    """Every question once in batches of like cost, and all of them again under each condition.

    What costs more than the budget is asked alone.
    """
    if not len(questions):
        raise LLaSOError("there is nothing to ask: the data has no samples of these tasks")
    costs = np.minimum(questions.costs(budget), budget.limit)
    assignment = padded(costs, budget.limit, key_of("evaluation"), 1)
    batches = [tuple(assignment.samples(turn).tolist()) for turn in assignment.schedule[:, 0].tolist()]
    return [PlannedBatch(condition, batch) for condition in (None, *conditions.values()) for batch in batches]


def join_parts(out: str, say: Say = lambda line: None) -> tuple[str, list[str]]:
    """Waits for the parts of all ranks and writes ``predictions.jsonl``: its path, and what was skipped and why."""
    run = _known(storage.join(out, RUN))
    parts = [_part(out, number) for number in range(run["parts"])]
    _await(out, parts, say)
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
    whole = storage.join(out, files.PREDICTIONS)
    storage.write_bytes(whole, data := b"".join(answered))
    checksums.write_json(storage.join(out, RUN), {**run, "files": {files.PREDICTIONS: checksums.of_bytes(data)}})
    return whole, skipped


def _await(out: str, parts: Sequence[str], say: Say) -> None:
    """Returns once all parts are there, on a disk or a store."""
    missing = len(set(parts) - _there(out))
    if missing:
        say(f"{missing:,} batches of other ranks are awaited")
    while missing:
        time.sleep(_LOOK_EVERY_S if storage.is_local(out) else _ASK_EVERY_S)
        missing = len(set(parts) - _there(out))


def _there(out: str) -> set[str]:
    """The parts that are made, by one listing."""
    folder = storage.join(out, PARTS)
    return {storage.join(folder, row["path"]) for row in storage.listing(folder)}


def predict_on_ray(said: Evaluation, out: str, workers: int, address: str | None) -> None:
    """The parts of all ranks on a Ray cluster; ``out`` is seen by all of it."""
    from llaso_model.train.launch import on_ray as run_on_ray

    run_on_ray(_worker, {"evaluation": asdict(said)}, out, workers, address, "evaluation")


def _worker(config: dict[str, Any]) -> None:
    predict(Evaluation(**config["evaluation"]), config["out"], print)


def _answered(
    work: PlannedBatch, questions: EvalSamples, system: str, answer: Callable[[list[EvalSample]], list[str | BadSample]]
) -> list[dict[str, Any]]:
    """The lines of a part: answers, then what could not be asked."""
    read = questions.read(work.numbers)
    broken = [_broken(one) for one in read if isinstance(one, EvalSample) and _is_broken(one)]
    whole = [one for one in read if isinstance(one, EvalSample) and not _is_broken(one)]
    asked = [apply_condition(work.condition, one) for one in whole]
    found = answer(asked) if asked else []
    lines = [
        {**_line(one), "system": system, "answer": fields.replace_lone_surrogates(said)}
        for one, said in zip(asked, found, strict=True)
        if isinstance(said, str)
    ]
    unasked = [one for one in (*read, *broken, *found) if isinstance(one, BadSample)]
    bad = [{"id": one.key, "skipped": f"{one.shard}: {one.reason}"} for one in unasked]
    return lines + (bad if work.condition is None else [])


def _is_broken(question: EvalSample) -> bool:
    """Whether it has text that no tokenizer and no file takes."""
    texts = [text_of(message) for message in question.messages]
    return fields.contains_lone_surrogate([question.id, question.line, texts])


def _broken(question: EvalSample) -> BadSample:
    why = "half of a surrogate pair in its text or reference; write them from whole characters"
    return BadSample(escaped(question.id), escaped((question.line["audio"] or [question.id])[0]), why)


def _line(question: EvalSample) -> dict[str, Any]:
    prompt = "\n".join(text for message in question.messages if (text := text_of(message)))
    line = {"id": question.id, "prompt": prompt, **question.line}
    return {name: value for name, value in line.items() if value not in (None, [], {})}


def apply_condition(condition: Condition | None, question: EvalSample) -> EvalSample:
    """The question as it is heard in a condition: what is drawn depends on its id, not on its batch."""
    if condition is None:
        return question
    key = sample_key(question.id)
    messages = map_audio(question.messages, lambda samples: condition.apply(samples, key))
    line = {**question.line, "tags": [condition.tag], "seed": condition.seed, "noise": condition.noise}
    return replace(question, id=f"{question.id}@{condition.tag}", messages=messages, line=line)


def _conditions(said: Evaluation) -> tuple[dict[str, Condition], str | None]:
    """By tag; and the digest of the noise, where there is a sweep."""
    found: list[Condition] = []
    noise_digest = None
    if said.noise_sweep is not None:
        noise = load_noise(said.noise)
        noise_digest = digest(noise) if isinstance(noise, str) else noise_name(noise)
        found += noise_sweep(said.noise_sweep, noise, said.seed)
    if said.variants:
        found += variants(seed=said.seed)
    return {one.tag: one for one in found}, noise_digest


def _identity(said: Evaluation, folder: str) -> dict[str, Any]:
    """Who is asked, and how."""
    model = weights_digest(folder), *(_bytes(os.path.join(folder, name)) for name in _TEMPLATES)
    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "system": said.name,
        "model": digest(*model),
        "options": {
            "budget": said.budget,
            "max_new_tokens": said.max_new_tokens,
            "num_beams": said.num_beams,
            "precision": said.computed,
            "seed": said.seed,
        },
    }


def _answerer(folder: str, said: Evaluation) -> Callable[[list[EvalSample]], list[str | BadSample]]:
    """What asks the model some questions: its answers, and for those that it cannot be asked why."""
    loaded = generation.load(folder, precision=said.computed)

    def answer(questions: Sequence[EvalSample]) -> list[str | BadSample]:
        refused = [loaded.refusal(one.messages) for one in questions]
        taken = [one.messages for one, why in zip(questions, refused, strict=True) if why is None]
        settings = {"max_new_tokens": said.max_new_tokens, "num_beams": said.num_beams}
        answered = iter(loaded.answer(taken, **settings) if taken else ())
        return [
            next(answered) if why is None else BadSample(one.id, (one.line["audio"] or [one.id])[0], why)
            for one, why in zip(questions, refused, strict=True)
        ]

    return answer


def _refuse_foreign(out: str) -> None:
    """What lies under a run's names is a run's. Raises LLaSOError before anything is asked."""
    # In this order: another rank may be beginning, and it writes the parts last.
    names = [PARTS] if storage.listing(storage.join(out, PARTS)) else []
    names += [files.PREDICTIONS] if outputs.is_there(storage.join(out, files.PREDICTIONS)) else []
    outputs.refuse(storage.join(out, RUN), _BY, outputs.json_of(FORMAT))
    if names and not storage.exists(storage.join(out, RUN)):
        raise outputs.foreign(storage.join(out, names[0]), _BY)
    score.refuse_foreign(out, _BY)


def _agree(path: str, run: dict[str, Any]) -> None:
    """Notes what the folder's parts are of. Raises LLaSOError where they are of another run."""
    try:
        known = _known(path)
    except FileNotFoundError:
        checksums.write_json(path, run)
        return
    if other := [name for name, value in run.items() if known.get(name) != value]:
        raise LLaSOError(
            f"{path.rpartition('/')[0]} has predictions of another run: {', '.join(other)} differ; give another --out"
        )


def _write_part(out: str, number: int, lines: Sequence[dict[str, Any]]) -> None:
    storage.write_bytes(_part(out, number), b"".join(canonical(checksums.sealed(line)) + b"\n" for line in lines))


def _known(path: str) -> dict[str, Any]:
    """What a run's folder says of it. Raises LLaSOError, and FileNotFoundError where it says nothing."""
    try:
        known: dict[str, Any] = checksums.read_json(path, "; remove it and run llaso-model evaluate again")
        return known
    except ValueError as error:
        raise LLaSOError(f"{path} is not what llaso-model evaluate writes ({error}); give another --out") from error


def _part(out: str, number: int) -> str:
    return storage.join(out, PARTS, f"part-{number:05d}.jsonl")


def _bytes(path: str) -> bytes:
    return storage.read_bytes(path) if os.path.exists(path) else b""
