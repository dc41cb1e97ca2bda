"""``llaso-model score``: predictions in, ``rows.parquet`` and ``scores.json`` out; no model is needed."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.instruct.tasks import Tasks
from llaso_data.io import checksums, outputs, storage
from llaso_model.evaluate import store
from llaso_model.evaluate.datasets import layouts, tasks
from llaso_model.evaluate.datasets.layouts import Prediction, ScoringInput
from llaso_model.evaluate.extract import behaviours
from llaso_model.evaluate.kinds import KINDS, Row
from llaso_model.evaluate.llm_judge.judges import RecordedJudge
from llaso_model.evaluate.llm_judge.scoring import JudgeQuestion, LLMJudge, judge_answers, prompts_digest
from llaso_model.evaluate.metrics.text_generation import signatures
from llaso_model.evaluate.rows import score_rows
from llaso_model.evaluate.statistics import intervals, summary

FORMAT, FORMAT_VERSION = "llaso-scores", 1
_PACKAGES = ("llaso", "jiwer", "rapidfuzz", "sacrebleu", "scipy", "numpy", "whisper-normalizer")
_RECORD_START = b'{"digest": "'  # how a line of a judge's record begins
_MIN_PARALLEL_ROWS = 2000  # rows that are scored sooner than a process starts

OnProgress = Callable[[str], None]
Job = tuple[str, list[Prediction], dict[str, float] | None]


def score(
    sources: Iterable[str],
    out: str,
    tasks_path: str | None = None,
    seed: int = 0,
    workers: int | None = None,
    judge: LLMJudge | None = None,
    votes: int = 1,
    on_progress: OnProgress = lambda line: None,
    skipped: Sequence[str] = (),
) -> dict[str, Any]:
    """Scores predictions and writes ``rows.parquet`` and ``scores.json``.

    Args:
        sources: Files, folders or tars of predictions, each as ``PATH`` or ``NAME=PATH``.
        out: Folder or URI that both files are written to.
        tasks_path: A file of tasks beside LLaSO's own, or None.
        seed: Seed of the bootstrap and of the randomisation tests.
        workers: Processes; None: one for each CPU that this process may use. The result does not depend on it.
        judge: Rates open answers. Its replies are kept in ``judgements.jsonl`` in ``out``. None: published judgements
            count, where the sources hold some.
        votes: Judgements of each open answer.
        on_progress: Called with a line for each step of the work.
        skipped: Samples without an answer, to be listed with what was not read.

    Returns:
        The content of ``scores.json``.

    Raises:
        LLaSOError: A source or the file of tasks cannot be read; or ``out`` has files of these names that are no
            scores, which is checked before any work.
    """
    require("scoring", "jiwer", "sacrebleu")
    record = storage.join(out, "judgements.jsonl")
    if judge is not None:
        os.makedirs(outputs.on_disk(out, "a judge's record"), exist_ok=True)
        outputs.refuse(record, "llaso-model score", _is_record)
    refuse_foreign(out, "llaso-model score")
    declared = tasks.load(tasks_path)
    loaded = layouts.read_predictions(list(sources), declared)
    systems = len({prediction.system for prediction in loaded.predictions})
    judged_by = None
    on_progress(f"{len(loaded.predictions):,} answers of {systems} system{'s' if systems != 1 else ''} read")
    if judge is not None:
        recorded = RecordedJudge(record, judge, on_progress=on_progress)
        judgements = judge_answers(recorded, _judge_questions(loaded, declared), votes)
        loaded = replace(loaded, judgements=judgements.scores)
        judged_by = {"judge": judge.name, "votes": votes, "prompts": prompts_digest(), **judgements.as_json()}
    rows = score_all(loaded, tasks_path, declared, workers or _cpus())
    on_progress("scored; computing intervals and comparisons of systems")
    return write(rows, declared, out, seed, loaded.files, [*skipped, *loaded.skipped], judged_by, loaded.remarks)


def refuse_foreign(out: str, by: str) -> None:
    """Checks that a folder has no other files under the names of scores.

    Args:
        out: The folder.
        by: Name of the command, for the message.

    Raises:
        LLaSOError: It has one.
    """
    outputs.refuse(storage.join(out, "scores.json"), by, outputs.json_of(FORMAT))
    if not storage.exists(storage.join(out, "scores.json")):  # beside ours they are ours
        outputs.refuse(storage.join(out, "rows.parquet"), by, store.is_rows)


def _is_record(uri: str) -> bool:
    """Whether a file begins as a judge's record does. A kill may have cut it off within its first line."""
    first, ended, _ = storage.read_bytes(uri).partition(b"\n")
    return b"digest" in first if ended else _RECORD_START.startswith(first[: len(_RECORD_START)])


