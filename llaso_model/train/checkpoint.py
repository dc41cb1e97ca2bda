"""Checkpoints of a run, for its own resume only: torch's distributed checkpoint, written beside the training.

``checkpoints/step-00000500/`` holds the trained weights, the optimizer, ``progress.json`` and the checksums of all
these. It appears whole, by a rename. The result of validation is added later, as ``validation.json``. Frozen weights
are not in it: the recipe names their checkpoints.
"""

from __future__ import annotations

import re
import shutil
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import async_save

from llaso_data.errors import LLaSOError
from llaso_data.io import atomic, checksums, outputs
from llaso_data.io.checksums import DamagedError
from llaso_model.train.build import trainable_parameters
from llaso_model.train.distributed import RankContext

CHECKPOINTS_FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d{8})")
_UNFINISHED = re.compile(r"step-\d{8}\.part")
_PROGRESS = "progress.json"
_VALIDATION = "validation.json"
_OPTIONS = StateDictOptions(ignore_frozen_params=True)


@dataclass(frozen=True, slots=True)
class TrainProgress:
    """How far a run has come.

    Attributes:
        step: Steps that are done.
        stream: State of the data stream after them.
        value: Result of validation, in checkpoints of earlier versions, which validated before they saved.
        recipe: Identity of the recipe.
        bad: Samples of all ranks that could not be used so far, as SHARD:KEY.
    """

    step: int = 0
    stream: dict[str, Any] = field(default_factory=dict)
    value: float | None = None
    recipe: str = ""
    bad: tuple[str, ...] = ()

    @classmethod
    def of(cls, fields: Any) -> TrainProgress:
        """From the content of ``progress.json``. Raises ValueError or TypeError where it is another content."""
        if not isinstance(fields, dict):
            raise TypeError("it is no object")
        progress = cls(**{**fields, "bad": tuple(fields.get("bad", ()))})
        kinds = ((progress.step, int), (progress.stream, dict), (progress.value, float | int | None))
        texts = (progress.recipe, *progress.bad)
        if not all(isinstance(value, kind) for value, kind in kinds) or not all(isinstance(one, str) for one in texts):
            raise TypeError("a value is of another type")
        if progress.stream.get("step") != progress.step:
            raise ValueError(f"step {progress.step} is not where the stream stands")
        return progress


