"""What a training run shows while it goes on."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from llaso_model.train.config import TrainRecipe
from llaso_model.train.distributed import RankContext
from llaso_model.train.log import TrainLog, read_metrics


@pytest.mark.parametrize("terminal", [False, True])
def test_a_terminal_has_a_bar_and_a_file_has_lines(tmp_path: Path, terminal: bool) -> None:
    said, place = io.StringIO(), RankContext(0, 1, torch.device("cpu"), False, None, None)
    console = Console(file=said, force_terminal=terminal, width=150)
    recipe = TrainRecipe.model_validate(
        {
            "model": {"start": "model"},
            "data": {"sources": [{"path": "shards"}]},
            "run": {"logging_steps": 2, "tensorboard": False},
        }
    )
    log = TrainLog(tmp_path, place, recipe, 0, 3, (0.0, 0.0), console)
    for number in (1, 2, 3):
        log.step({"step": number, "loss": 4.0 / number, "grad_norm": 1.0, "lr": 1e-4}, [], 0.0)
    log.validation(3, {"wer": 0.25, "value": 0.25})
    log.close()
    lines = said.getvalue()
    assert ("\x1b" in lines) == terminal
    assert "step 3/3: loss 1.3333, grad_norm 1.0000; " in lines and "step 3/3: validation: wer 0.2500\n" in lines
    if not terminal:
        assert [line.split(":")[0] for line in lines.splitlines()] == ["step 2/3", "step 3/3", "step 3/3"]
    assert [one["step"] for one in read_metrics(tmp_path)] == [2, 3, 3]


@pytest.mark.slow
def test_the_peak_of_memory_is_not_that_of_the_process_that_started_this_one() -> None:
    large = np.ones(1 << 30, np.uint8)
    code = "import torch; from llaso_model.train.log import peak_memory_mib as p; print(p(torch.device('cpu')))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert 50 < float(said) < large.nbytes / 2**20
