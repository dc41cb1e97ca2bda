"""The folder of a run of training, and where a merged model may go: nothing else is replaced or removed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from llaso_data.errors import LLaSOError
from llaso_data.io import checksums, lock
from llaso_model.cli import main
from llaso_model.train.config import TrainRecipe
from llaso_model.train.loop import train
from llaso_model.train.run_folder import refuse_foreign
from tests.llaso_data.io.test_outputs import tree

MINE = "somebody's"


def recipe(**parts: Any) -> TrainRecipe:
    values = {"model": {"start": "/nowhere"}, "data": {"sources": [{"path": "/nowhere"}]}, **parts}
    return TrainRecipe.model_validate(values)


def put(folder: Path, *names: str, text: str = MINE) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def a_run(folder: Path, of: TrainRecipe, finished: bool = True) -> Path:
    """What a run leaves, as far as it is looked at: a finished one, or one that was killed on the way."""
    put(folder, "recipe.json", text=of.model_dump_json(indent=1))
    put(folder, "metrics.jsonl", text='{"step": 1}\n')
    progress = '{"recipe": "", "step": 1, "stream": {}, "value": null}'
    put(folder, "checkpoints/step-00000001/progress.json", "checkpoints/step-00000002.part/x", text=progress)
    if finished:
        put(folder, "trained.safetensors", text="weights")
        a_model(folder / "model", of)
    return folder


def a_model(folder: Path, of: TrainRecipe) -> Path:
    put(folder, "config.json", text='{"model_type": "llaso"}')
    put(folder, "model.safetensors", "tokenizer.json", "heads.safetensors", "chat_template.jinja", text="ours")
    put(folder, "training.json", text=json.dumps(of.model_dump(mode="json")))
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("metrics.jsonl",),
        ("recipe.json",),
        ("trained.safetensors",),
        ("model/config.json", "model/model.safetensors"),
        ("checkpoints/epoch-3/weights.pt",),
        ("checkpoints/step-00000500/weights.pt",),
    ],
    ids=lambda names: names[0],
)
def test_a_folder_where_a_name_of_a_run_is_taken_is_refused_before_any_work(
    names: tuple[str, ...], tmp_path: Path
) -> None:
    """As of another program's run; or ``--out .`` beside the folder ``model`` that the run starts from."""
    put(tmp_path, *names)
    before = tree(tmp_path)
    words = ["train", "--data", "/nowhere", "--pretrained-model", "/nowhere", "--out", str(tmp_path)]
    said = CliRunner().invoke(main, words)
    top = "/".join(names[0].split("/")[: 2 if "step" in names[0] else 1])
    assert said.exit_code == 2 and "exists and was not written by `llaso-model train`" in said.output, said.output
    assert top.split("/")[0] in said.output and tree(tmp_path) == before


def test_a_run_goes_on_in_its_own_folder_only(tmp_path: Path) -> None:
    own, other = recipe(), recipe(optimizer={"lr": 1.0})
    longer = recipe(run={"max_steps": 99, "save": "full"})
    put(tmp_path / "notes", "notes.txt", "recipe.yaml")
    put(tmp_path / "empty", "metrics.jsonl", text="")
    (tmp_path / "empty" / "checkpoints").mkdir()
    for folder in (tmp_path / "new", tmp_path / "notes", tmp_path / "empty"):
        refuse_foreign(folder, own)
    for finished in (False, True):
        run = a_run(tmp_path / f"run-{finished}", own, finished)
        refuse_foreign(run, own)
        refuse_foreign(run, longer)
        put(run, "recipe.json", text="damaged")  # as its checkpoints show
        refuse_foreign(run, own)
        put(run, "recipe.json", text=json.dumps(checksums.sealed(own.model_dump(mode="json"))))
    with pytest.raises(LLaSOError, match="a finished run of another recipe"):
        refuse_foreign(run, other)
    put(run, "model/README.md")
    with pytest.raises(LLaSOError, match=r"README\.md exists and was not written by"):
        refuse_foreign(run, own)
    refuse_foreign(run, recipe(run={"save": "trainable"}))  # which leaves it alone
    (run / "model" / "README.md").unlink()
    put(run, "model/training.json", text=json.dumps(other.model_dump(mode="json")))
    with pytest.raises(LLaSOError, match="model exists and was not written by"):
        refuse_foreign(run, own)
    shutil.rmtree(run / "model")
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(LLaSOError, match="whose checkpoints are gone"):
        refuse_foreign(run, own)


def test_two_runs_do_not_write_to_one_folder(tmp_path: Path) -> None:
    """The second would take the checkpoint that the first is writing for a dead one's."""
    run = a_run(tmp_path / "run", recipe(), finished=False)
    before = tree(run)
    with lock.exclusive(str(run), "train"), pytest.raises(LLaSOError, match="another run writes there"):
        train(recipe(), str(run))
    assert tree(run) == before


@pytest.fixture
def run(tmp_path: Path) -> Path:
    a_model(tmp_path / "start", recipe())
    return a_run(tmp_path / "runs" / "run", recipe(model={"start": str(tmp_path / "start")}))


def merge(*words: Any) -> str:
    done = CliRunner().invoke(main, ["merge", *map(str, words)])
    assert done.exit_code == 2, done.output + repr(done.exception)
    return done.output


@pytest.mark.parametrize("overwrite", [(), ("--overwrite",)], ids=["plain", "overwrite"])
@pytest.mark.parametrize(
    "out", ["runs/run", "runs/run/", "runs/run/../run", "runs", ".", "runs/../link", "start", "runs/run/model/.."]
)
def test_a_model_never_replaces_its_run_nor_what_holds_it(
    run: Path, out: str, overwrite: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(run)
    before = tree(tmp_path)
    assert "or holds it; choose another --out" in merge(run, "--out", f"{tmp_path}/{out}", *overwrite)
    assert "or holds it; choose another --out" in merge(tmp_path / "link", "--out", f"{tmp_path}/{out}", *overwrite)
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    "names",
    [
        ("thesis.tex",),
        (".git/HEAD",),
        ("config.json", "model.safetensors"),
        ("ours", "README.md"),
        ("ours", "checkpoints/model.safetensors"),
        ("ours", "model-final.safetensors"),
        ("ours", ".hidden"),
    ],
    ids=lambda names: names[-1],
)
def test_a_model_replaces_nothing_but_a_model_and_that_only_when_told_to(
    run: Path, names: tuple[str, ...], tmp_path: Path
) -> None:
    """``ours``: beside a whole model that a run wrote."""
    out = tmp_path / "out"
    if names[0] == "ours":
        a_model(out, recipe())
    put(out, *(name for name in names if name != "ours"), text='{"model_type": "bert"}')
    before = tree(tmp_path)
    assert "is not empty; choose another --out, or pass --overwrite" in merge(run, "--out", out)
    assert "is no part of a model that" in merge(run, "--out", out, "--overwrite")
    assert tree(tmp_path) == before
    assert "is not empty" in merge(run)  # the default, which the run has written


def test_a_file_is_no_folder_for_a_model(run: Path, tmp_path: Path) -> None:
    put(tmp_path, "out")
    assert "is no folder" in merge(run, "--out", tmp_path / "out", "--overwrite")
    assert (tmp_path / "out").read_text() == MINE
    assert "trained.safetensors" in merge(tmp_path, "--out", tmp_path / "new") and not (tmp_path / "new").exists()
    assert os.listdir(run.parent) == ["run"]
