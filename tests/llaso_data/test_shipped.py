"""The recipes that ship: all of them load by their names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from llaso_data import shipped
from llaso_data.cli import main
from llaso_data.errors import LLaSOError
from llaso_data.pipeline.load_recipe import load
from llaso_model.train.config import load as load_training
from tests.support.paths import REPOSITORY

NO_RECIPES = {"mixture.yaml"}


def test_every_file_of_pipelines_has_a_name_and_loads():
    named = {file for names in shipped.RECIPES.values() for file in names.values()}
    assert named == {path.name for path in (REPOSITORY / "pipelines").glob("*.yaml")} - NO_RECIPES
    for command in ("build-align", "shard"):
        for name in shipped.RECIPES[command]:
            load(shipped.recipe_path(command, name))
    for name in shipped.RECIPES["train"]:
        start = None if name.endswith("align") else "m"
        load_training(
            shipped.recipe_path("train", name), options={"model.start": start, "data.sources": [{"path": "shards"}]}
        )


def test_a_file_comes_before_a_name_and_what_is_neither_is_told_the_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shipped.recipe_path("train", "align") == str(shipped.FOLDER / "train_align.yaml")
    Path("instruct").mkdir()  # as the output of another command may be called
    assert shipped.recipe_path("train", "instruct") == str(shipped.FOLDER / "train_instruct.yaml")
    Path("align").write_text("run: {seed: 1}\n")
    assert shipped.recipe_path("train", "align") == "align"
    assert shipped.recipe_path("train", "s3://bucket/mine.yaml") == "s3://bucket/mine.yaml"
    with pytest.raises(LLaSOError, match=r"no file alin, and no recipe of that name for train: align, instruct"):
        shipped.recipe_path("train", "alin")


def test_recipes_are_listed_and_printed():
    listed = CliRunner().invoke(main, ["recipes"])
    assert listed.exit_code == 0 and len(listed.output.splitlines()) == 4
    printed = CliRunner().invoke(main, ["recipes", "shard"])
    assert printed.output == (REPOSITORY / "pipelines" / "shard.yaml").read_text()
    assert CliRunner().invoke(main, ["recipes", "none"]).exit_code == 2
