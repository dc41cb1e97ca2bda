"""``llaso-model demo``: a short training on the demo's shards, and held-out clips transcribed.

The model is Whisper base's encoder, frozen, with SmolLM2-135M. Stage 1 aligns the sound of words with the words, stage
2 teaches the language model to transcribe. A few minutes on two cores show that it learns; ``bench/learn.py`` trains
longer.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from llaso_data.demo import assets, weights
from llaso_data.errors import LLaSOError
from llaso_data.extras import require
from llaso_data.io import outputs
from llaso_data.text import tokens
from llaso_model import generation
from llaso_model.evaluate.metrics.error_rates import word_error_count

_HELD_OUT = 20  # English prompts, not single words, that are not in the demo's shards
_STEPS = (120, 60)  # of stage 1 and stage 2


@click.command()
@click.option(
    "--shards",
    default="demo-out/shards",
    show_default=True,
    metavar="FOLDER",
    help="Shards that `llaso-data demo` wrote.",
)
@click.option("--out", default="demo-out/train", show_default=True, metavar="FOLDER", help="Folder to write to.")
@click.option("--english", default=240, show_default=True, help="Number of English prompts in the shards.")
def demo(shards: str, out: str, english: int) -> None:
    """Train for a few minutes on the shards of the demo.

    Both stages are trained, and clips that were held out are transcribed.
    """
    run_demo(shards, out, english)


def run_demo(shards: str, out: str, english: int) -> None:
    """Trains both stages on the English samples of ``shards``, and prints transcripts of held-out prompts.

    Args:
        shards: What ``llaso-data demo`` wrote.
        out: Folder of the runs.
        english: How many English prompts the shards have.

    Raises:
        LLaSOError: There are no shards.
    """
    from llaso_data.whisper.linear import computes_bf16
    from llaso_model.device import own_device
    from llaso_model.train.config import TrainRecipe
    from llaso_model.train.loop import train
    from llaso_model.train.run_folder import MODEL_FOLDER

    require("llaso-model demo", "gguf")
    folder = outputs.on_disk(out, "the demo's training")
    if not (Path(shards) / "manifest.json").exists():
        raise LLaSOError(f"{shards} has no shards: run `llaso-data demo` first")
    started = time.monotonic()
    click.secho("\n1/2  Stage 1: the sound of words finds the words", bold=True)
    data: dict[str, Any] = {
        "sources": [{"path": shards, "filter": {"language": ["en"]}}],
        "micro_batches": 1,
        "num_workers": 1,
    }
    precision = "bf16" if computes_bf16(own_device()) else "fp32"
    run = {"logging_steps": 20, "save_steps": 10**6, "tensorboard": False, "precision": precision}
    stage_1 = {
        "model": {
            "language_model": str(weights.smollm2()),
            "encoder": str(weights.whisper_base()),
            "chat_template": "plain",
            "config": {"projector_size": 2048},
        },
        "data": {**data, "budget": "60s"},
        "objectives": {"completion": 0, "word": 1, "utterance": 0.5, "negatives": 2000},
        "optimizer": {"lr": 1e-3, "warmup": 0.1},
        "run": {**run, "max_steps": _STEPS[0]},
    }
    train(TrainRecipe.model_validate(stage_1), str(folder / "stage1"))
    click.secho("\n2/2  Stage 2: the language model, with adapters, says them", bold=True)
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    stage_2 = {
        "model": {
            "start": str(folder / "stage1" / MODEL_FOLDER),
            "lora": {"rank": 16, "alpha": 32, "targets": targets},
        },
        "data": {**data, "budget": "30s"},
        "objectives": {"completion": 1, "word": 0.3, "negatives": 2000, "state_noise": 0.3},
        "optimizer": {"lr": 5e-4, "warmup": 0.05},
        "run": {**run, "max_steps": _STEPS[1]},
    }
    train(TrainRecipe.model_validate(stage_2), str(folder / "stage2"))
    model = folder / "stage2" / MODEL_FOLDER
    click.echo()
    _transcribe(model, held_out_prompts(english, _HELD_OUT))
    click.echo(f"\nTrained in {time.monotonic() - started:.0f} s. The model, for from_pretrained:\n{model}")


def held_out_prompts(english: int, count: int) -> list[tuple[str, str]]:
    """(path, text) of so many prompts whose text is not among the ``english`` prompts of the demo's shards."""
    prompts = assets.english_prompts()
    known = assets.draw(sorted(prompts), english, "en")
    known_texts = {" ".join(tokens(prompts[name][1], "en")) for name in known}
    new = [
        name
        for name, (_, text) in prompts.items()
        if " ".join(tokens(text, "en")) not in known_texts and "/" not in name
    ]
    return [(str(prompts[name][0]), prompts[name][1]) for name in assets.draw(new, count, "held out")]


def _transcribe(model_folder: Path, clips: list[tuple[str, str]]) -> None:
    answers = generation.load(str(model_folder), "the trained model").transcribe(
        [path for path, _ in clips], max_new_tokens=60
    )
    errors = words = 0
    for number, ((path, text), answer) in enumerate(zip(clips, answers, strict=True)):
        wrong, count = word_error_count(text, answer, "en")
        errors, words = errors + wrong, words + count
        if number < 3:
            click.echo(f"{Path(path).name}, never heard before\n  said:   {text}\n  answer: {answer.strip()}")
    click.echo(f"WER of {len(clips)} held-out prompts: {errors / words:.2f}")
