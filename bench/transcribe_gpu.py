"""Where the time of transcription goes on a GPU: Whisper of any shape with random weights, piece by piece.

    python3 bench/transcribe_gpu.py --vocabulary FOLDER [--shape large-v3] [--device cuda] [--batches 1 8 16 32]

FOLDER holds the tokenizer and the configurations of a multilingual Whisper, without its weights. Random weights never
end a text, so each window is decoded for --tokens, what 30 s of speech have. A window holds three clips, whose texts
are teacher-forced and timed. Medians of --repeats, after a first one that is not counted; seconds are wall time, with
the device waited for.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

WINDOW_S = 30
RATE_HZ = 16_000
CLIPS = 3  # in a window
SENTENCE = "The weather is nice today, so we will walk down to the river and back before it rains again in the evening."
SHAPES = {
    "large-v3": {"d_model": 1280, "layers": 32, "heads": 20, "num_mel_bins": 128, "vocab_size": 51866},
    "medium": {"d_model": 1024, "layers": 24, "heads": 16, "num_mel_bins": 80, "vocab_size": 51865},
    "tiny": {"d_model": 384, "layers": 4, "heads": 6, "num_mel_bins": 80, "vocab_size": 51865},
}
PIECES = ("features", "encode", "decode", "keys and values", "passes and word times")


def checkpoint(shape: str, vocabulary: Path, device: str, folder: Path) -> Path:
    """A checkpoint of a shape with random weights, in half precision."""
    import torch
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    for path in vocabulary.iterdir():
        if path.suffix in (".json", ".txt"):
            shutil.copyfile(path, folder / path.name)
    sizes = dict(SHAPES[shape])
    layers, heads = sizes.pop("layers"), sizes.pop("heads")
    config = WhisperConfig.from_pretrained(vocabulary, **sizes)
    for side in ("encoder", "decoder"):
        setattr(config, f"{side}_layers", layers)
        setattr(config, f"{side}_attention_heads", heads)
        setattr(config, f"{side}_ffn_dim", 4 * config.d_model)
    config.num_hidden_layers = layers
    with torch.device(device):
        model = WhisperForConditionalGeneration(config)
    model.half().save_pretrained(folder)
    settings = json.loads((vocabulary / "preprocessor_config.json").read_text())
    settings |= {"feature_size": sizes["num_mel_bins"], "mel_filters": None}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    shutil.copyfile(vocabulary / "generation_config.json", folder / "generation_config.json")
    return folder


def measured(whisper: Any, folder: Path, windows: Sequence[Any], tokens: int, repeats: int) -> dict[str, float]:
    """Seconds of each piece for a batch of windows."""
    from llaso_data.align.backward import score_backward
    from llaso_data.recipe import Align
    from llaso_data.whisper.torch import LogMel

    for name in ("torch", "ctranslate2"):
        importlib.import_module(f"llaso_data.whisper.{name}").MAX_NEW_TOKENS = tokens  # type: ignore[attr-defined]
    features = LogMel(str(folder), whisper.device)
    took: dict[str, list[float]] = {name: [] for name in PIECES}

    def timed(name: str, work: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        found = work()
        _wait(whisper.device)
        took[name].append(time.perf_counter() - start)
        return found

    for _ in range(repeats + 1):
        timed("features", lambda: features(windows))
        states = timed("encode", lambda: whisper.engine.encode(windows))
        timed("decode", lambda s=states: whisper.engine.decode(s, ["en"] * len(windows)))
        kept = timed("keys and values", lambda s=states: whisper.decoder.cache_cross_attention(s))
        clips = [clip for window, one in zip(windows, kept, strict=True) for clip in clips_of(window, one)]
        timed("passes and word times", lambda c=clips: score_backward(whisper.decoder, c, Align()))
    return {name: statistics.median(one[1:]) for name, one in took.items()}


def clips_of(window: Any, states: Any) -> list[Any]:
    """The clips of a window, with its states."""
    from llaso_data.whisper.clips import Clip

    samples, frames = len(window) // CLIPS, states.frames // CLIPS
    parts = [(window[n * samples : (n + 1) * samples], states[n * frames : (n + 1) * frames]) for n in range(CLIPS)]
    return [Clip(pcm, own, own, SENTENCE, "en") for pcm, own in parts]


def _wait(device: str) -> None:
    import torch

    if device == "cuda":
        torch.cuda.synchronize()


def _peak_gib(device: str) -> float:
    import torch

    return float(torch.cuda.max_memory_allocated()) / 2**30 if device == "cuda" else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path, required=True, help="folder of a Whisper, its weights may be absent")
    parser.add_argument("--shape", choices=list(SHAPES), default="large-v3")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--engines", nargs="+", default=["torch", "ctranslate2"])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 16, 32])
    parser.add_argument("--tokens", type=int, default=110, help="decoded of each window")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    from llaso_data.recipe import Asr, Run
    from llaso_data.whisper.load import load

    draw = np.random.default_rng(0)
    windows = [draw.integers(-3000, 3000, WINDOW_S * RATE_HZ, dtype=np.int16) for _ in range(max(args.batches))]
    with tempfile.TemporaryDirectory() as made:
        folder = checkpoint(args.shape, args.vocabulary, args.device, Path(made))
        print(f"{args.shape}, {args.tokens} tokens a window, ms a window:")
        print(f"| engine | windows | {' | '.join(PIECES)} | x real time | peak GiB of torch |")
        print(f"|{'---|' * (4 + len(PIECES))}", flush=True)
        for engine in args.engines:
            try:
                whisper = load(Asr(model=str(folder), engine=engine), Run(device=args.device))
            except Exception as error:  # a missing library of one engine: the other goes on
                print(f"| {engine} | {type(error).__name__}: {str(error).splitlines()[0]} |", flush=True)
                continue
            for count in args.batches:
                took = measured(whisper, folder, windows[:count], args.tokens, args.repeats)
                cells = " | ".join(f"{1000 * one / count:.1f}" for one in took.values())
                speed = WINDOW_S * count / sum(took[name] for name in PIECES if name != "features")
                print(f"| {engine} | {count} | {cells} | {speed:.0f} | {_peak_gib(args.device):.1f} |", flush=True)


if __name__ == "__main__":
    main()
