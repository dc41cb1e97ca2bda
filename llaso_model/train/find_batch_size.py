"""Finds the largest micro-batch that fits in memory: some steps at each budget, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llaso_data.errors import LLaSOError
from llaso_model.train.config import TrainRecipe

_STEPS = 3  # tried at each budget
_ROOM = 0.9  # of the budget that fitted: later micro-batches may have longer texts
_SHARE = 0.85  # of a CPU machine's free memory


@dataclass(frozen=True, slots=True)
class Trial:
    """A budget and its measurements. ``peak_mib`` is None where it did not fit; ``audio_s`` is of all its steps."""

    budget: str
    peak_mib: float | None
    audio_s_per_s: float | None
    audio_s: float = 0.0


def find_batch_size(recipe: TrainRecipe, memory_gb: float | None = None) -> Iterator[Trial]:
    """Tries budgets: from the recipe's own, doubled while they fit and halved until one does, then by bisection.

    Args:
        recipe: The recipe.
        memory_gb: On a CPU, the memory that training may take; None: most of what is free. A GPU's limit is its own.

    Yields:
        Each trial. The last one that fitted is the result; :func:`with_room` reduces it a little.

    Raises:
        LLaSOError: A single sample does not fit, or training fails otherwise.
    """
    amount, unit = _parts(recipe.data.budget)
    limit_mib = 1024 * memory_gb if memory_gb else _SHARE * _free_mib()
    fits, fails, longest_s = 0.0, float("inf"), 0.0
    while fails - fits > 0.1 * max(fits, amount * 0.1):
        trial = _try(recipe, f"{amount:g}{unit}", limit_mib)
        yield trial
        if trial.peak_mib is None:
            fails = amount
        else:
            if fails == float("inf") and trial.audio_s <= longest_s:
                return  # the data have no larger micro-batch
            fits, longest_s = amount, trial.audio_s
        amount = amount * 2 if fails == float("inf") else fails / 2 if fits == 0 else (fits + fails) / 2
        amount = float(f"{amount:.3g}")
        if amount in (fits, fails):
            break


def with_room(budget: str) -> str:
    """A budget a little below one that fitted."""
    amount, unit = _parts(budget)
    return f"{float(f'{amount * _ROOM:.3g}'):g}{unit}"


def _parts(budget: str | int) -> tuple[float, str]:
    match = re.fullmatch(r"([\d.]+)\s*([a-z]?)", str(budget))
    if match is None:
        raise LLaSOError(f"data.budget {budget!r}: write 300s, 15000f (frames), 8000t (tokens) or 64 (samples)")
    return float(match[1]), match[2]


def _try(recipe: TrainRecipe, budget: str, limit_mib: float) -> Trial:
    data = recipe.data.model_copy(update={"budget": budget, "num_workers": 0})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.json"
        path.write_text(recipe.model_copy(update={"data": data}).model_dump_json())
        done = subprocess.run([sys.executable, "-m", __name__, str(path)], capture_output=True, text=True)
    if done.returncode == 0:
        measured = json.loads(done.stdout.splitlines()[-1])
        if measured["device"] == "cuda" or measured["peak_mib"] <= limit_mib:
            return Trial(budget, measured["peak_mib"], measured["audio_s_per_s"], measured["audio_s"])
        return Trial(budget, None, measured["audio_s_per_s"])
    if done.returncode == -9 or "OutOfMemory" in done.stderr or "not enough memory" in done.stderr:
        return Trial(budget, None, None)
    last = done.stderr.strip().splitlines()[-1]
    raise LLaSOError(f"at a budget of {budget}: {re.sub('.*LLaSOError: ', '', last)}")


def _free_mib() -> float:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**20


def _child(path: str) -> dict[str, Any]:
    """Runs some steps of a recipe, and returns their memory and speed."""
    import time

    from llaso_model.train.distributed import rank_context
    from llaso_model.train.log import peak_memory_mib
    from llaso_model.train.loop import loader_of, step, upcoming
    from llaso_model.train.run import prepare_run

    recipe = TrainRecipe.model_validate_json(Path(path).read_text())
    with rank_context(recipe.run.parallel) as context:
        loader = loader_of(recipe.data, recipe.run.seed, context.rank, context.world_size)
        run = prepare_run(recipe, context, _STEPS)
        audio_s, started_s = 0.0, time.perf_counter()
        for number, batches, _ in upcoming(loader, run, 0):
            step(run, number, batches)
            audio_s += sum(batch.audio_s for batch in batches)
        wall_s = time.perf_counter() - started_s
        peak_mib = peak_memory_mib(context.device)
        measured = {"peak_mib": peak_mib, "audio_s_per_s": audio_s / wall_s, "audio_s": audio_s}
        return {**measured, "device": context.device.type}


if __name__ == "__main__":
    print(json.dumps(_child(sys.argv[1])))