class Checkpoints:
    """The checkpoints in a folder that all ranks see. The last ``keep`` and the best one are kept."""

    def __init__(self, folder: Path, context: RankContext, keep: int) -> None:
        self.folder = folder
        self._context = context
        self._keep = keep
        self._writing: tuple[Any, Path] | None = None
        self._checksum_thread = ThreadPoolExecutor(1)
        folder.mkdir(parents=True, exist_ok=True)
        context.barrier()
        if context.is_leader:
            for path in folder.iterdir():
                if _UNFINISHED.fullmatch(path.name):
                    shutil.rmtree(path)
        context.barrier()

    @staticmethod
    def are_in(folder: Path) -> bool:
        """Whether a folder has a checkpoint that a run wrote, maybe a damaged one."""
        named = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
        contents = [outputs.json_at(str(path / _PROGRESS)) for path in named]
        return any(isinstance(one, dict) and {"step", "stream", "recipe"} <= set(one) for one in contents)

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are whole, ascending."""
        matches = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def save(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainProgress) -> None:
        """Copies the state and writes it in the background. Waits for the checkpoint before. Called on all ranks."""
        self.finish()
        final = self._path(progress.step)
        part = final.with_suffix(".part")
        if self._context.is_leader:
            part.mkdir()
            checksums.write_json(str(part / _PROGRESS), asdict(progress))
        self._context.barrier()
        model, optim = _state(module, optimizer)
        done = async_save(
            {"model": model, "optim": optim}, checkpoint_id=str(part), process_group=self._context.checkpoint_group
        )
        assert isinstance(done, Future)
        self._writing = (
            self._checksum_thread.submit(_write_checksums, done, part) if self._context.is_leader else done,
            final,
        )

    def note(self, step: int, value: float | None) -> None:
        """Writes the result of validation (lower is better) into the checkpoint of that step, once it is complete."""
        self.finish()
        if self._context.is_leader and value is not None:
            checksums.write_json(str(self._path(step) / _VALIDATION), {"value": value})
            self._prune()

    def poll(self) -> None:
        """Publishes a checkpoint that was written in the meantime. Called after every step.

        The leader's part is done only when those of all ranks are: it writes the list of their files.
        """
        if self._context.is_leader and self._writing is not None and self._writing[0].done():
            self._commit()

    def finish(self) -> None:
        """Waits for the checkpoint that is being written, on all ranks, and publishes it."""
        if self._writing is not None:
            self._writing[0].result()
            if self._context.is_leader:
                self._commit()
            self._writing = None
        self._context.barrier()

    def _commit(self) -> None:
        assert self._writing is not None
        (done, final), self._writing = self._writing, None
        done.result()
        part = final.with_suffix(".part")
        if final.exists():
            shutil.rmtree(final)
        atomic.synced(part / _PROGRESS)
        atomic.publish(part, final)
        self._prune()

    def load(self, module: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainProgress) -> None:
        """Loads the checkpoint of a progress into module and optimizer, for any number of ranks; none at step 0.

        Raises:
            LLaSOError: It is of another model or optimizer.
        """
        if not progress.step:
            return
        folder = self._path(progress.step)
        model, optim = _state(module, optimizer)
        state: dict[str, Any] = {"model": model, "optim": optim}
        try:
            load(state, checkpoint_id=str(folder), process_group=self._context.checkpoint_group)
        except (RuntimeError, ValueError, CheckpointException) as error:
            raise LLaSOError(f"{folder} is of another model or optimizer: {str(error)[:300]}") from error
        set_state_dict(
            module,
            optimizer,
            model_state_dict=state["model"],
            optim_state_dict=state["optim"],
            options=StateDictOptions(ignore_frozen_params=True, strict=False),
        )

    def last(self) -> TrainProgress:
        """The progress of the last checkpoint that is not damaged, the same on all ranks; step 0 where there is none.

        Damaged checkpoints after it are renamed, with a message.

        Raises:
            DamagedError: All checkpoints are damaged.
        """
        faults: dict[int, str] = {}
        for step in reversed(self._context.all_gather(self.steps())[0]):
            if (fault := self._fault(step)) is None:
                self._set_aside(faults, step)
                return self.progress(step)
            faults[step] = fault
        if faults:
            raise DamagedError(
                f"{self.folder}: no checkpoint can be used: {'; '.join(faults.values())}. Put back a copy, or remove "
                "the folder to begin anew"
            )
        return TrainProgress()

    def progress(self, step: int) -> TrainProgress:
        """The progress of a checkpoint. Raises DamagedError where it cannot be read."""
        path = str(self._path(step) / _PROGRESS)
        try:
            progress = TrainProgress.of(checksums.read_json(path))
        except (ValueError, TypeError) as error:
            raise DamagedError(f"{path} is damaged ({error})") from error
        if progress.step != step:
            raise DamagedError(f"{path} is damaged (it is of step {progress.step})")
        return progress

    def best(self) -> int | None:
        """The step with the lowest result of validation, of those that can be read; None where none has a result."""
        values = [(value, step) for step in self.steps() if (value := self._value(step)) is not None]
        return min(values)[1] if values else None

    def _value(self, step: int) -> float | None:
        try:
            path = self._path(step) / _VALIDATION
            value = checksums.read_json(str(path))["value"] if path.exists() else self.progress(step).value
        except (ValueError, TypeError, KeyError, DamagedError, FileNotFoundError):
            return None
        return value if isinstance(value, float | int) else None

    def _fault(self, step: int) -> str | None:
        """What is wrong with a checkpoint, the same on all ranks. Each rank checks its share of the files."""
        folder = self._path(step)
        faults = checksums.faults(folder, share=self._context.rank, shares=self._context.world_size)
        try:
            self.progress(step)
        except (DamagedError, FileNotFoundError) as error:
            faults.append(str(error))
        gathered = [fault for of_rank in self._context.all_gather(faults) for fault in of_rank]
        return f"{folder.name}: {gathered[0]}" if gathered else None

    def _set_aside(self, faults: dict[int, str], step: int) -> None:
        """Renames damaged checkpoints, so that none counts among the last ones."""
        if self._context.is_leader:
            for damaged, fault in sorted(faults.items()):
                aside = _unused_path(self._path(damaged).with_suffix(".damaged"))
                self._path(damaged).rename(aside)
                _warn(f"{fault}. It is kept as {aside}; the run continues from step {step}")
            if not checksums.is_noted(self._path(step)):
                _warn(f"{self._path(step)} has no {checksums.FOLDER_FILE}: an earlier version wrote it; not compared")
        self._context.barrier()

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}"

    def _prune(self) -> None:
        best = self.best()
        for step in self.steps()[: -self._keep]:
            if step != best:
                doomed = self._path(step).with_suffix(".part")
                self._path(step).rename(doomed)
                shutil.rmtree(doomed)


def _write_checksums(done: Future[Any], part: Path) -> None:
    """Waits until all files are written, and writes their checksums."""
    done.result()
    checksums.note_folder(part)


def _unused_path(path: Path) -> Path:
    """The path, with a number behind it where that is taken."""
    names = [path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000))]
    return next(name for name in names if not name.exists())


def _warn(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _state(module: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[dict[str, Any], dict[str, Any]]:
    """State of the trainable weights and the optimizer. Torch also lists the second name of a tied frozen weight."""
    model, optim = get_state_dict(module, optimizer, options=_OPTIONS)
    return {name: model[name] for name, _ in trainable_parameters(module)}, optim
