"""Utterances a second in training: ours, Hugging Face's Trainer with length grouping, and a loop padded to 30 s.

    .venv/bin/python bench/train_throughput.py --shards /tmp/learn/shards/train --repeats 3

The shards are those of ``bench/learn.py``: 459 prompts, which the 36 steps that are counted go through about once.
Fewer would compare long clips with short ones, as the Trainer's sampler sorts one stretch of the data after the other.

The same model for all (Whisper's encoder, frozen, an MLP that is trained, SmolLM2-135M, frozen), the same prompts,
the same labels, AdamW, bfloat16, no checkpointing, one process. Each measurement is a process of its own, the three
take turns, medians are printed. Each trains on about as many utterances a step; the first steps are not counted.

- ``padded``: as SLAM-LLM's recipes do: every clip's log-mel is padded to 30 s and goes through the encoder so, a
  batch holds a fixed number of clips in random order, and its texts are padded to the longest.
- ``trainer``: Hugging Face's Trainer over an in-memory dataset with ``group_by_length``, our variable-length encoder
  and processor in its collator, logits at every position as its models give them.
- ``ours``: ``llaso-model train`` on the shards.
- ``compiled``: the same with ``model.compile``; some more steps are not counted.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

ENCODERS = ("tiny", "base")
WAYS = ("padded", "trainer", "ours", "compiled")
BATCH = 12  # clips of a step; ours takes as much sound as so many have on the average
WARM = {"padded": 2, "trainer": 2, "ours": 2, "compiled": 12}  # steps that are not counted


def recipe_of(encoder: str, shards: Path, budget: str, steps: int, compiled: bool = False) -> Any:
    from llaso_data.demo import weights
    from llaso_model.train.config import TrainRecipe

    whisper = weights.tiny_en() if encoder == "tiny" else weights.whisper_base()
    return TrainRecipe.model_validate(
        {
            "model": {
                "language_model": str(weights.smollm2()),
                "encoder": str(whisper),
                "chat_template": "plain",
                "compile": compiled,
            },
            "data": {"sources": [{"path": str(shards)}], "budget": budget, "micro_batches": 1, "num_workers": 1},
            "run": {"max_steps": steps, "save_steps": 10**6, "tensorboard": False, "save": "trainable"},
        }
    )


def samples_of(shards: Path) -> list[Any]:
    """All samples, decoded: (sound, conversation)."""
    from llaso_data.stream import Mixture, StreamingLoader
    from llaso_model.train.collate import conversations_of

    found = []
    for batch in StreamingLoader(Mixture.of(str(shards)), "300s"):
        for messages, length in zip(conversations_of(batch), batch.lengths.tolist(), strict=True):
            found.append((length, messages))
    return sorted(found, key=lambda one: str(one[1][-1]))


def measured(way: str, encoder: str, shards: Path, steps: int) -> dict[str, float]:
    ways = {"padded": _padded, "trainer": _trainer, "ours": _ours, "compiled": partial(_ours, compiled=True)}
    return ways[way](encoder, shards, steps)


def _model(encoder: str, shards: Path) -> tuple[Any, Any, Any]:
    """The training module with frozen parts in bfloat16, as the loop has it."""
    import torch

    from llaso_model.train.build import load_model, training_module

    recipe = recipe_of(encoder, shards, "30s", 1)
    model, processor = load_model(recipe.model, 0)
    module = training_module(recipe, model)
    for value in module.parameters():
        value.data = value.data if value.requires_grad else value.data.to(torch.bfloat16)
    return model, processor, module


def _padded(encoder: str, shards: Path, steps: int) -> dict[str, float]:
    """A plain loop: 30 s for every clip."""
    import torch
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    model, processor, _ = _model(encoder, shards)
    whole = WhisperEncoder(model.config.audio_config).to(torch.bfloat16).eval()
    whole.load_state_dict(model.audio_tower.state_dict())
    samples = samples_of(shards)
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(0)).tolist()
    optimizer = torch.optim.AdamW(model.aligner.parameters(), lr=5e-5)
    timed = _Timer(WARM["ours"])
    for step in range(steps):
        chosen = [samples[order[(step * BATCH + one) % len(order)]] for one in range(BATCH)]
        inputs = processor.batch([messages for _, messages in chosen], output_labels=True)
        sounds = [part["audio"] for _, messages in chosen for part in messages[0]["content"] if part["type"] == "audio"]
        features = processor.feature_extractor(sounds, sampling_rate=16_000, return_tensors="pt")["input_features"]
        with torch.autocast("cpu", torch.bfloat16):
            with torch.no_grad():
                states = whole(features.to(torch.bfloat16)).last_hidden_state
            lengths = (inputs["feature_lengths"] + 1) // 2
            speech = model.aligner(states, lengths)
            places = inputs["input_ids"] == model.config.audio_token_id
            embeds = model.get_input_embeddings()(inputs["input_ids"])
            embeds = embeds.masked_scatter(places[..., None], speech.to(embeds.dtype))
            loss = model.language_model(
                inputs_embeds=embeds, attention_mask=inputs["attention_mask"], labels=inputs["labels"]
            ).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        timed.step(step, BATCH)
    return timed.found()


def _trainer(encoder: str, shards: Path, steps: int) -> dict[str, float]:
    """Hugging Face's Trainer with batches of like lengths."""
    import tempfile

    from transformers import Trainer, TrainerCallback, TrainingArguments

    model, processor, _ = _model(encoder, shards)
    samples = samples_of(shards)
    # The Trainer groups plain lists by the lengths of their input_ids.
    dataset = [{"messages": messages, "input_ids": range(length)} for length, messages in samples]

    def collate(rows: list[dict[str, Any]]) -> dict[str, Any]:
        return dict(processor.batch([row["messages"] for row in rows], output_labels=True))

    timed = _Timer(WARM["ours"])

    class Watch(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            timed.step(state.global_step - 1, BATCH)

    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            train_sampling_strategy="group_by_length",
            max_steps=steps,
            bf16=True,
            use_cpu=True,
            remove_unused_columns=False,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            dataloader_num_workers=1,
            learning_rate=5e-5,
        )
        Trainer(model, arguments, train_dataset=dataset, data_collator=collate, callbacks=[Watch()]).train()
    return timed.found()


