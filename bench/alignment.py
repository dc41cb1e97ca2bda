"""Word times against labels made by hand and against exact truth, beside other aligners on the same weights.

    .venv/bin/python bench/alignment.py --model tiny.en --labels labels --digits free-spoken-digit-dataset
    .venv/bin/python bench/alignment.py --model base --clips

``bench/hand_labels.py`` tells how to get the labels; without ``--labels`` and ``--digits`` those sets are left out.
Prints for every set and aligner the mean and median absolute error of word starts and ends, the share of them within
20, 50, 100 and 200 ms, how many there were, and how much of the silence that is known (before, between and after the
joined words) lies inside words. Parameters were fitted on the sets called fitted; the others are reported. All run on
``--threads`` threads; seconds are those of the whole set, encoder included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from alignment_peers import Aligner, Times, peers
from alignment_sets import Set, joined_clips, joined_digits, joined_prompts, labelled
from throughput_tools import PRECISIONS

from llaso_data.align.backward import score_backward
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo import weights
from llaso_data.demo.exact import Truth
from llaso_data.recipe import Align, Asr, Run
from llaso_data.whisper.clips import Clip
from llaso_data.whisper.encoder_states import EncoderStates
from llaso_data.whisper.load import Whisper, load
from llaso_data.whisper.windows import assemble, pack

MODELS = {"tiny.en": weights.tiny_en, "base": weights.whisper_base}
WITHIN_MS = (20, 50, 100, 200)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="tiny.en")
    parser.add_argument("--labels", type=Path, help="folder that bench/hand_labels.py wrote")
    parser.add_argument("--digits", type=Path, help="clone of Jakobovski/free-spoken-digit-dataset")
    parser.add_argument("--clips", action="store_true", help="also the clips in nine languages, joined in pairs")
    parser.add_argument("--utterances", type=int, default=30, help="of each joined set")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=list(PRECISIONS), default="auto", help="of LLaSO")
    parser.add_argument("--only", default="", help="sets whose name has this in it")
    parser.add_argument("--without", nargs="*", default=[], help="peers to leave out, as they are named in the tables")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    folder = str(MODELS[args.model]())
    asr_type, align_type = PRECISIONS[args.precision]
    run = Run(device="cpu", threads=args.threads)
    whisper = load(Asr(model=folder, compute_type=asr_type), run, Align(compute_type=align_type))
    aligners: dict[str, Aligner] = {
        "LLaSO, packed windows": ours(whisper, packed=True),
        "LLaSO, one clip per window": ours(whisper, packed=False),
    }
    aligners.update(
        (name, align) for name, align in peers(folder, whisper, args.threads).items() if name not in args.without
    )
    sets = [*(labelled(args.labels) if args.labels else []), *joined_prompts(args.utterances)]
    sets += [joined_digits(args.digits, args.utterances)] if args.digits else []
    sets += joined_clips() if args.clips else []
    print(f"Whisper {args.model}, {args.threads} threads; errors in ms, shares in %")
    for name, truths in sets:
        known = [truth for truth in truths if whisper.vocabulary.supports(truth.language)]
        if known and args.only in name:
            report((name, known), aligners)


def report(one: Set, aligners: dict[str, Aligner]) -> None:
    name, truths = one
    length_s = sum(len(truth.pcm) for truth in truths) / SAMPLE_RATE_HZ
    print(f"\n## {name}: {len(truths)} utterances, {length_s:.0f} s\n")
    print("| aligner | mean | median | " + " | ".join(f"<= {ms}" for ms in WITHIN_MS) + " | edges | silence | s |")
    print("|---|" + "---|" * (5 + len(WITHIN_MS)))
    for aligner, align in aligners.items():
        start = time.perf_counter()
        found = align(truths)
        seconds = time.perf_counter() - start
        errors, total = differences(truths, found)
        shares = " | ".join(f"{100 * np.mean(errors <= ms):.1f}" for ms in WITHIN_MS)
        print(
            f"| {aligner} | {errors.mean():.0f} | {np.median(errors):.0f} | {shares} | {len(errors)} of {total} "
            f"| {100 * silence_in_words(truths, found):.1f} | {seconds:.1f} |",
            flush=True,
        )


def differences(truths: Sequence[Truth], found: Sequence[Times]) -> tuple[np.ndarray, int]:
    """Absolute errors in ms of the edges that are known and found, and how many are known."""
    errors, total = [], 0
    for truth, times in zip(truths, found, strict=True):
        for edges, own in zip(truth.edges, times, strict=True):
            for k, edge in enumerate(edges):
                if edge is not None:
                    total += 1
                    if own is not None and own[k] == own[k]:
                        errors.append(abs(own[k] - edge) * 1000)
    return np.array(errors), total


def silence_in_words(truths: Sequence[Truth], found: Sequence[Times]) -> float:
    """The share of known silence that words were laid over."""
    covered = silent = 0.0
    for truth, times in zip(truths, found, strict=True):
        ends = [0.0, *(end for _, end in truth.edges)]
        starts = [*(start for start, _ in truth.edges), len(truth.pcm) / SAMPLE_RATE_HZ]
        words = [(start, end) for start, end in (own for own in times if own is not None)]
        for a, b in zip(ends, starts, strict=True):
            if a is not None and b is not None and b > a:
                silent += b - a
                covered += sum(max(0.0, min(b, end) - max(a, start)) for start, end in words)
    return covered / silent if silent else 0.0


def ours(whisper: Whisper, packed: bool) -> Aligner:
    def align(truths: Sequence[Truth]) -> list[Times]:
        pcm = {i: truth.pcm for i, truth in enumerate(truths)}
        states: dict[int, EncoderStates] = {}
        for window in pack([len(pcm[i]) for i in pcm], [truth.language for truth in truths], 0.6, packed):
            (encoded,) = whisper.decoder.cache_cross_attention(whisper.engine.encode([assemble(window, pcm)]))
            states.update({slot.clip: encoded[slot.frames] for slot in window.slots})
        clips = [Clip(truth.pcm, states[i], states[i], truth.text, truth.language) for i, truth in enumerate(truths)]
        found: list[Times] = []
        for truth, result in zip(truths, score_backward(whisper.decoder, clips, Align()), strict=True):
            times: Times = [(word.start_s, word.end_s) for word in result.words]
            found.append(times or [None] * len(truth.edges))
        return found

    return align


if __name__ == "__main__":
    main()
