"""A test set of four layers: its quotas, its noise, and a whole one whose layers only an honest system passes."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from llaso_data.audio import limited, to_float32
from llaso_data.audio.noise import snr_db
from llaso_data.demo.assets import english_prompts
from llaso_data.errors import LLaSOError
from llaso_data.instruct.evaluation import SLOTS, noise_of, turn_of
from llaso_data.instruct.tasks import LAYERS, all_tasks
from llaso_data.io import settings
from llaso_data.pipeline.instruct.eval_plan import quotas
from llaso_data.pipeline.instruct.noisy import noisy_clip
from llaso_data.pipeline.instruct.preview import preview
from llaso_data.pipeline.instruct.run import build_instruct
from llaso_data.pipeline.instruct.show import print_preview
from llaso_data.recipe import EvalSet, Recipe
from llaso_data.records import Source, Utterance, digest
from llaso_data.shipped import recipe_path
from llaso_model.evaluate import score
from llaso_model.evaluate.datasets import tasks
from llaso_model.evaluate.datasets.open_samples import open_samples

TASKS = all_tasks()


def test_the_recipe_of_the_mission_has_15_044_rows_in_four_layers() -> None:
    recipe = settings.load(Recipe, recipe_path("build-instruct", "llaso-eval"))
    assert recipe.instruct.eval is not None
    names = list(TASKS.build)
    layers = [TASKS.tasks[name].layer for name in names]
    counts = quotas(
        np.full((len(SLOTS), len(names)), 5000), recipe.instruct.eval, names, layers, recipe.instruct.samples
    )
    by_layer = Counter[str]()
    for number, slot in enumerate(SLOTS):
        for task, layer in enumerate(layers):
            by_layer[slot.layer or layer] += int(counts[number, task])
    assert [by_layer[name] for name in LAYERS] == [6166, 4439, 2219, 2220] and sum(by_layer.values()) == 15_044
    plain = dict(zip(names, counts[0].tolist(), strict=True))
    assert plain["asr"] == pytest.approx(2.85 * plain["aqa"], rel=0.01) and plain["gender"] == pytest.approx(
        500 / 858 * plain["intent"], rel=0.02
    )


@pytest.mark.parametrize("missing", ["unseen", "accent"])
def test_what_the_rows_cannot_give_goes_to_the_others(missing: str) -> None:
    names = ["asr", "gender", "ambiguous"]
    available = np.array([[0 if slot.part.startswith(missing) else 100 for _ in names] for slot in SLOTS])
    counts = quotas(available, EvalSet(), names, [TASKS.tasks[name].layer for name in names], 400)
    assert counts.sum() in (399, 400) and (counts <= available).all()
    refused = [number for number, slot in enumerate(SLOTS) if slot.part == "refused"]
    assert np.array_equal(counts[refused], counts[[number + 1 for number in refused]])
    assert all(turn_of(number) == turn_of(number + 1) for number in refused)


def test_noise_is_drawn_by_row_and_seed_over_all_levels() -> None:
    drawn = [noise_of(f"{number}", 0, EvalSet().snr_db, EvalSet().noises) for number in range(300)]
    assert {level for level, _ in drawn} == {-10, -5, 0, 5, 10, 15, 20} and len({noise for _, noise in drawn}) == 3
    assert drawn != [noise_of(f"{number}", 1, EvalSet().snr_db, EvalSet().noises) for number in range(300)]


@pytest.mark.parametrize("noise", ["white", "pink", "babble"])
def test_a_recording_in_noise_has_its_ratio_and_its_name(noise: str, tmp_path: Path) -> None:
    paths = [path for path, _ in list(english_prompts().values())[:4]]
    first, *others = (
        Utterance(id=digest(path.name), recording=digest(path.name), source=Source(corpus="p", uri=str(path)))
        for path in paths
    )
    made = noisy_clip(first, 0.0, noise, "key", str(tmp_path), others)
    again = noisy_clip(first, 0.0, noise, "key", str(tmp_path), others)
    assert isinstance(made, Utterance) and made == again and len(list(tmp_path.rglob("*.flac"))) == 1
    speech, heard = (to_float32(limited.decode_source(one.source)) for one in (first, made))
    scale = float(heard @ speech / (speech @ speech))  # it is softer where the sum would clip
    assert snr_db(scale * speech, heard - scale * speech) == pytest.approx(
        0.0,
        abs=2.0 if noise == "babble" else 0.3,  # voices are alike, so how loud the speech is in it is estimated
    )


def corpus(folder: Path, count: int = 96) -> Path:
    """Real prompts with labels that are made up."""
    rows = []
    for number, (path, said) in enumerate(list(english_prompts().values())[:count]):
        rows.append(
            {
                "audio": str(path),
                "text": said,
                "language": "en",
                "speaker": f"s{number % 12}",
                "gender": ("male", "female")[number % 2],
                "emotion": ("joy", "anger", "neutral")[number % 3],
                "emotion_intensity": ("low", "medium", "high")[number % 3],
                "accent": ("scottish", "irish")[number % 2],
                "environment": "vehicle" if number % 12 == 0 else "indoor",
            }
        )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "rows.jsonl"


def recipe_of(source: Path, out: Path, **instruct: Any) -> Recipe:
    return Recipe.model_validate(
        {
            "sources": [{"path": str(source)}],
            "out": str(out),
            "instruct": {
                "samples": 600,
                "modalities": {"text_audio": 1.0},
                "hold_out": {
                    "tasks": ["emotion_intensity"],
                    "templates": ["asr/en/condition"],
                    "environments": ["vehicle"],
                },
                "eval": {},
                **instruct,
            },
            "run": {"engine": "local"},
        }
    )


def test_a_preview_shows_the_layers_as_the_run_makes_them_and_says_why_they_are_short(tmp_path: Path) -> None:
    recipe = recipe_of(corpus(tmp_path, 24), tmp_path / "out", samples=150)
    shown = preview(recipe)
    layers = {layer.name: layer for layer in shown.layers}
    assert list(layers) == list(LAYERS)
    assert sum(layer.asked or 0 for layer in shown.layers) in (149, 150)
    built = build_instruct(recipe)
    assert {name: layer.found for name, layer in layers.items()} == {
        name: sum(counts.values()) for name, counts in built.layers.items()
    }
    for name, layer in layers.items():
        assert {task: found for task, (_, found) in layer.tasks.items() if found} == built.layers[name]
        assert len(layer.examples) == min(10, layer.found)
    asked, found = layers["tasks"].tasks["age"]
    assert asked and not found and layers["tasks"].tasks["gender"][1]
    assert any(why.startswith("rows of its tasks: 22 of ") for why in layers["basic"].short)
    assert any("snr:" in how for how, _, _ in layers["robustness"].examples)
    said = Console(record=True, width=200, file=io.StringIO())
    print_preview(shown, said)
    text = said.export_text()
    assert "layer generalisation: " in text and "no age in 24 rows" in text

    held_out_nothing = preview(recipe_of(tmp_path / "rows.jsonl", tmp_path / "out", hold_out={}, samples=None))
    short = {layer.name: layer.short for layer in held_out_nothing.layers}
    assert short["generalisation"] == ["what is held out: none, as instruct.hold_out names nothing"]


def test_without_a_row_to_test_nothing_is_begun(tmp_path: Path) -> None:
    recipe = recipe_of(corpus(tmp_path, 6), tmp_path / "out", split={"train": 1.0, "test": 1e-9})
    with pytest.raises(LLaSOError, match="nothing can be tested of 6 rows: no row is in the split test"):
        build_instruct(recipe)
    assert not (tmp_path / "out").exists()
    short = [why for layer in preview(recipe).layers for why in layer.short]
    assert short and all("no row is in the test split" in why for why in short)


@pytest.mark.slow
def test_a_set_of_real_prompts_is_passed_by_an_oracle_and_by_no_constant_system(tmp_path: Path) -> None:
    build_instruct(recipe_of(corpus(tmp_path), tmp_path / "out"))
    samples = open_samples(str(tmp_path / "out"), tasks.load())
    asked = samples.read(range(len(samples)))
    systems = {
        "oracle": lambda line: line["reference"],
        "refuser": lambda line: "I'm sorry, I cannot do that.",
        "answerer": lambda line: line["reference"] if line["expected"] == "answer" else line["transcript"],
    }
    lines = [
        {
            **one.line,
            "id": one.id,
            "system": system,
            "answer": answer(one.line),
            "language": one.line["language"],
        }
        for system, answer in systems.items()
        for one in asked
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = score.score([str(tmp_path / "answers.jsonl")], str(tmp_path / "scores"), workers=1)
    assert [layer["name"] for layer in said["layers"]] == list(LAYERS)
    for layer in said["layers"]:
        passed = {system: told["passed"] for system, told in layer["systems"].items()}
        assert passed == {"oracle": True, "refuser": False, "answerer": False}, layer
    tags = {one["tag"] for one in said["tags"]}
    assert {"unseen_task", "unseen_template", "unseen_room", "accent", "refusal", "ask_back", "snr:-10"} <= tags
