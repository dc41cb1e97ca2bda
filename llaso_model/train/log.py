"""The log of a run: ``metrics.jsonl``, TensorBoard, Weights & Biases, and a progress bar on a terminal, else lines."""

from __future__ import annotations

import json
import os
import resource
import secrets
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from llaso_data.errors import LLaSOError
from llaso_data.extras import needed_for
from llaso_data.io import checksums, storage
from llaso_data.io.live import LiveLine
from llaso_data.stream.batch import Replaced
from llaso_model.train.collate import TrainBatch
from llaso_model.train.config import TrainRecipe
from llaso_model.train.distributed import RankContext
from llaso_model.train.losses import LOSSES

METRICS_FILE = "metrics.jsonl"
RECIPE_FILE = "recipe.json"
BAD_FILE = "bad_samples.jsonl"
WANDB_FILE = "wandb.id"
ORIGIN_FILE = "origin.json"
_PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}  # bf16, dense


class TrainLog:
    """The log of a run that continues after some steps. Records of later steps are removed, and written again."""

    def __init__(
        self,
        folder: Path,
        context: RankContext,
        recipe: TrainRecipe,
        done: int,
        steps: int,
        flops: tuple[float, float],
        console: Console | None = None,
    ) -> None:
        """Opens the files of the log; the leader alone writes.

        Args:
            folder: Of the run.
            context: This rank's.
            recipe: The run's.
            done: Steps that are done.
            steps: Of the whole run.
            flops: Operations of a mel frame and of a token of text, for the share of a GPU's peak (MFU).
            console: For the bar and lines; None: stderr.
        """
        self._flops = flops
        self._context, self._every, self._steps = context, recipe.run.logging_steps, steps
        self._since = time.perf_counter()
        self._totals: dict[str, float] = {}
        self._file: Any = None
        self._board: Any = None
        self._wandb: Any = None
        self._done, self._line = done, ""
        self._live = LiveLine(
            lambda: self._line,
            lambda: (self._done, steps),
            console or Console(stderr=True, quiet=not context.is_leader),
            remaining=True,
        )
        self._folder = folder
        self._bad: set[tuple[str, str]] = set()
        if not context.is_leader:
            return
        path = folder / METRICS_FILE
        # The recipe comes first: it marks the other files as those of a run.
        checksums.write_json(str(folder / RECIPE_FILE), recipe.model_dump(mode="json"))
        checksums.write_json(str(folder / ORIGIN_FILE), {"started_in": os.getcwd()})
        _keep_steps(path, done)
        if (folder / BAD_FILE).exists():
            _keep_steps(folder / BAD_FILE, done)
            self._bad |= {(line["shard"], line["key"]) for line in _lines(folder / BAD_FILE)}
        self._file = path.open("a")
        if recipe.run.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)
        if recipe.run.wandb is not None:
            self._wandb = _wandb(recipe.run.wandb, folder)
        self._live.start()

    def step(self, record: dict[str, Any], batches: Sequence[TrainBatch], waited_s: float) -> None:
        """Adds speeds to a step's record and writes it, each ``logging_steps``."""
        inputs = [batch.inputs for batch in batches]
        for name, value in (
            ("tokens", sum(_token_count(one) for one in inputs)),
            ("places", sum(one["input_ids"].numel() for one in inputs)),
            ("audio_s", sum(batch.audio_s for batch in batches)),
            ("frames", sum(int(one["feature_lengths"].sum()) for one in inputs if "feature_lengths" in one)),
            ("mels", sum(_frame_count(one["input_features"]) for one in inputs if "input_features" in one)),
            ("data_wait_s", waited_s),
        ):
            self._totals[name] = self._totals.get(name, 0.0) + value
        self._done = record["step"]
        self._live.update()
        if record["step"] % self._every and record["step"] != self._steps:
            return
        totals = self._context.all_reduce_sum(self._totals)
        wall_s = time.perf_counter() - self._since
        record |= {
            "wall_s": wall_s,
            "tokens_per_s": totals["tokens"] / wall_s,
            "audio_s_per_s": totals["audio_s"] / wall_s,
            "text_padding": 1 - totals["tokens"] / max(totals["places"], 1),
            "audio_padding": 1 - totals["frames"] / max(totals["mels"], 1),
            "data_wait": totals["data_wait_s"] / self._context.world_size / wall_s,
            "peak_memory_mib": peak_memory_mib(self._context.device),
        }
        if (peak := _peak_flops(self._context.device)) is not None:
            done = self._flops[0] * totals["frames"] + self._flops[1] * totals["tokens"]
            record["mfu"] = done / wall_s / self._context.world_size / peak
        self._totals, self._since = {}, time.perf_counter()
        self._write(record)
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in record.items() if _is_shown(name))
        self._line = (
            f"step {record['step']}/{self._steps}: {numbers}; {record['audio_s_per_s']:.1f} s of audio a second, "
            f"{record['tokens_per_s']:,.0f} tokens"
        )
        self._live.update()
        if not self._live.has_bar:
            self._live.write_line(self._line)

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """Writes and shows what validation measured after a step."""
        self._write({"step": step, **{f"validation/{name}": value for name, value in metrics.items()}})
        numbers = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if name != "value")
        self._live.write_line(f"step {step}/{self._steps}: validation: {numbers}")

    def validation_of(self, step: int) -> dict[str, float] | None:
        """What validation measured after that step, the same on all ranks; None where the log has no such record."""
        lines = _lines(self._folder / METRICS_FILE) if self._context.is_leader else []
        prefix = "validation/"
        own = [line for line in lines if line["step"] == step and any(name.startswith(prefix) for name in line)]
        metrics = (
            {name.removeprefix(prefix): value for name, value in own[-1].items() if name.startswith(prefix)}
            if own
            else None
        )
        return self._context.all_gather(metrics)[0]

    def bad(self, step: int, replaced: Sequence[Replaced]) -> None:
        """Writes and shows samples of all ranks that could not be used, with what replaced them; each sample once."""
        new = [one for one in replaced if (one.bad.shard, one.bad.key) not in self._bad]
        for one in new:
            self._bad.add((one.bad.shard, one.bad.key))
            self._live.write_line(
                f"step {step}/{self._steps}: {one.bad.key} in {one.bad.shard} is left out: {one.bad.reason}"
            )
        if new and self._context.is_leader:
            with (self._folder / BAD_FILE).open("a") as file:
                file.writelines(_line({"step": step, **asdict(one.bad), "by": one.by}) for one in new)

    def close(self) -> None:
        """Ends the bar and closes the files."""
        self._live.stop(show=self._live.has_bar and bool(self._line))
        for writer in (self._file, self._board):
            if writer is not None:
                writer.close()
        if self._wandb is not None:
            self._wandb.finish()

    def _write(self, record: Mapping[str, Any]) -> None:
        if not self._context.is_leader:
            return
        self._file.write(_line(record))
        self._file.flush()
        for name, value in record.items():
            if self._board is not None and name != "step":
                self._board.add_scalar(name, value, record["step"])
        if self._wandb is not None:
            self._wandb.log(dict(record), step=record["step"])