def _ours(encoder: str, shards: Path, steps: int, compiled: bool = False) -> dict[str, float]:
    import tempfile

    from llaso_model.train import loop

    told = json.loads((shards / "manifest.json").read_text())
    mean_s = told["hours"] * 3600 / told["samples"]
    timed = _Timer(WARM["compiled" if compiled else "ours"])
    plain = loop.step

    def watched(run: Any, number: int, batches: Any) -> Any:
        record = plain(run, number, batches)
        timed.step(number, sum(len(batch.keys) for batch in batches))
        return record

    loop.step = watched
    with tempfile.TemporaryDirectory() as folder:
        loop.train(recipe_of(encoder, shards, f"{BATCH * mean_s:.1f}s", steps, compiled), folder)
    return timed.found()


class _Timer:
    """Utterances and seconds between the end of the warm-up and the last step."""

    def __init__(self, warm: int) -> None:
        self.warm, self.utterances, self.started, self.ended = warm, 0, 0.0, 0.0

    def step(self, number: int, utterances: int) -> None:
        self.ended = time.perf_counter()
        if number == self.warm - 1:
            self.started = self.ended
        elif number >= self.warm:
            self.utterances += utterances

    def found(self) -> dict[str, float]:
        wall_s = self.ended - self.started
        return {"per_s": self.utterances / wall_s, "utterances": self.utterances, "wall_s": wall_s}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--steps", type=int, default=36, help="that are counted")
    parser.add_argument("--encoders", nargs="+", default=ENCODERS)
    parser.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(measured(*args.child, args.shards, args.steps)))
        return
    for encoder in args.encoders:
        taken: dict[str, list[float]] = {way: [] for way in args.ways}
        for _ in range(args.repeats):
            for way in args.ways:
                steps = WARM[way] + args.steps
                command = [sys.executable, __file__, "--shards", str(args.shards), "--steps", str(steps)]
                command += ["--child", way, encoder]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    raise SystemExit(f"{way}: {done.stderr[-1500:]}")
                taken[way].append(json.loads(done.stdout.splitlines()[-1])["per_s"])
        print(f"\nWhisper {encoder} + SmolLM2-135M, load {os.getloadavg()[0]:.1f}")
        print("| | utterances/s | x padded | x trainer |\n|---|---|---|---|")
        for way, rates in taken.items():
            ratios = [
                statistics.median(own / other for own, other in zip(rates, taken.get(name, []), strict=False))
                if name in taken
                else math.nan
                for name in ("padded", "trainer")
            ]
            print(f"| {way} | {statistics.median(rates):.2f} | {ratios[0]:.2f} | {ratios[1]:.2f} |", flush=True)


if __name__ == "__main__":
    main()
