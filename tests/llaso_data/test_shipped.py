"""The recipes that ship: all of them load by their names, and they are in the wheel."""

from __future__ import annotations

import subprocess
import sys
import zipfile
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
PAGE = ("html.j2", "css", "js")


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


def test_the_wheel_has_them(tmp_path):
    tree = tmp_path / "tree"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout.split(
        b"\0"
    )
    tree.mkdir()
    subprocess.run(["tar", "cf", tree / "t.tar", "--no-recursion", *files[:-1]], cwd=REPOSITORY, check=True)
    subprocess.run(["tar", "xf", "t.tar"], cwd=tree, check=True)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, tree]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    wanted = {f"llaso_data/recipes/{file}" for names in shipped.RECIPES.values() for file in names.values()}
    wanted |= {"llaso_data/instruct/tasks/asr.yaml", "llaso_data/text/numerals.yaml"}
    wanted |= {f"llaso_model/evaluate/{page}.{kind}" for page in ("rate/rate", "report/report") for kind in PAGE}
    wanted |= {f"llaso_data/report/{page}.{kind}" for page in ("audit", "card") for kind in PAGE}
    assert wanted <= names
