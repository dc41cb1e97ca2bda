"""Do built instructions help? Six tasks against transcription alone, on speakers that neither model heard.

    .venv/bin/python bench/instruct_helps.py SETS --start demo-out/train/stage1/model --out OUT [--steps 120]

SETS is what ``bench/instruct_sets.py`` made. ``llaso-data build-instruct`` makes two training sets of the same
recordings with written instructions: six tasks in equal parts, and transcription alone. Two models begin with the model
after stage 1 of ``llaso-model demo`` and are trained alike, for as many steps of as many tokens. Both are asked the
test split of the six tasks, whose speakers, voices and packs of sounds are in no training set; its transcripts are read
by voices that the training split does not have. ``llaso-model score`` prints each task's score with its 95 % interval,
beside a system that always says the label that is most frequent in the test split. A run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import instruct_packages as packages
import soundfile
import yaml

from llaso_data.demo import assets
from llaso_data.instruct.voices import VoiceEngine, engine
from llaso_data.instruct.voices.cache import Line, VoiceCache
from llaso_data.io.cache import cache_folder
from llaso_data.whisper.linear import computes_bf16
from llaso_model.device import own_device
from llaso_model.train.config import TrainRecipe
from llaso_model.train.loop import train
from llaso_model.train.run_folder import MODEL_FOLDER

TASKS = ("asr", "gender", "synthetic_speech", "command", "vocal_sound", "instrument")
LORA_TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CORPORA = ("prompts", "speakers", "authenticity", "commands", "vocal_sounds", "notes")
LABELS = ("gender", "authenticity", "command", "vocal_sound", "instrument")
TEST_VOICES = (("espeak-ng", "en-gb+f4"), ("espeak-ng", "en-us+m7"), ("kokoro", "jf_alpha"), ("kokoro", "jm_kumo"))
TEST_TEXTS = 80
LONGEST_S = 8  # of a recording that is trained on: 400 tokens
LLASO_DATA, LLASO_MODEL = (
    [sys.executable, "-c", f"from {module} import main; main()"] for module in ("llaso_data.cli", "llaso_model.cli")
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", type=Path)
    parser.add_argument("--start", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--samples", type=int, default=2400)
    parser.add_argument("--budget", default="800t")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = options.out / "rows.jsonl"
    if not rows.exists():
        lines = [json.dumps(row, ensure_ascii=False) for row in corpus(options.sets, options.out / "spoken")]
        rows.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    systems = {"six tasks": TASKS, "transcription": ("asr",)}
    shards = {name: build(rows, options, name, tasks) for name, tasks in systems.items()}
    answers = [ask(learn(options, name, shards[name]), shards["six tasks"], options, name) for name in systems]
    answers.append(most_frequent(answers[0], options.out / "answers" / "most frequent label"))
    subprocess.run([*LLASO_MODEL, "score", *map(str, answers), "--out", str(options.out / "scores")], check=True)


def corpus(sets: Path, spoken: Path) -> Iterator[dict[str, Any]]:
    """The rows of all corpora with the labels of the six tasks; texts in English only."""
    packages.use_espeak()
    said: set[str] = set()
    for name in CORPORA:
        for line in (sets / name / "manifest.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            known = {key: row[key] for key in ("language", "speaker", *LABELS) if row.get(key)}
            text = row.get("said") or row.get("text")
            if text and row["language"] == "en":
                known["text"] = text
                said.add(text)
            split = {"split": row["speaker_split"]} if "speaker_split" in row else {}
            yield {"audio": str((sets / name / row["audio"]).resolve()), **known, **split}
    texts = sorted({text for _, text in packages.prompts("en").values() if len(text.split()) >= 3} - said)
    spoken.mkdir(exist_ok=True)
    for number, text in enumerate(assets.draw(texts, TEST_TEXTS, "texts of the test split")):
        name, voice = TEST_VOICES[number % len(TEST_VOICES)]
        path = spoken / f"{number}.flac"
        soundfile.write(path, speech(name, voice, text), 16_000)
        about = {"language": "en", "speaker": f"{name}/{voice}", "split": "test"}
        yield {"audio": str(path.resolve()), "text": text, **about}


_ENGINES: dict[str, VoiceEngine] = {}


def speech(name: str, voice: str, text: str) -> Any:
    line = Line(text, "en", voice, 1.0, 0)
    cache = VoiceCache(str(cache_folder() / "bench" / "voices"))
    return cache.speak(name, _ENGINES.setdefault(name, engine(name)), line).at_16_khz()


def build(rows: Path, options: argparse.Namespace, name: str, tasks: tuple[str, ...]) -> Path:
    """Shards with the splits train and test."""
    out: Path = options.out / "shards" / name.replace(" ", "_")
    instruct = {
        "tasks": list(tasks), "mix": "balanced", "samples": options.samples, "turns": 8,
        "split": {"train": 0.8, "test": 0.2}, "by": "recording", "languages": {"en": 1.0},
        "modalities": {"text_audio": 1.0}, "seed": options.seed,
    }  # fmt: skip
    source = {"path": str(rows.resolve()), "corpus": "six-tasks"}
    recipe = {"sources": [source], "instruct": instruct, "voices": {"engines": {}}, "run": {"engine": "local"}}
    path = options.out / f"{out.name}.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    subprocess.run([*LLASO_DATA, "build-instruct", "--recipe", str(path), "--out", str(out)], check=True)
    return out


def learn(options: argparse.Namespace, name: str, shards: Path) -> Path:
    """The model's folder after so many steps."""
    out: Path = options.out / "runs" / shards.name
    recipe = {
        "model": {"start": options.start, "lora": {"rank": 16, "alpha": 32, "targets": LORA_TARGETS}},
        "data": {
            "sources": [{"path": str(shards / "train"), "filter": {"duration_s": [0, LONGEST_S]}}],
            "micro_batches": 1, "num_workers": 1, "budget": options.budget,
        },
        "objectives": {"completion": 1},
        "optimizer": {"lr": 5e-4, "warmup": 0.05},
        "run": {
            "max_steps": options.steps, "num_epochs": 1000, "logging_steps": 20, "save_steps": 60,
            "tensorboard": False, "precision": "bf16" if computes_bf16(own_device()) else "fp32", "seed": options.seed,
        },
    }  # fmt: skip
    print(f"training on {name}", flush=True)
    train(TrainRecipe.model_validate(recipe), str(out))
    return out / MODEL_FOLDER


def ask(model: Path, shards: Path, options: argparse.Namespace, name: str) -> Path:
    out: Path = options.out / "answers" / name
    asked = ["--data", str(shards / "test"), "--out", str(out), "--system", name, "--max-new-tokens", "60"]
    subprocess.run([*LLASO_MODEL, "evaluate", str(model), *asked], check=True)
    return out


def most_frequent(answers: Path, out: Path) -> Path:
    """The answers of a system that always says the most frequent label of the test split."""
    rows = [json.loads(line) for line in (answers / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    references: dict[str, Counter[str]] = {}
    for row in rows:
        references.setdefault(row["set"], Counter())[row["reference"]] += 1
    for row in rows:
        ((row["answer"], _),) = references[row["set"]].most_common(1)
        row["system"] = out.name
    out.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    (out / "predictions.jsonl").write_text(lines, encoding="utf-8")
    return out


if __name__ == "__main__":
    main()
