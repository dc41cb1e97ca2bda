"""Training: a step's gradient does not depend on how it is dealt, and a killed run goes on with the same numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from llaso_data.errors import LLaSOError
from llaso_data.stream.batch import Batch, collate
from llaso_model.train.collate import Collator, TrainBatch
from llaso_model.train.config import TrainRecipe, load
from llaso_model.train.distributed import rank_context
from llaso_model.train.find_batch_size import find_batch_size
from llaso_model.train.log import RECIPE_FILE, read_metrics
from llaso_model.train.loop import gradients, initial_validation, loader_of, step, train
from llaso_model.train.run import TrainingRun, prepare_run
from tests.conftest import Clip
from tests.llaso_model.train.test_run_folder import put
from tests.support import processes, ranks
from tests.support.paths import REPOSITORY
from tests.support.training_fixtures import made_model, write_speech, write_texts

RECIPES = REPOSITORY / "pipelines"
LORA = {"rank": 4, "alpha": 8, "dropout": 0.2}
STAGE_1 = {"completion": 1.0, "utterance": 0.3, "word": 0.5, "reconstruction": 0.2, "negatives": 64}
STAGE_2 = {"completion": 1.0}


@pytest.fixture(scope="module")
def speech(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shards")
    write_speech(folder, clips)
    return folder


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model with random weights."""
    return made_model(tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with cross-attention."""
    return made_model(tmp_path_factory.mktemp("crossed"), "cross_attention")


def test_packed_texts_and_compilation_are_refused_with_cross_attention(crossed, speech, tmp_path):
    for parts, said in (({"data": {"pack": True}}, "data.pack"), ({"model": {"compile": True}}, "model.compile")):
        recipe = recipe_of(crossed, speech, **parts)
        with pytest.raises(LLaSOError, match=said):
            train(recipe, str(tmp_path))


def recipe_of(start: Path, speech: Path, **parts: Any) -> TrainRecipe:
    """A small recipe; ``parts`` replace values of its sections."""
    values: dict[str, dict[str, Any]] = {
        "model": {"start": str(start), "train": ("aligner",), "speech_decoder": {"width": 32, "layers": 2}},
        "data": {"sources": [{"path": str(speech)}], "budget": "12s", "micro_batches": 2, "num_workers": 0},
        "objectives": STAGE_1,
        "optimizer": {"lr": 1e-3},
        "run": {"max_steps": 8, "save_steps": 2, "precision": "fp32", "tensorboard": False, "save": "trainable"},
    }
    for name, more in parts.items():
        values[name] = {**values[name], **more}
    return TrainRecipe.model_validate(values)


@pytest.fixture
def eight(start: Path, crossed: Path, speech: Path) -> Iterator[Any]:
    """Eight samples of one step, and what trains on them as so many micro-batches."""
    parts = {
        "stage 1": {"objectives": STAGE_1, "model": {"train": ("encoder", "aligner")}},
        "stage 2": {"objectives": STAGE_2, "model": {"lora": {**LORA, "dropout": 0.0}}},
        "cross-attention": {"objectives": STAGE_2, "model": {"start": str(crossed)}},
    }

    def gradient(
        stage: str, sizes: Sequence[int], pack: bool = False, **model: Any
    ) -> tuple[torch.Tensor, dict[str, float]]:
        part = {**parts[stage], "model": {**parts[stage]["model"], **model}}
        recipe = recipe_of(start, speech, data={"micro_batches": 1, "budget": "48s"}, **part)
        batch = next(iter(loader_of(recipe.data, 0, 0, 1)))
        assert len(batch) >= 8
        with rank_context("ddp") as place:
            run = prepare_run(recipe, place, 8)
            _open_adapters(run)
            reads = bool(recipe.objectives.reconstruction)
            config = run.module.model.config
            examples = [Collator(run.processor, config, pack, reads)(one) for one in _cut(batch, sizes)]
            sums, _ = gradients(run, 0, examples)
            flat = [value.grad.reshape(-1) for value in run.module.parameters() if value.grad is not None]
            return torch.cat(flat), sums

    yield gradient


@pytest.mark.parametrize("stage", ["stage 1", "stage 2", "cross-attention"])
def test_a_steps_gradient_is_the_same_however_it_is_cut(eight, stage):
    whole, losses = eight(stage, [8])
    assert whole.norm() > 1e-3
    for sizes in ([1] * 8, [2] * 4, [3, 5]):
        cut, others = eight(stage, sizes)
        assert (cut - whole).norm() <= 1e-5 * whole.norm()
        assert others == pytest.approx(losses, rel=1e-5)


@pytest.mark.parametrize("stage", ["stage 1", "stage 2"])
def test_packed_texts_give_the_same_loss_and_gradient(eight, stage):
    padded, losses = eight(stage, [4, 4])
    packed, others = eight(stage, [4, 4], pack=True)
    assert others == pytest.approx(losses, rel=1e-5)
    assert (packed - padded).norm() <= 1e-4 * padded.norm()


@pytest.mark.slow
@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("stage", ["stage 1", "stage 2"])
def test_compiled_blocks_give_the_same_loss_and_gradient(eight, stage, checkpointing):
    plain, losses = eight(stage, [3, 5])
    compiled, others = eight(stage, [3, 5], compile=True, gradient_checkpointing=checkpointing)
    assert others == pytest.approx(losses, rel=1e-5)
    assert (compiled - plain).norm() <= 1e-4 * plain.norm()


@pytest.mark.slow
def test_a_compiled_run_is_validated_as_one_that_is_not(start, speech, tmp_path):
    data = {"validation": str(speech), "validation_samples": 4}
    told = []
    for compiled in (False, True):
        recipe = recipe_of(start, speech, model={"compile": compiled}, data=data, run={"max_steps": 2})
        train(recipe, str(tmp_path / f"{compiled}"))
        told.append(read_metrics(tmp_path / f"{compiled}"))
    for one, two in zip(*told, strict=True):
        assert _losses(two) == pytest.approx(_losses(one), rel=1e-4)
    assert [one.get("validation/wer") for one in told[0]] == [one.get("validation/wer") for one in told[1]]


@pytest.fixture(scope="module")
def held_out(clips: list[Clip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven clips and eleven questions without speech."""
    folder = tmp_path_factory.mktemp("held_out")
    write_speech(folder, clips[:7], texts=11)
    return folder


def _on_two_ranks(what: str, recipes: dict[str, TrainRecipe], folder: Path) -> None:
    """``what``: train, into ``folder/NAME``, or validate, into ``folder/NAME.json.found``."""
    for name, recipe in recipes.items():
        (folder / f"{name}.json").write_text(recipe.model_dump_json())
    paths = [str(folder / f"{name}.json") for name in recipes]
    processes.start(ranks.work_on, what, paths, log=folder / "ranks.log", ranks=2).succeed()


def _compare_one_rank_and_two(recipes: dict[str, TrainRecipe], folder: Path) -> None:
    (folder / "two").mkdir()
    _on_two_ranks("train", recipes, folder / "two")
    for name, recipe in recipes.items():
        train(recipe, str(folder / "one" / name))
        lines = zip(read_metrics(folder / "one" / name), read_metrics(folder / "two" / name), strict=True)
        for one, two in lines:
            assert _losses(two) == pytest.approx(_losses(one), rel=1e-5), name


def test_ranks_whose_micro_batches_differ_validate_together(start, held_out, speech, tmp_path):
    recipes = {
        # One micro-batch: the second rank has none.
        "one": {"data": {"budget": "600s", "validation_samples": 50}},
        # Many, of clips or of texts alone; the last question comes on one rank.
        "many": {"data": {"budget": "9s", "validation_samples": 5}},
        "texts": {"data": {"budget": "9s", "validation_samples": 50, "validation": str(tmp_path / "texts")}},
        "no answers": {"data": {"budget": "9s"}, "objectives": {"completion": 0.0}},
    }
    write_texts(tmp_path / "texts", 3)
    made = {}
    for name, parts in recipes.items():
        data = {"validation": str(held_out), **parts["data"]}
        made[name] = recipe_of(start, speech, **{**parts, "data": data}, run={"parallel": "fsdp"})
    _on_two_ranks("validate", made, tmp_path)
    one = {name: initial_validation(recipe) for name, recipe in made.items()}
    for name, found in one.items():
        assert json.loads((tmp_path / f"{name}.json.found").read_text()) == pytest.approx(found, rel=1e-5), name
    assert set(one["one"]) == set(one["many"]) == {"completion", "wer", "rank1", "value"}
    assert set(one["texts"]) == {"completion", "wer", "value"} and set(one["no answers"]) == {"rank1", "value"}


def test_a_run_that_was_stopped_while_it_validated_validates_when_it_goes_on(start, speech, tmp_path):
    recipe = recipe_of(start, speech, data={"validation": str(speech), "validation_samples": 2}, run={"max_steps": 2})
    train(recipe, str(tmp_path / "whole"))
    (tmp_path / "other").mkdir()
    for name in ("checkpoints", RECIPE_FILE):  # the weights were saved, and nothing was told of them
        source, target = tmp_path / "whole" / name, tmp_path / "other" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    said = tmp_path / "other" / "checkpoints" / "step-00000002" / "validation.json"
    value = json.loads(said.read_text())["value"]
    said.unlink()
    train(recipe, str(tmp_path / "other"))
    assert json.loads(said.read_text())["value"] == value
    assert _validated(read_metrics(tmp_path / "other")) == _validated(read_metrics(tmp_path / "whole"))


def _validated(lines: list[dict[str, Any]]) -> dict[str, float]:
    """What validation said last."""
    told = [line for line in lines if "validation/value" in line][-1]
    return {name.removeprefix("validation/"): one for name, one in told.items() if name.startswith("validation/")}


def test_a_killed_run_goes_on_with_the_same_losses(start, speech, tmp_path):
    # Objectives that are off have parameters that nothing uses.
    recipe = recipe_of(start, speech, model={"lora": LORA}, objectives={"state_noise": 0.1, "utterance": 0.0})
    whole = _run(recipe, tmp_path / "whole", 1)
    again = _killed_and_resumed(recipe, tmp_path / "killed", 1)
    assert [_losses(one) for one in again] == [_losses(one) for one in whole]  # every bit of every number


@pytest.mark.parametrize(
    "names",
    [("ddp", "all parts", "cross-attention"), pytest.param(("fsdp", "aligner"), marks=pytest.mark.slow)],
    ids=" and ".join,
)
def test_two_ranks_take_the_steps_of_one(start, crossed, speech, tmp_path, names):
    """Of speech alone, and where at some steps one rank has micro-batches of text alone and the other has speech."""
    validated = {"validation": str(speech), "validation_samples": 2}
    mixed = {"sources": [{"path": str(speech)}, {"path": str(tmp_path / "texts")}], "budget": "3", "micro_batches": 2}
    sharded = {"parallel": "fsdp", "max_steps": 4, "save_steps": 4}
    cases: dict[str, dict[str, Any]] = {
        "ddp": {"model": {"lora": LORA}, "run": {**sharded, "parallel": "ddp"}, "data": validated},
        "fsdp": {"model": {"lora": LORA}, "run": sharded, "data": validated},
        "all parts": {
            "model": {"train": ("encoder", "aligner"), "lora": LORA},
            "run": sharded,
            "data": {**mixed, **validated},
        },
        "aligner": {"objectives": STAGE_2, "run": sharded, "data": mixed},
        "cross-attention": {"model": {"start": str(crossed)}, "objectives": STAGE_2, "run": sharded, "data": mixed},
    }
    write_texts(tmp_path / "texts")
    recipes = {name: recipe_of(start, speech, **cases[name]) for name in names}
    stream = loader_of(recipes[names[-1]].data, 0, 0, 1)
    drawn = [batch.lengths is None or not len(batch.lengths) for batch in islice(stream, 8)]
    assert any(one != two for one, two in zip(drawn[::2], drawn[1::2], strict=True)), "one rank has speech, one none"
    _compare_one_rank_and_two(recipes, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_runs_killed_at_any_step_go_on_with_the_same_losses(start, speech, tmp_path, ranks, workers, parallel):
    recipe = recipe_of(
        start, speech, model={"lora": LORA}, data={"num_workers": workers}, run={"parallel": parallel, "max_steps": 12}
    )
    whole = _run(recipe, tmp_path / "whole", ranks)
    for after in (1, 4, 9):
        again = _killed_and_resumed(recipe, tmp_path / f"killed{after}", ranks, after)
        assert [_losses(one) for one in again] == [_losses(one) for one in whole]


@pytest.mark.slow
def test_a_run_goes_on_with_fewer_ranks(start, speech, tmp_path):
    # max_steps bends the schedule, so the schedule is held constant where the number of steps changes.
    straight = recipe_of(start, speech, model={"lora": LORA}, optimizer={"schedule": "constant", "warmup": 0})
    train(straight, str(tmp_path / "straight"))
    whole = read_metrics(tmp_path / "straight")
    short = straight.model_copy(update={"run": straight.run.model_copy(update={"max_steps": 4})})
    _run(short, tmp_path / "elastic", 2)
    assert [one["step"] for one in whole] == list(range(1, 9))
    train(straight, str(tmp_path / "elastic"))
    for one, two in zip(whole, read_metrics(tmp_path / "elastic"), strict=True):
        assert _losses(two) == pytest.approx(_losses(one), rel=1e-5)


def test_adapters_saved_and_folded_give_the_same_logits(start, speech, tmp_path):
    from llaso import LLaSOModel
    from llaso_model.train.build import load_model, training_module
    from llaso_model.train.export import merge
    from llaso_model.train.run_folder import TRAINED_FILE, stranger

    recipe = recipe_of(start, speech, model={"lora": LORA}, run={"max_steps": 3})
    train(recipe, str(tmp_path))
    put(tmp_path / "whole", "config.json", text='{"model_type": "llaso"}')
    put(tmp_path / "whole", "training.json", "model-00001-of-00002.safetensors")  # of another model
    merge(tmp_path, tmp_path / "whole", overwrite=True)
    assert not (tmp_path / "whole" / "model-00001-of-00002.safetensors").exists()
    assert stranger(tmp_path / "whole") is None and not list(tmp_path.glob(".whole*"))
    assert (tmp_path / "whole" / "losses" / "speech_decoder.safetensors").exists()
    from safetensors.torch import load_file

    model, processor = load_model(recipe.model, 0)
    module = training_module(recipe, model).eval()
    module.load_state_dict(load_file(tmp_path / TRAINED_FILE), strict=False)
    batch = next(iter(loader_of(recipe.data, 0, 0, 1)))
    inputs = dict(Collator(processor, model.config)(batch).inputs)
    folded, plain = LLaSOModel.from_pretrained(tmp_path / "whole").eval(), LLaSOModel.from_pretrained(start).eval()
    with torch.no_grad():
        wanted = model(**inputs).logits
        assert torch.allclose(folded(**inputs).logits, wanted, atol=1e-5)
        assert not torch.allclose(plain(**inputs).logits, wanted, atol=1e-3)


@pytest.fixture
def begun(start: Path, speech: Path) -> Iterator[tuple[TrainingRun, TrainBatch]]:
    """A run before its first step, and a micro-batch of it."""
    recipe = recipe_of(start, speech)
    with rank_context("ddp") as place:
        run = prepare_run(recipe, place, 8)
        yield run, Collator(run.processor, run.module.model.config)(next(iter(loader_of(recipe.data, 0, 0, 1))))


def test_a_loss_that_is_no_number_names_the_samples(begun):
    run, example = begun
    broken = {**example.inputs, "input_features": example.inputs["input_features"] * torch.nan}
    with pytest.raises(LLaSOError, match=example.keys[0]):
        step(run, 0, [replace(example, inputs=broken)])


def test_checkpoints_of_another_recipe_are_refused(start, speech, tmp_path):
    train(recipe_of(start, speech, run={"max_steps": 2}), str(tmp_path))
    with pytest.raises(LLaSOError, match="another recipe"):
        train(recipe_of(start, speech, run={"max_steps": 3}, optimizer={"lr": 2e-3}), str(tmp_path))


def test_the_last_checkpoints_and_the_best_one_are_kept(start, speech, tmp_path):
    data = {"validation": str(speech), "validation_samples": 2}
    run = {"keep": 2, "save_steps": 1, "max_steps": 5, "precision": "bf16"}
    recipe = recipe_of(start, speech, data=data, run=run)
    train(recipe, str(tmp_path))
    lines = read_metrics(tmp_path)
    values = {one["step"]: one["validation/value"] for one in lines if "validation/value" in one}
    assert sorted(values) == [1, 2, 3, 4, 5]
    kept = {int(path.name.removeprefix("step-")) for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {4, 5, min(values, key=lambda step: (values[step], step))}


def test_the_command_takes_the_options_that_users_know(start, speech, tmp_path):
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("run: {tensorboard: false, precision: fp32}\nobjectives: {completion: 1}\n")
    words = ["--config", str(recipe), "--data-dir", str(speech), "--output-dir", str(tmp_path / "out")]
    words += ["--pretrained-model", str(start), "--batch-size", "4", "--num-epochs", "1", "--save-steps", "2"]
    words += ["--logging-steps", "2", "--set", "data.micro_batches=2", "--set", "data.num_workers=0"]
    processes.llaso_model("train", *words, log=tmp_path / "log").succeed()
    from llaso import LLaSOModel

    assert LLaSOModel.from_pretrained(tmp_path / "out" / "model").config.stack == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: {start: a, language_model: b}", "give either start"),
        ("model: {start: a, train: [language_model], lora: {rank: 4}}", "frozen language model"),
        ("model: {start: a, train: []}", "nothing is trained"),
        ("model: {start: a}\nobjectives: {completion: 0}", "all weights are 0"),
        ("model: {start: a}\nrun: {sed: 1}", "did you mean seed"),
    ],
)
def test_recipes_that_cannot_be_are_refused_with_their_line(tmp_path, text, said):
    path = tmp_path / "recipe.yaml"
    path.write_text(f"data: {{sources: [{{path: x}}]}}\n{text}\n")
    with pytest.raises(LLaSOError, match=said) as raised:
        load(str(path))
    assert "recipe.yaml:" in str(raised.value)


@pytest.mark.slow
def test_curves_of_several_runs_are_drawn(start, speech, tmp_path):
    from llaso_model.train.plot import draw

    for name in ("one", "two"):
        train(recipe_of(start, speech, run={"max_steps": 2}), str(tmp_path / name))
    panels = draw([tmp_path / "one", tmp_path / "two"], str(tmp_path / "curves.png"))
    assert panels[:4] == ["loss", "completion", "word", "utterance"]
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_fit_finds_a_budget_between_what_fits_and_what_does_not(start, speech):
    recipe = recipe_of(start, speech, data={"budget": "6s", "micro_batches": 1})
    free = list(find_batch_size(recipe))
    assert all(one.peak_mib is not None for one in free)  # until the data have no larger micro-batch
    peaks = [one.peak_mib for one in free if one.peak_mib is not None]
    assert peaks[-1] > peaks[0]
    tight = list(find_batch_size(recipe, memory_gb=(peaks[0] + peaks[-1]) / 2 / 1024))
    assert any(one.peak_mib is None for one in tight) and any(one.peak_mib is not None for one in tight)


@pytest.mark.slow
def test_ray_starts_a_killed_worker_again_and_the_losses_are_the_same(start, speech, tmp_path):
    import psutil

    recipe = recipe_of(start, speech, run={"max_steps": 40})
    whole = _run(recipe, tmp_path / "whole", 2)
    words = ["train", str(tmp_path / "whole.json"), "--out", str(tmp_path / "ray" / "out"), "--launcher", "ray"]
    command = [sys.executable, "-m", "llaso_model.cli", "--debug", *words, "--num-workers", "2"]
    process = subprocess.Popen(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True, stderr=subprocess.DEVNULL
    )
    metrics = tmp_path / "ray" / "out" / "metrics.jsonl"
    while not metrics.exists() or len(metrics.read_text().splitlines()) < 5:
        assert process.poll() is None, "the run ended before a worker was killed"
        time.sleep(0.02)
    here = psutil.Process(process.pid).children(recursive=True)
    workers = [one for one in here if one.is_running() and "RayTrainWorker" in " ".join(one.cmdline())]
    assert len(workers) == 2
    workers[1].kill()
    assert process.wait(300) == 0
    assert [_losses(one) for one in read_metrics(tmp_path / "ray" / "out")] == [_losses(one) for one in whole]


@pytest.mark.parametrize("path", sorted(RECIPES.glob("train_*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_along_are_valid(path):
    text = path.read_text()
    start = None if "language_model:" in text else "stage1/model"
    recipe = load(str(path), options={"data.sources": [{"path": "shards"}], "model.start": start})
    if path.stem == "train_align":  # it shows every key
        shown = {line.split("#")[0].strip().split(":")[0] for line in text.splitlines()}
        sections = recipe.model_dump()
        assert {name for section in sections.values() for name in section} <= shown | {
            "temperature",
            "balance",
            "changes",
        }


def _cut(batch: Batch, sizes: Sequence[int]) -> Iterator[Batch]:
    """The first samples of a batch, as micro-batches of these sizes."""
    assert batch.audio is not None and batch.lengths is not None
    sounds = [row[:length].numpy() for row, length in zip(batch.audio, batch.lengths.tolist(), strict=True)]
    whole = [replace(sample, sounds=(sound,)) for sample, sound in zip(batch.samples, sounds, strict=True)]
    at = 0
    for number, size in enumerate(sizes):
        yield Batch(batch.step, number, **collate(whole[at : at + size], False))
        at += size


def _open_adapters(run: TrainingRun) -> None:
    """Adapters and gates as they are once something was learnt: they begin as zeros."""
    torch.manual_seed(1)
    for name, value in run.module.named_parameters():
        if "lora_B" in name or name.endswith("_gate"):
            torch.nn.init.normal_(value, std=0.1)


def _losses(record: dict[str, Any]) -> dict[str, float]:
    told = ("loss", "completion", "word", "utterance", "reconstruction", "grad_norm", "validation/completion")
    return {name: value for name, value in record.items() if name.startswith(told)}


def _started(recipe: TrainRecipe, out: Path, ranks: int) -> processes.Started:
    path = out.with_suffix(".json")
    path.write_text(recipe.model_dump_json())
    return processes.llaso_model("--debug", "train", path, "--out", out, log=out.with_suffix(".log"), ranks=ranks)


def _run(recipe: TrainRecipe, out: Path, ranks: int) -> list[dict[str, Any]]:
    _started(recipe, out, ranks).succeed()
    return read_metrics(out)


def _killed_and_resumed(recipe: TrainRecipe, out: Path, ranks: int, after: int = 3) -> list[dict[str, Any]]:
    """SIGKILL of all processes once so many steps are told, then the same command."""
    run = _started(recipe, out, ranks)
    metrics = out / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or len(metrics.read_text().splitlines()) < after:
        assert run.poll() is None, f"the run ended before it was killed: {run.said[-3000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    run.kill()
    last = json.loads(metrics.read_text().splitlines()[after - 1])["step"]
    assert last < (recipe.run.max_steps or 0)
    return _run(recipe, out, ranks)
