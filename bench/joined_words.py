"""Word borders against exact truth: recorded single words joined with known gaps.

    .venv/bin/python bench/joined_words.py --model base

Prints the mean absolute error and the share of borders within 100 ms for the checkpoint's own alignment heads and for
the heads of largest norm, packed and alone, at several weights of the frames' energy. The words are English prompts,
their edges where the level passes 3 % of their loudest 10 ms.
"""

from __future__ import annotations

import argparse
import random

import numpy as np

from llaso_data import audio
from llaso_data.align import bidirectional
from llaso_data.asr.forced import Decoder
from llaso_data.asr.load import Whisper, load
from llaso_data.asr.states import States
from llaso_data.asr.windows import assemble, pack
from llaso_data.demo import assets, weights
from llaso_data.pipeline.recipe import Align, Asr, Run

NUMBERS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
]
WORDS = {
    **{f"digits/{i}": word for i, word in enumerate(NUMBERS)},
    "digits/day-0": "Sunday",
    "digits/day-1": "Monday",
    "digits/mon-0": "January",
    "digits/mon-7": "August",
    "hello": "hello",
    "digits/hundred": "hundred",
    "digits/thousand": "thousand",
    "phonetic/b_p": "bravo",
    "phonetic/c_p": "Charlie",
    "phonetic/f_p": "foxtrot",
    "phonetic/h_p": "hotel",
    "phonetic/t_p": "tango",
}
Truth = tuple[str, audio.Pcm, list[tuple[float, float]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=["tiny.en", "base"], default="base")
    parser.add_argument("--utterances", type=int, default=36)
    args = parser.parse_args()
    folder = str(weights.tiny_en() if args.model == "tiny.en" else weights.whisper_base())
    whisper = load(Asr(model=folder), Run(device="cpu", threads=2))
    truths = joined(args.utterances)
    print(f"{len(truths)} utterances of 6 words, {args.model}; mean absolute error, share of borders within 100 ms")
    for packed in (True, False):
        states = encoded(whisper, truths, packed)
        for heads in ("own", "largest norm"):
            if heads == "largest norm":
                whisper.decoder._named = {}
            cells = [f"energy {e}: {borders(whisper.decoder, truths, states, e)}" for e in (0.0, 0.5, 1.0, 2.0)]
            print(f"{'packed' if packed else 'alone':6} {heads:12} " + "   ".join(cells))
        whisper = load(Asr(model=folder), Run(device="cpu", threads=2))


def joined(count: int) -> list[Truth]:
    """Utterances of six words: pauses of 0.02-0.6 s between most of them, under 0.05 s between the others."""
    sounds = assets.prompts() / "usr/share/asterisk/sounds" / assets.VOICES["en"].folder
    words = {word: trimmed(str(sounds / f"{name}.g722")) for name, word in WORDS.items()}
    draw = random.Random(1)
    truths = []
    for number in range(count):
        chosen = draw.sample(sorted(words), 6)
        pieces, edges = [np.zeros(draw.randint(800, 6400), np.int16)], []
        at = len(pieces[0])
        for word in chosen:
            edges.append((at / 16_000, (at + len(words[word])) / 16_000))
            gap = np.zeros(draw.randint(320, 9600) if draw.random() < 0.6 else draw.randint(0, 800), np.int16)
            pieces += [words[word], gap]
            at += len(words[word]) + len(gap)
        hum = np.random.default_rng(number).normal(0, 15, at)
        pcm = np.clip(np.concatenate(pieces) + hum, -32768, 32767).astype(np.int16)
        truths.append((" ".join(chosen).capitalize() + ".", pcm, edges))
    return truths


def trimmed(path: str) -> audio.Pcm:
    pcm, _ = audio.decode(path)
    level = [float(np.sqrt(np.mean(pcm[i : i + 160].astype(float) ** 2))) for i in range(0, len(pcm) - 160, 80)]
    loud = np.flatnonzero(np.array(level) > 0.03 * max(level))
    return pcm[loud[0] * 80 : loud[-1] * 80 + 160]


def encoded(whisper: Whisper, truths: list[Truth], packed: bool) -> list[States]:
    pcm = {i: truth[1] for i, truth in enumerate(truths)}
    states: dict[int, States] = {}
    for window in pack([len(pcm[i]) for i in pcm], ["en"] * len(pcm), 0.6, packed):
        (found,) = whisper.decoder.read(whisper.engine.encode([assemble(window, pcm)]))
        states.update({slot.clip: found[slot.frames] for slot in window.slots})
    return [states[i] for i in range(len(truths))]


def borders(decoder: Decoder, truths: list[Truth], states: list[States], energy: float) -> str:
    clips = [
        bidirectional.Clip(pcm, state, state, text, "en") for (text, pcm, _), state in zip(truths, states, strict=True)
    ]
    errors = []
    for (_, _, edges), found in zip(truths, bidirectional.backward(decoder, clips, Align(energy=energy)), strict=True):
        for word, (start_s, end_s) in zip(found.words, edges, strict=True):
            errors += [abs(word.start_s - start_s), abs(word.end_s - end_s)]
    array = np.array(errors)
    return f"{array.mean() * 1000:4.0f} ms {np.mean(array <= 0.1):.3f}"


if __name__ == "__main__":
    main()
