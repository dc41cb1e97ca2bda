"""It learns: from English prompts to a model that transcribes prompts it never heard, by both stages of training.

    .venv/bin/python bench/learn.py --folder /tmp/learn [--more FOLDER...] [--encoder whisper|resnet]

Stage 1 lets the sound of words and clips find their texts among the language model's embeddings; stage 2 lets the
language model, with adapters, say them. Whisper base (its encoder, frozen) or a convolutional encoder from scratch,
and SmolLM2-135M. Printed are the word error rate on the 60 held-out prompts and how often a held-out clip finds its
text among the 60, before and after; drawn is the curve. ``--more`` names folders of audio with ``.txt`` beside it,
such as ``bench/learn_speech.py`` makes; together they get ``--more-weight`` times the share of the prompts. A run that
was stopped goes on, and shards that were made on one machine are trained on at another.

``--tail 30`` has Whisper hear every clip as it was trained to, padded to 30 s; with ``--remember`` its states of a clip
are computed once, so that this takes no longer (but sound is not augmented).
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from learn_sets import make_sets
from torch import nn

from llaso_data.demo import weights
from llaso_data.whisper.linear import computes_bf16
from llaso_model.configuration import TAIL_S, states_of
from llaso_model.device import own_device
from llaso_model.encoders.whisper import WhisperStates
from llaso_model.train.config import TrainRecipe
from llaso_model.train.log import read_metrics
from llaso_model.train.loop import initial_validation, train
from llaso_model.train.run_folder import MODEL_FOLDER

NO_REPEAT = 5  # tokens: what keeps an answer out of a loop
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def recipes(sets: dict[str, Path], out: Path, args: argparse.Namespace) -> list[TrainRecipe]:
    """Both stages."""
    sources: list[dict[str, Any]] = [
        {"path": str(path), "name": name} for name, path in sets.items() if name != "heldout"
    ]
    if len(sources) > 1:
        for source in sources:
            source["weight"] = 1.0 if source["name"] == "train" else args.more_weight / (len(sources) - 1)
    data = {
        "sources": sources,
        "validation": str(sets["heldout"]),
        "micro_batches": 1,
        "num_workers": args.workers,
        "augment": None if args.remember else {"speed": (0.9, 1.1), "noise_snr_db": (10, 30), "noise_share": 0.5},
    }
    start: dict[str, Any] = {
        "language_model": str(weights.smollm2()),
        "chat_template": "plain",
        "config": {"stack": 5, "projector_size": 2048},
    }
    if args.encoder == "whisper":
        start["encoder"] = str(weights.whisper_base())
        start["config"]["tail_s"] = args.tail
    else:
        start["config"] = {"stack": 1, "projector_size": 2048, "audio_config": _RESNET}
    trained = ("aligner",) if args.encoder == "whisper" else ("encoder", "aligner")
    run = {"save_steps": args.save_steps, "logging_steps": 10, "tensorboard": False, "seed": args.seed}
    run["precision"] = "bf16" if computes_bf16(own_device()) else "fp32"
    stage_1 = {
        "model": {**start, "train": trained},
        "data": {**data, "budget": args.budgets[0]},
        "objectives": {"completion": 0, "word": 1, "utterance": 0.5, "negatives": 2000},
        "optimizer": {"lr": 1e-3, "warmup": 0.1},
        "run": {**run, "num_epochs": args.epochs[0], "max_steps": args.steps and args.steps[0]},
    }
    stage_2 = {
        "model": {
            "start": str(out / "stage1" / MODEL_FOLDER),
            "train": trained,
            "lora": {"rank": 16, "alpha": 32, "dropout": 0.0, "targets": LORA_TARGETS},
        },
        "data": {**data, "budget": args.budgets[1]},
        "objectives": {"completion": 1, "word": 0.3, "negatives": 2000, "state_noise": 0.3},
        "optimizer": {"lr": 5e-4, "lr_of": {"aligner": 3e-4, "encoder": 3e-4}, "warmup": 0.05},
        "run": {**run, "num_epochs": args.epochs[1], "max_steps": args.steps and args.steps[1]},
    }
    return [TrainRecipe.model_validate(one) for one in (stage_1, stage_2)]


_RESNET = {"model_type": "llaso_resnet", "widths": (192,) * 4 + (320,) * 4 + (512,) * 4, "pool": 1, "dropout": 0.1}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--more", type=Path, nargs="*", default=[])
    parser.add_argument("--more-weight", type=float, default=1.0)
    parser.add_argument("--encoder", choices=["whisper", "resnet"], default="whisper")
    parser.add_argument("--tail", type=float, default=TAIL_S, help="seconds of silence that Whisper hears after a clip")
    parser.add_argument("--epochs", type=float, nargs=2, default=(6, 4), help="of each stage")
    parser.add_argument("--steps", type=int, nargs=2, help="of each stage, in place of epochs")
    parser.add_argument("--budgets", nargs=2, default=("60s", "30s"), help="of a step in each stage")
    parser.add_argument("--save-steps", type=int, default=100)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--remember", action="store_true", help="compute Whisper's states of a clip once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only-after", action="store_true", help="do not ask the model before it has learnt anything")
    parser.add_argument("--name", help="of the run's folder; default: that of the encoder")
    args = parser.parse_args()
    if args.remember:
        _remember()
    sets = make_sets(args.folder, args.more)
    out = args.folder / (args.name or args.encoder)
    results: dict[str, dict[str, float]] = {}
    stages = recipes(sets, out, args)
    if not args.only_after:
        results["before"] = initial_validation(_asked(stages[0], {}))
    for number, recipe in enumerate(stages, 1):
        folder = out / f"stage{number}"
        started = time.monotonic()
        train(recipe, str(folder))
        print(f"stage {number}: {(time.monotonic() - started) / 60:.1f} min", flush=True)
        changed = {"start": str(folder / MODEL_FOLDER), "encoder": None, "language_model": None, "lora": None}
        results[f"after stage {number}"] = initial_validation(_asked(recipe, changed, says=number == 2))
    results[f"after stage 2, no {NO_REPEAT} tokens twice"] = initial_validation(
        _asked(recipe, changed, no_repeat=NO_REPEAT)
    )
    print("| | WER of 60 held-out prompts | finds its text among them |\n|---|---|---|")
    for name, values in results.items():
        print(f"| {name} | {values.get('wer', math.nan):.3f} | {values['rank1']:.0%} |")
    _draw(out)


def _asked(recipe: TrainRecipe, changed: dict[str, Any], says: bool = True, no_repeat: int = 0) -> TrainRecipe:
    """The recipe with a changed model, asked for both numbers; only for one where it has not learnt to say anything."""
    settings = recipe.model_dump()
    settings["model"] |= changed
    settings["objectives"] |= {"completion": float(says), "utterance": 1.0}
    settings["data"]["validation_no_repeat"] = no_repeat
    return TrainRecipe.model_validate(settings)


def _remember() -> None:
    """Whisper's encoder gives a clip that it has heard the states that it gave before. The encoder must be frozen."""
    plain = WhisperStates.forward
    known: dict[bytes, torch.Tensor] = {}

    def states(self: Any, features: torch.Tensor, lengths: torch.Tensor, tail: int = 0, **_: Any) -> Any:
        cut = [feature[:, :length] for feature, length in zip(features, lengths.tolist(), strict=True)]
        keys = [hashlib.sha256(one.contiguous().numpy().tobytes()).digest() for one in cut]
        for number in [number for number, key in enumerate(keys) if key not in known]:
            alone = slice(number, number + 1)
            found, count = plain(self, features[alone], lengths[alone], tail)
            known[keys[number]] = found[0, : int(count)]
        return nn.utils.rnn.pad_sequence([known[key] for key in keys], True), states_of(lengths, self.config)

    WhisperStates.forward = states  # type: ignore[method-assign]


def _draw(out: Path) -> None:
    """Held-out values of both stages over their steps."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    for axis, stage, name, title in zip(
        axes, ("stage1", "stage2"), ("rank1", "wer"), ("finds its text among 60", "word error rate"), strict=True
    ):
        lines = [one for one in read_metrics(out / stage) if f"validation/{name}" in one]
        values = [one[f"validation/{name}"] for one in lines]
        axis.plot([one["step"] for one in lines], values, marker="o")
        axis.set(title=f"{stage}: {title}", xlabel="step", ylim=(0, 1.1 * max(values, default=1)))
        axis.grid(alpha=0.3)
    figure.savefig(out / "learn.png", dpi=120)
    print(out / "learn.png")


if __name__ == "__main__":
    main()
