"""What training the reference model uses of a GPU: the published shape (3.86 B), random weights, real shards.

    .venv/bin/python bench/train_gpu.py --shards /tmp/learn/shards/train --tokenizer FOLDER --out /tmp/gpu

Each way of training is a process of its own: the loop's own steps over the stream, in bfloat16. Printed are medians
after the first steps. The share of the peak (MFU) counts multiplications with weights only, none that gradient
checkpointing repeats, and none for padding.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

WARM = 3  # steps that are not counted
WAYS: dict[str, dict[str, Any]] = {
    "projector": {"model": {"train": ["aligner"]}},
    "adapters": {"model": {"train": ["aligner"], "lora": {"rank": 16, "dropout": 0}}},
    "adapters, compiled": {"model": {"train": ["aligner"], "lora": {"rank": 16, "dropout": 0}, "compile": True}},
    "whole language model": {"model": {"train": ["aligner", "language_model"]}},
    "whole language model, fsdp": {
        "model": {"train": ["aligner", "language_model"]},
        "run": {"parallel": "fsdp"},
    },
    "whole language model, checkpointing": {
        "model": {"train": ["aligner", "language_model"], "gradient_checkpointing": True},
    },
    "whole language model, compiled": {"model": {"train": ["aligner", "language_model"], "compile": True}},
}


def recipe_of(way: str, shards: str, tokenizer: str, budget: str, steps: int) -> Any:
    from llaso_model.train.config import TrainRecipe

    own = WAYS[way]
    return TrainRecipe.model_validate(
        {
            "model": {"language_model": tokenizer, "chat_template": "plain", **own["model"]},
            "data": {"sources": [{"path": shards}], "budget": budget, "micro_batches": 2, "num_workers": 4},
            "run": {"max_steps": steps, "tensorboard": False, "parallel": "ddp", **own.get("run", {})},
        }
    )


def measure(recipe: Any, out: Path) -> None:
    """The loop's steps with a model made on the GPU; their records are in ``out``."""
    import torch
    from transformers import AutoTokenizer, WhisperFeatureExtractor

    from llaso_model.chat_format import PLAIN_TEMPLATE
    from llaso_model.configuration import LLaSOConfig
    from llaso_model.modeling.llaso import LLaSOForConditionalGeneration
    from llaso_model.processing import LLaSOProcessor
    from llaso_model.train.distributed import rank_context
    from llaso_model.train.log import TrainLog
    from llaso_model.train.loop import flops_of, loader_of, step, upcoming
    from llaso_model.train.run import run_of

    config = LLaSOConfig.named("published")
    processor = LLaSOProcessor(
        WhisperFeatureExtractor(feature_size=config.audio_config.num_mel_bins),
        AutoTokenizer.from_pretrained(recipe.model.language_model),
        chat_template=PLAIN_TEMPLATE,
        stack=config.stack,
        encoder=config.audio_config.to_dict(),
    )
    config.audio_token_id = processor.audio_token_id
    out.mkdir(parents=True, exist_ok=True)
    with rank_context(recipe.run.parallel) as context:
        with torch.device(context.device):
            model = LLaSOForConditionalGeneration(config)
        loader = loader_of(recipe.data, 0, context.rank, context.world_size)
        run = run_of(recipe, context, recipe.run.max_steps, model, processor)
        log = TrainLog(out, context, recipe, 0, run.steps, flops_of(run.module, recipe))
        for number, batches, _ in upcoming(loader, run, 0):
            log.step(step(run, number, batches), batches, 0.0)
        log.close()


def medians(out: Path) -> str:
    from llaso_model.train.log import read_metrics

    lines = read_metrics(out)[WARM:]
    middle = {name: statistics.median(one[name] for one in lines) for name in lines[0] if name in lines[-1]}
    return (
        f"{middle['audio_s_per_s']:,.0f} | {middle['tokens_per_s']:,.0f} | {middle['wall_s']:.2f} "
        f"| {middle['text_padding']:.1%} | {lines[-1]['peak_memory_mib'] / 1024:.1f} | {middle.get('mfu', 0):.1%}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--tokenizer", required=True, help="folder of any tokenizer with fewer than 128,256 tokens")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", default="200s")
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        recipe = recipe_of(args.one, args.shards, args.tokenizer, args.budget, args.steps)
        return measure(recipe, args.out / args.one.replace(" ", "_"))
    print("| trained | s of audio a second | tokens a second | s a step | padding | peak GiB | MFU |", flush=True)
    print("|---|---|---|---|---|---|---|", flush=True)
    for way in args.ways:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", way]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(f"| {way} | {done.stderr.strip().splitlines()[-1]} |", flush=True)
            print(done.stderr[-3000:], file=sys.stderr)
        else:
            print(f"| {way} | {medians(args.out / way.replace(' ', '_'))} |", flush=True)


if __name__ == "__main__":
    main()