def _is_shown(name: str) -> bool:
    """Whether the terminal shows a value of a step's record."""
    measures = (measure for loss in LOSSES.values() for measure in loss.measures)
    return name in ("loss", "grad_norm") or name in LOSSES or name in measures


def _peak_flops(device: torch.device) -> float | None:
    """Dense bfloat16 operations a second of a known GPU; None for other devices."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((flops for known, flops in _PEAK_FLOPS.items() if known in name), None)


def peak_memory_mib(device: torch.device) -> float:
    """Peak memory of this process in MiB: allocated on a GPU, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "linux":  # there ru_maxrss begins with the peak of the process that started this one
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split()[0]) / 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run, in the order of their steps. Raises LLaSOError where there are none."""
    records = _lines(folder / METRICS_FILE)
    if not records:
        raise LLaSOError(f"{folder} is no run: it has no {METRICS_FILE}")
    return records


def read_recipe(folder: Path) -> TrainRecipe:
    """The recipe of a run, with absolute paths of model folders. Raises LLaSOError where it is damaged."""
    path, remedy = folder / RECIPE_FILE, "; run `llaso-model train` there again to write it anew"
    try:
        content = checksums.read_json(str(path), remedy)
        recipe = TrainRecipe.model_validate_json(json.dumps(content))
    except (FileNotFoundError, ValueError) as error:
        raise LLaSOError(f"{path} is missing or is not the recipe of a run ({error}){remedy}") from error
    return _with_absolute_paths(recipe, [*_started_in(folder), *folder.resolve().parents])


def _started_in(folder: Path) -> list[Path]:
    try:
        return [Path(checksums.read_json(str(folder / ORIGIN_FILE), "; remove it")["started_in"])]
    except FileNotFoundError:  # a run of an earlier version
        return [Path()]


def _with_absolute_paths(recipe: TrainRecipe, bases: Sequence[Path]) -> TrainRecipe:
    """The recipe with absolute paths of its model folders: its reader may have another working directory.

    Args:
        recipe: The recipe.
        bases: Folders that a relative path may begin at, in the order in which they are tried. Runs of earlier versions
            did not record where they were started, which is most often above the run's folder.
    """
    absolute = {}
    for name in ("start", "encoder", "language_model"):
        path = getattr(recipe.model, name)
        folders = [] if path is None else [folder for base in bases if (folder := base / path).is_dir()]
        if folders:
            absolute[name] = os.path.abspath(folders[0])
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=absolute)})


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(checksums.sealed(record)) + "\n"


def _lines(path: Path) -> list[dict[str, Any]]:
    """The whole lines of a file; that which a killed run cut off is skipped. Raises LLaSOError for damaged lines."""
    if not path.exists():
        return []
    records = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
        place, remedy = f"{path}, line {number}", "; remove the line to go on without it"
        try:
            records.append(checksums.opened(json.loads(line), place, remedy))
        except (ValueError, AttributeError) as error:
            raise LLaSOError(f"{place} is not JSON ({error}){remedy}") from error
    return records


def _keep_steps(path: Path, done: int) -> None:
    """Removes from a file the lines of later steps."""
    kept = [line for line in _lines(path) if line["step"] <= done]
    storage.write_bytes(str(path), "".join(map(_line, kept)).encode())


def _token_count(inputs: Mapping[str, torch.Tensor]) -> int:
    mask = inputs.get("attention_mask")
    return inputs["input_ids"].numel() if mask is None else int(mask.sum())


def _frame_count(features: torch.Tensor) -> int:
    return features.shape[0] * features.shape[2]


def _wandb(project: str, folder: Path) -> Any:
    with needed_for("run.wandb"):
        import wandb
    return wandb.init(project=project, name=folder.name, dir=str(folder), id=wandb_id(folder), resume="allow")


def wandb_id(folder: Path) -> str:
    """The id of a run at Weights & Biases: random, kept in its folder, since folders of other runs may share its name.

    A run of an earlier version keeps its id, which was the folder's name.
    """
    path = folder / WANDB_FILE
    if not path.exists():
        drawn = folder.name if (folder / "wandb").exists() else secrets.token_hex(8)
        storage.write_bytes(str(path), f"{drawn}\n".encode())
    return path.read_text(encoding="utf-8").strip()
