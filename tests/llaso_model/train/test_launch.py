"""Training under Ray Train: what the user is told where a worker fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from llaso_data.errors import LLaSOError
from llaso_model.train import launch
from llaso_model.train.config import TrainRecipe
from tests.conftest import Clip
from tests.support.training_fixtures import made_model, write_speech


@pytest.mark.slow
def test_ray_hands_on_what_the_worker_says(clips: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "_FAILURES", 0)
    write_speech(tmp_path / "speech", clips[:2])
    recipe = TrainRecipe.model_validate(
        {
            "model": {"start": str(made_model(tmp_path))},
            "data": {"sources": [{"path": str(tmp_path / "speech")}], "micro_batches": 8},
            "run": {"max_steps": 1, "precision": "fp32"},
        }
    )
    with pytest.raises(LLaSOError, match=r"^training under Ray failed: 2 samples cannot fill 8 micro-batches: .*lower"):
        launch.train_on_ray(recipe, str(tmp_path / "out"), 1)
