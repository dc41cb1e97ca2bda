"""Weights, tokenizers and settings of models that are damaged: one line that names them, and no traceback."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from safetensors.torch import load_file, save_file

from llaso_data.cli import main as llaso_data
from llaso_data.errors import LLaSOError
from llaso_data.filters.language_model import CausalLanguageModel
from llaso_data.io.checksums import FOLDER_FILE
from llaso_data.recipe import Asr, Run
from llaso_data.whisper.load import load
from llaso_model.cli import main as llaso_model
from llaso_model.train.build import load_model
from llaso_model.train.config import ModelPart
from tests.support.training_fixtures import made_model

Damage = Callable[[Path], None]
WEIGHTS = "model.safetensors"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def no_header(path: Path) -> None:
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:4096])


def no_json(path: Path) -> None:
    path.write_text('{"version": ')


def a_list(path: Path) -> None:
    path.write_text("[]")


def fewer_tensors(path: Path) -> None:
    tensors = load_file(path)
    del tensors[sorted(tensors)[0]]
    save_file(tensors, path, metadata={"format": "pt"})


def other_shapes(path: Path) -> None:
    tensors = load_file(path)
    name = next(name for name in sorted(tensors) if tensors[name].ndim == 2)
    tensors[name] = tensors[name][:-1].contiguous()
    save_file(tensors, path, metadata={"format": "pt"})


OF_WEIGHTS: tuple[Damage, ...] = (cut, no_header, fewer_tensors, other_shapes)


def damaged(model: Path, folder: Path, name: str, damage: Damage) -> str:
    """A folder with the model's files, of which one is damaged, without checksums: those of others have none."""
    folder.mkdir(parents=True)
    for path in model.iterdir():
        if path.name == FOLDER_FILE:
            continue
        if path.name == name:
            (folder / name).write_bytes(path.read_bytes())
        elif path.is_file():
            os.symlink(path, folder / path.name)
    damage(folder / name)
    return str(folder)


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        *((WEIGHTS, damage) for damage in OF_WEIGHTS),
        ("tokenizer.json", no_json),
        ("tokenizer.json", a_list),
        ("generation_config.json", no_json),
        ("config.json", no_json),
        ("config.json", a_list),
    ],
)
def test_whisper(tiny_en: Path, tmp_path: Path, name: str, damage: Damage) -> None:
    model = damaged(tiny_en, tmp_path / "model", name, damage)
    with pytest.raises(LLaSOError, match=rf"asr\.model: {model} is damaged .*; fetch it again"):
        load(Asr(model=model, engine="torch"), Run(device="cpu"))


def test_a_run_with_damaged_weights_says_so(tiny_en: Path, clips: list, tmp_path: Path) -> None:
    model = damaged(tiny_en, tmp_path / "model", WEIGHTS, cut)
    arguments = [str(clips[0].path), "--out", str(tmp_path / "out"), "--asr", model, "--engine", "local"]
    done = CliRunner().invoke(llaso_data, ["build-align", *arguments, "--device", "cpu"], catch_exceptions=False)
    assert done.exit_code == 2
    assert f"asr.model: {model} is damaged" in done.output


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small speech-language model with random weights."""
    return made_model(tmp_path_factory.mktemp("small"))


@pytest.mark.parametrize(
    ("name", "damage"),
    [*((WEIGHTS, damage) for damage in OF_WEIGHTS), ("tokenizer.json", no_json), ("config.json", no_json)],
)
def test_a_model_to_train_from_or_to_ask(small: Path, tmp_path: Path, name: str, damage: Damage) -> None:
    model = damaged(small, tmp_path / "model", name, damage)
    with pytest.raises(LLaSOError, match=rf"model\.start: {model} is damaged .*; fetch it again"):
        load_model(ModelPart(start=model), 0)


def test_evaluate_says_so(small: Path, tmp_path: Path) -> None:
    model = damaged(small, tmp_path / "model", WEIGHTS, cut)
    rows = [{"audio": "a.wav", "text": "hello"}]
    (tmp_path / "m.jsonl").write_text("\n".join(map(json.dumps, rows)))
    options = ["--data", str(tmp_path / "m.jsonl"), "--task", "asr", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(llaso_model, ["evaluate", model, *options], catch_exceptions=False)
    assert done.exit_code == 2
    assert f"{model} is damaged" in done.output


def test_the_language_model_of_tier_2(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    from tests.support.training_fixtures import small_llama

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0, "b": 1}, "a")))
    tokenizer.bos_token = tokenizer.eos_token = tokenizer.pad_token = "b"
    AutoModelForCausalLM.from_config(small_llama(tokenizer)).save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    CausalLanguageModel(str(tmp_path / "whole"))
    for number, (name, damage) in enumerate([(WEIGHTS, cut), (WEIGHTS, fewer_tensors), ("tokenizer.json", no_json)]):
        model = damaged(tmp_path / "whole", tmp_path / str(number), name, damage)
        with pytest.raises(LLaSOError, match=rf"language_model\.model: {model} is damaged.*; fetch it again"):
            CausalLanguageModel(model)
