"""The table of losses: one from outside is weighted in a recipe, trained, logged, saved and restored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from llaso_data.errors import LLaSOError
from llaso_model.train.config import TrainRecipe, identity, load
from llaso_model.train.export import merge
from llaso_model.train.log import read_metrics
from llaso_model.train.loop import train
from llaso_model.train.losses import LOSSES, Loss, LossSums, in_order
from tests.conftest import Clip
from tests.support.training_fixtures import made_model, write_speech


class Loudness(Loss):
    """How loud each clip is, from the mean of its speech."""

    name = "loud_ness"  # an underscore in a name means nothing
    measures = ("loud_ness_off",)
    module_name = "meter"

    def module(self, model: Any, recipe: TrainRecipe) -> nn.Module:
        meter = nn.Linear(model.config.hidden_size, 1)
        nn.init.zeros_(meter.weight)
        return meter

    def collate(self, batch: Any, processor: Any, config: Any) -> Mapping[str, torch.Tensor]:
        sounds = zip(batch.audio, batch.lengths, strict=True)
        return {"levels": torch.stack([row[:length].abs().mean() for row, length in sounds])}

    def counts(self, batch: Any) -> dict[str, float]:
        return {self.name: len(batch.keys)}

    def targets(self, batches: Sequence[Any], step: Any) -> float:
        levels = [one.extra["loud_ness.levels"].mean().item() for one in batches]
        return max(level for own in step.all_gather(levels) for level in own)

    def sums(self, module: Any, batch: Any, speech: torch.Tensor | None, targets: float) -> LossSums:
        assert speech is not None
        off = module.meter(speech.float().mean(dim=0)) - batch.extra["loud_ness.levels"] / targets
        return LossSums(off.square().sum(), {"loud_ness_off": off.abs().sum()})


@pytest.fixture
def loudness() -> Iterator[None]:
    LOSSES.register(Loudness.name, Loudness())
    yield
    LOSSES.unregister(Loudness.name)


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_model(tmp_path_factory.mktemp("start"))


def values(start: Path, shards: Path, **objectives: float) -> dict[str, Any]:
    return {
        "model": {"start": str(start), "train": ["aligner"]},
        "data": {"sources": [{"path": str(shards)}], "budget": "12s", "micro_batches": 2, "num_workers": 0},
        "objectives": {"completion": 0.5, **objectives},
        "run": {"max_steps": 2, "save_steps": 2, "precision": "fp32", "tensorboard": False},
    }


def test_a_loss_from_outside_is_trained_logged_saved_and_restored(loudness, start, clips: list[Clip], tmp_path):
    write_speech(tmp_path / "shards", clips[:6])
    recipe = TrainRecipe.model_validate(values(start, tmp_path / "shards", loud_ness=2.0))
    train(recipe, str(tmp_path / "run"))
    for record in read_metrics(tmp_path / "run"):
        assert record["loud_ness"] > 0 and record["loud_ness_off"] > 0
        assert record["loss"] == pytest.approx(0.5 * record["completion"] + 2 * record["loud_ness"])
    saved = tmp_path / "run" / "model"
    assert {"meter.safetensors", "heads.safetensors"} <= {path.name for path in (saved / "losses").iterdir()}
    assert [path.name for path in saved.glob("*.safetensors")] == ["model.safetensors"]  # others load all they see
    again = TrainRecipe.model_validate(values(saved, tmp_path / "shards", loud_ness=2.0))
    train(again, str(tmp_path / "again"))
    assert read_metrics(tmp_path / "again")[0]["loud_ness"] < read_metrics(tmp_path / "run")[0]["loud_ness"]
    merge(tmp_path / "run", saved, overwrite=True)  # its files are known as a model's


def test_a_key_that_is_no_loss_is_refused_and_a_weight_is_a_number(loudness, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("model: {start: m}\ndata: {sources: [{path: s}]}\nobjectives:\n  loud_nes: 1\n")
    with pytest.raises(
        LLaSOError, match=r"recipe\.yaml:4: objectives\.loud_nes: unknown key; did you mean loud_ness\?"
    ):
        load(str(recipe))
    recipe.write_text("model: {start: m}\ndata: {sources: [{path: s}]}\nobjectives:\n  loud_ness: -1\n")
    with pytest.raises(LLaSOError, match=r"objectives\.loud_ness: must be greater than or equal to 0"):
        load(str(recipe))
    with pytest.raises(LLaSOError, match="all weights are 0"):
        load(None, ["objectives.completion=0"], {"model.start": "m", "data.sources": [{"path": "s"}]})


def test_a_loss_from_outside_changes_no_recipe_that_does_not_name_it(start, tmp_path):
    recipe = TrainRecipe.model_validate(values(start, tmp_path))
    LOSSES.register(Loudness.name, Loudness())
    try:
        assert identity(recipe) == identity(TrainRecipe.model_validate(values(start, tmp_path)))
        assert list(in_order()) == ["word", "utterance", "completion", "reconstruction", "loud_ness"]
    finally:
        LOSSES.unregister(Loudness.name)
