"""What Whisper's encoder gives for a clip as long as it is, beside the same clip padded to 30 s.

    .venv/bin/python bench/encoder_states.py --model base --clips 40

English prompts, joined where they are shorter, cut to 1, 3 and 10 s, and each with some silence after it, of which no
states come. Printed are the cosine similarity of each state with the one at its place in the padded window (mean, and
the 5th percentile), and how many times as long the padded window takes; medians, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperModel

from llaso_data import audio
from llaso_data.demo import assets, weights
from llaso_model.encoders.whisper import WhisperStates

MODELS = {"tiny.en": weights.tiny_en, "base": weights.whisper_base}
LENGTHS_S = (1, 3, 10)
TAILS_S = (0.0, 0.5, 1.0)


def cuts(count: int, length_s: int) -> list[np.ndarray[Any, Any]]:
    prompts = assets.demo_corpus(400, 1)
    source = prompts.folders[prompts.languages.index("en")]
    sounds = [audio.decode(str(path))[0] for path in sorted(source.rglob("*.g722"))]
    size, joined = length_s * audio.SAMPLE_RATE_HZ, np.concatenate(sounds)
    starts = np.linspace(0, len(joined) - size, count).astype(int)
    return [joined[start : start + size].astype(np.float32) / audio.FULL_SCALE for start in starts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="base")
    parser.add_argument("--clips", type=int, default=40)
    args = parser.parse_args()
    torch.set_num_threads(1)
    folder = MODELS[args.model]()
    features = WhisperFeatureExtractor.from_pretrained(folder)
    padded = WhisperModel.from_pretrained(folder).encoder.eval()
    own = WhisperStates(padded.config).eval()
    own.load_state_dict(padded.state_dict())
    print(f"{args.model}, {args.clips} clips of each length")
    print("| clip | silence after it | cosine, mean | 5th percentile | padded takes |\n|---|---|---|---|---|")
    given = {"sampling_rate": audio.SAMPLE_RATE_HZ, "return_tensors": "pt"}
    for length_s in LENGTHS_S:
        clips = cuts(args.clips, length_s)
        with torch.inference_mode():
            theirs = [timed(lambda clip=clip: padded(features(clip, **given)["input_features"])[0]) for clip in clips]
            for tail_s in TAILS_S:
                similar, ratios = [], []
                for clip, (whole, whole_s) in zip(clips, theirs, strict=True):
                    longer = np.pad(clip, (0, round(tail_s * audio.SAMPLE_RATE_HZ)))
                    mel = features(longer, padding=False, truncation=False, **given)["input_features"]
                    ours, own_s = timed(lambda mel=mel: own(mel, torch.tensor([mel.shape[2]]))[0])
                    states = 50 * length_s
                    similar += torch.cosine_similarity(ours[0, :states], whole[0, :states], dim=1).tolist()
                    ratios.append(whole_s / own_s)
                print(
                    f"| {length_s} s | {tail_s} s | {np.mean(similar):.3f} | {np.percentile(similar, 5):.3f} "
                    f"| {statistics.median(ratios):.1f} times |",
                    flush=True,
                )


def timed(work: Callable[[], torch.Tensor]) -> tuple[torch.Tensor, float]:
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


if __name__ == "__main__":
    main()
