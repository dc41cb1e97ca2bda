"""What a run's folder says of it: where its models lie, and which curves are its own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from llaso_data.demo import weights
from llaso_data.stream import Mixture, StreamingLoader
from llaso_model.configuration import IGNORED
from llaso_model.train import commands
from llaso_model.train.build import load_model, training_module
from llaso_model.train.collate import Collator
from llaso_model.train.config import ModelPart, TrainRecipe, identity, load
from llaso_model.train.distributed import RankContext
from llaso_model.train.log import TrainLog, read_recipe, wandb_id
from llaso_model.train.losses import StepTargets, counts_of
from tests.conftest import obtained
from tests.support.training_fixtures import made_model, write_texts


def started(folder: Path, model: str) -> None:
    """A run's folder as its first process leaves it."""
    folder.mkdir(parents=True)
    recipe = load(None, (), {"data.sources": [{"path": "shards"}], "model.start": model})
    TrainLog(folder, RankContext(0, 1, torch.device("cpu"), False, None, None), recipe, 0, 1, (1.0, 1.0)).close()


def test_a_recipe_read_elsewhere_names_the_models_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "first").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    started(tmp_path / "runs" / "second", "models/first")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_recipe(tmp_path / "runs" / "second").model.start == str(tmp_path / "models" / "first")


def test_runs_whose_folders_have_one_name_have_curves_of_their_own(tmp_path: Path) -> None:
    folders = [tmp_path / name / "run" for name in ("a", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
    ids = [wandb_id(folder) for folder in folders]
    assert ids[0] != ids[1] and ids == [wandb_id(folder) for folder in folders]
    (tmp_path / "c" / "run" / "wandb").mkdir(parents=True)  # of an earlier version
    assert wandb_id(tmp_path / "c" / "run") == "run"


def test_a_model_of_ours_on_the_hub_is_started_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub's cache, as a download leaves it: what an id means is read from there."""
    from huggingface_hub import constants

    model = made_model(tmp_path)
    commit = "0" * 40
    for name, folder in (("me/ours", model), ("me/text", obtained(weights.smollm2))):
        home = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text(commit)
        (home / "snapshots").mkdir()
        (home / "snapshots" / commit).symlink_to(folder)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert commands._start("me/ours") == {"model.start": "me/ours"}
    assert commands._start("me/text") == {"model.language_model": "me/text"}
    assert commands._start(str(model)) == {"model.start": str(model)}


def test_a_step_without_anything_to_learn_is_one_without_a_loss(tmp_path: Path) -> None:
    write_texts(tmp_path / "texts")
    settings = {"model.start": str(made_model(tmp_path)), "model.train": ["aligner", "language_model"]}
    recipe = load(None, (), {"data.sources": [{"path": str(tmp_path / "texts")}], **settings})
    model, processor = load_model(recipe.model, 0)
    module = training_module(recipe, model)
    batch = next(iter(StreamingLoader(Mixture.of(str(tmp_path / "texts")), "60s")))
    example = Collator(processor, model.config)(batch)
    assert example.targets > 0
    silent = replace(example, inputs={**example.inputs, "labels": torch.full_like(example.inputs["labels"], IGNORED)})
    loss, sums = module(silent, StepTargets({}, counts_of([silent], recipe.objectives)))
    loss.backward()
    assert float(loss.detach()) == 0.0 and float(sums["completion"]) == 0.0
    assert all(value.grad is None or not value.grad.any() for value in module.parameters())


def test_a_setting_that_came_later_and_is_null_refuses_no_checkpoint() -> None:
    class Later(ModelPart):
        thawed: str | None = None

    class LaterRecipe(TrainRecipe):
        model: Later

    values = {"data": {"sources": [{"path": "x"}]}, "optimizer": {"lr": 1e-4}}
    model = {"start": "a", "lora": {"rank": 4}}
    found = identity(TrainRecipe.model_validate({**values, "model": model}))
    assert found == "cb6584321194b3b185d900da63076770"  # as it was before there were later settings
    assert identity(LaterRecipe.model_validate({**values, "model": model})) == found
    assert identity(LaterRecipe.model_validate({**values, "model": {**model, "thawed": "yes"}})) != found


def test_a_run_knows_its_recipe_in_its_folder_whatever_the_order_of_what_it_maps() -> None:
    values = {"data": {"sources": [{"path": "x"}]}, "model": {"config": {"stack": 5, "audio_config": {"z": 1, "a": 2}}}}
    recipe = TrainRecipe.model_validate(values)
    written = json.dumps(recipe.model_dump(mode="json"), sort_keys=True)
    assert identity(TrainRecipe.model_validate_json(written)) == identity(recipe)
    other = TrainRecipe.model_validate({**values, "model": {"config": {"stack": 4}}})
    assert identity(other) != identity(recipe)