def _cpus() -> int:
    """CPUs that this process may use. macOS gives only the number of all CPUs."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _judge_questions(loaded: ScoringInput, declared: Tasks) -> dict[tuple[str, str], list[JudgeQuestion]]:
    """The open answers that a judge rates, by system and set."""
    questions: dict[tuple[str, str], list[JudgeQuestion]] = {}
    for prediction in loaded.predictions:
        if KINDS[declared.sets[prediction.set].kind].is_judged and prediction.expected == "answer":
            question = JudgeQuestion(prediction.id, prediction.prompt, prediction.reference, prediction.answer)
            questions.setdefault((prediction.system, prediction.set), []).append(question)
    return questions


def write(
    rows: Sequence[Row],
    declared: Tasks,
    out: str,
    seed: int,
    files: dict[str, str],
    skipped: Sequence[str] = (),
    judged_by: dict[str, Any] | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Summarises scored rows and writes both files.

    Args:
        rows: Scored rows of any systems and sets.
        declared: The tasks that they were scored by.
        out: Folder or URI of the two files.
        seed: Seed of the bootstrap and of the randomisation tests.
        files: Digest of each file that was read, by name.
        skipped: Lines about what was not read or not answered.
        judged_by: The judge, its votes and its prompts, as JSON; None: no judge was asked.
        remarks: Lines about answers that were changed when they were read.

    Returns:
        The content of ``scores.json``.
    """
    scores = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "made": {**provenance(declared, seed, files), "judged_by": judged_by},
        "skipped": list(skipped),
        "remarks": list(remarks),
        **summary.summarise(rows, declared, seed, asked=judged_by is not None),
    }
    store.write(rows, storage.join(out, "rows.parquet"))
    checksums.write_json(storage.join(out, "scores.json"), scores)
    return scores


def score_all(loaded: ScoringInput, tasks_path: str | None, declared: Tasks, workers: int) -> list[Row]:
    """Scores everything that was read, by system and set in the order in which these first occur."""
    jobs: dict[tuple[str, str], list[Prediction]] = {}
    for prediction in loaded.predictions:
        jobs.setdefault((prediction.system, prediction.set), []).append(prediction)
    listed: list[Job] = [
        (name, predictions, loaded.judgements.get((system, name))) for (system, name), predictions in jobs.items()
    ]
    if workers < 2 or len(loaded.predictions) < _MIN_PARALLEL_ROWS:
        return [row for job in listed for row in score_rows(job[0], job[1], declared, job[2])]
    # The largest first, so that no process is left with one at the end.
    order = sorted(range(len(listed)), key=lambda i: -_cost(listed[i], declared))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        pending = {i: pool.submit(_score_job, listed[i], tasks_path) for i in order}
        return [row for i in range(len(listed)) for row in pending[i].result()]


def _score_job(job: Job, tasks_path: str | None) -> list[Row]:
    return score_rows(job[0], job[1], tasks.load(tasks_path), job[2])


def _cost(job: Job, declared: Tasks) -> float:
    return len(job[1]) * KINDS[declared.sets[job[0]].kind].cost


def provenance(declared: Tasks, seed: int, files: dict[str, str]) -> dict[str, Any]:
    """How the figures came about: versions, digests of everything that was read, normalisers, seed."""
    return {
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "tasks": tasks.digest_of(declared),
        "files": files,
        "seed": seed,
        "resamples": intervals.RESAMPLES,
        "confidence": intervals.CONFIDENCE,
        "normaliser": "English: openai-whisper's EnglishTextNormalizer; other languages: llaso_data.text.normalize, "
        "characters where there are no spaces",
        "signatures": signatures(),
        "rouge_l": "F1, words of [a-z0-9], no stemming",
        "behaviours": behaviours.VERSION,
    }


def read_scores(folder: str) -> dict[str, Any]:
    """Reads ``scores.json`` of a folder.

    Raises:
        LLaSOError: :func:`score` did not write it, or wrote another version of it.
    """
    path = storage.join(folder, "scores.json")
    try:
        scores = checksums.read_json(path, "; run llaso-model score again")
        if scores["format"] != FORMAT or scores["format_version"] != FORMAT_VERSION:
            raise ValueError(f"format {scores['format']}, version {scores['format_version']}")
    except FileNotFoundError as error:
        raise LLaSOError(f"{folder}: no scores.json; make it with: llaso-model score … --out {folder}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise LLaSOError(f"{path} is not what llaso-model score writes ({error})") from error
    return scores  # type: ignore[no-any-return]
