"""The figures of docs/align.md: a packed window; joined words, their attention and path, and where aligners put them.

    .venv/bin/python bench/alignment_figures.py --out docs/figures

tiny.en, the first utterance of the joined prompts that are reported on. Needs matplotlib (the extra ``demo``).
"""

from __future__ import annotations

import argparse
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from alignment import ours
from alignment_peers import Times, peers
from matplotlib import pyplot

from llaso_data import audio
from llaso_data.align import attention, dtw
from llaso_data.align.word_states import build_states
from llaso_data.asr.split import split, token_attention
from llaso_data.audio import SAMPLE_RATE_HZ
from llaso_data.demo import assets, weights
from llaso_data.demo.exact import Truth, joined_words
from llaso_data.recipe import Align, Asr, Run
from llaso_data.text import word_spans
from llaso_data.whisper.load import Whisper, load
from llaso_data.whisper.windows import FRAME_S, assemble, pack

COLOURS = ("#1f6f8b", "#c8553d")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("docs/figures"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folder = str(weights.tiny_en())
    torch.set_num_threads(1)
    whisper = load(Asr(model=folder), Run(device="cpu", threads=1))
    (truth,) = joined_words(1)
    draw_window(whisper, args.out / "packed-window.png")
    draw_path(whisper, truth, args.out / "align-path.png")
    aligners = {"LLaSO": ours(whisper, packed=False), **peers(folder, whisper, 1)}
    draw_words(truth, {name: align([truth])[0] for name, align in aligners.items()}, args.out / "align-words.png")


def draw_window(whisper: Whisper, path: Path) -> None:
    """A packed window: its clips, and below each word's attention with the clip that the word was dealt to."""
    prompts = assets.demo_corpus(60, 1)
    source = prompts.folders[prompts.languages.index("en")]
    pcm = {i: audio.decode(str(clip))[0] for i, clip in enumerate(sorted(source.rglob("*.g722")))}
    lengths = [len(pcm[i]) for i in pcm]
    window = max(pack(lengths, ["en"] * len(pcm), Asr().gap_s), key=lambda each: len(each.slots))
    encoded = whisper.engine.encode([assemble(window, pcm)])
    (heard,) = whisper.engine.decode(encoded, ["en"])
    targets = [[*heard.tokens, whisper.vocabulary.end]]
    (scored,) = whisper.decoder.force(
        [whisper.vocabulary.prompt("en")], targets, whisper.decoder.cache_cross_attention(encoded), heads=Align().heads
    )
    assert scored.attention_HTS is not None
    starts = whisper.vocabulary.word_starts(heard.tokens, "en")
    parts = split(scored.attention_HTS, starts, window.slots)
    bounds = [*starts, len(heard.tokens)]
    tokens_TS = token_attention(scored.attention_HTS)
    rows = np.stack([tokens_TS[a:b].mean(axis=0) for a, b in pairwise(bounds)])
    figure, (above, below) = pyplot.subplots(
        2,
        1,
        figsize=(10, 1.6 + 0.15 * len(rows)),
        sharex=True,
        height_ratios=(1.2, 0.15 * len(rows)),
        layout="constrained",
    )
    samples = assemble(window, pcm)
    above.plot(np.arange(len(samples))[::8] / SAMPLE_RATE_HZ, samples[::8], color="#777777", linewidth=0.3)
    above.set_yticks([])
    shown = np.sqrt(rows / rows.max(axis=1, keepdims=True))
    below.imshow(shown, aspect="auto", cmap="Greys", extent=(0, 30, len(rows) - 0.5, -0.5), interpolation="none")
    for number, (slot, part) in enumerate(zip(window.slots, parts, strict=True)):
        start_s, end_s = slot.start / SAMPLE_RATE_HZ, (slot.start + slot.length) / SAMPLE_RATE_HZ
        above.axvspan(start_s, end_s, color=COLOURS[number % 2], alpha=0.25, linewidth=0)
        own = [row for row, first in enumerate(starts) if part.first <= first < part.last]
        if own:
            corner, height = (start_s, own[0] - 0.5), len(own)
            below.add_patch(
                pyplot.Rectangle(
                    corner, end_s - start_s, height, fill=False, edgecolor=COLOURS[number % 2], linewidth=1.2
                )
            )
    labels = [whisper.vocabulary.text(heard.tokens[a:b]).strip() for a, b in pairwise(bounds)]
    below.set_yticks(range(len(labels)), labels, fontsize=6)
    below.set_xlabel("seconds")
    _save(figure, path)


def draw_path(whisper: Whisper, truth: Truth, path: Path) -> None:
    """Shares of the attention, states down and time across, with the best path on it; the level below."""
    settings = Align()
    (window,) = pack([len(truth.pcm)], ["en"], 0.6, False)
    (encoded,) = whisper.decoder.cache_cross_attention(whisper.engine.encode([assemble(window, {0: truth.pcm})]))
    tokens, offsets = whisper.vocabulary.character_tokens(truth.text)
    prompt = whisper.vocabulary.prompt("en")
    (forced,) = whisper.decoder.force(
        [prompt], [[*tokens, whisper.vocabulary.end]], [encoded[window.slots[0].frames]], heads=32, alignment_heads=True
    )
    assert forced.attention_HTS is not None
    maps = attention.input_rows(forced.attention_HTS, last=True)
    states = build_states(truth.text, offsets, word_spans(truth.text, "en"))
    energy = attention.frame_energy(truth.pcm, maps.shape[2])
    score = attention.state_scores(maps, states, energy, settings.energy, settings.median)
    starts = dtw.best_path(score, states.pause_N)
    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(10, 6.4), sharex=True, height_ratios=(5, 1), layout="constrained"
    )
    end_s = maps.shape[2] * FRAME_S
    above.imshow(score, aspect="auto", cmap="Greys", extent=(0, end_s, len(score) - 0.5, -0.5), interpolation="none")
    step = np.repeat(np.arange(len(score)), 2)
    above.plot(np.column_stack([starts[:-1], starts[1:]]).ravel() * FRAME_S, step, color=COLOURS[1])
    labels = ["–" if offset < 0 else truth.text[offset] for offset in states.offsets]
    above.set_yticks(range(len(labels)), labels, fontsize=6)
    above.set_ylabel("characters, and – for pauses")
    below.plot(np.arange(len(energy)) * FRAME_S, energy, color=COLOURS[0])
    below.set_ylabel("energy")
    below.set_xlabel("seconds")
    _save(figure, path)


def draw_words(truth: Truth, found: dict[str, Times], path: Path) -> None:
    """The waveform with its true edges, and below it each aligner's words."""
    figure, axis = pyplot.subplots(figsize=(10, 1.4 + 0.5 * len(found)), layout="constrained")
    time_s = np.arange(len(truth.pcm)) / SAMPLE_RATE_HZ
    axis.plot(time_s, truth.pcm / np.abs(truth.pcm.astype(float)).max() * 0.8, color="#777777", linewidth=0.4)
    for start, end in truth.edges:
        axis.axvspan(start, end, color="#000000", alpha=0.07, linewidth=0)
    words = [truth.text[a:b].strip(".") for a, b in word_spans(truth.text, "en")]
    for row, times in enumerate(found.values(), start=1):
        for n, (word, own) in enumerate(zip(words, times, strict=True)):
            if own is not None:
                left, width = own[0], own[1] - own[0]
                axis.barh(-row - 0.5, width, left=left, height=0.8, color=COLOURS[n % 2], alpha=0.35, linewidth=0)
                axis.text(left + width / 2, -row - 0.5, word, ha="center", va="center", fontsize=7)
    axis.set_yticks([0, *(-row - 0.5 for row in range(1, len(found) + 1))], ["", *found])
    axis.set_xlim(0, time_s[-1])
    axis.set_xlabel("seconds; grey: the words as they were joined")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
    print(path)


if __name__ == "__main__":
    main()
