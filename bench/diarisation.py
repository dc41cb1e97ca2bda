"""Diarisation error on conversations that are made of known voices, and how well voices are grouped across recordings.

    python bench/diarisation.py [--talks 3] [--seconds 75] [--spoken]

Per number of speakers and share of overlapping turns: miss, false alarm and confusion, and the error without a collar
and with one of 0.25 s; beside it plain clustering of windows that do not overlap. No peer's weights can be had from a
package registry. ``--spoken`` adds synthetic voices (hibari, espeak-ng, three of Kokoro), which are spoken first.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import numpy.typing as npt

from llaso_data import audio
from llaso_data.audio import Pcm
from llaso_data.audio.voice_activity import speech_probabilities
from llaso_data.estimate import voice_groups
from llaso_data.estimate.diarisation import DISTANCE, SIMILARITY, diarise, speech_regions
from llaso_data.estimate.voice_encoder import WINDOW, speaker_embedding, window_embeddings
from tests.support import conversations
from tests.support.conversations import FRAME, active_of, diarisation_error

TEXTS = (
    "I think we should start with the budget for next year, because everything else depends on it.",
    "That sounds reasonable to me, but what about the people who are not here today?",
    "No, I do not agree at all.",
    "Could you tell me where the nearest station is, please?",
    "We arrived late in the evening and found that all the shops had already closed.",
    "My sister has been living in the north for about ten years now, and she likes it very much.",
    "The second part of the plan is more difficult, since nobody has done it before.",
    "Let us take a short break and come back in fifteen minutes.",
    "It will probably rain tomorrow, so take an umbrella with you when you leave.",
    "The museum opens at nine and closes at six, except on Mondays.",
)
SPOKEN = (
    ("hibari", None),
    ("espeak-ng", None),
    ("kokoro", "jm_kumo"),
    ("kokoro", "jf_alpha"),
    ("kokoro", "jf_tebukuro"),
)
Clips = dict[str, list[npt.NDArray[np.float32]]]


def spoken_voices() -> Clips:
    from llaso_data.instruct.voices import engine

    voices: Clips = {}
    for name, voice in SPOKEN:
        speaker = engine(name)
        chosen = voice or speaker.voices()["en"][0]
        lines = [speaker.speak(text, "en", chosen, 1.0, 0).at_16_khz() for text in TEXTS]
        voices[f"{name}-{chosen}"] = conversations.trimmed([audio.to_float32(line) for line in lines])
    return voices


def plain(pcm: Pcm, speech: npt.NDArray[np.float32], frames: int) -> conversations.Activity:
    """Windows of 1.6 s, one after another, clustered at the same distance."""
    spans = [
        (start, min(start + WINDOW, end))
        for first, end in speech_regions(speech, len(pcm))
        for start in range(first, end, WINDOW)
    ]
    vectors = window_embeddings([pcm[start:end] for start, end in spans]).astype(np.float64)
    labels = voice_groups.agglomerate(1 - vectors @ vectors.T, DISTANCE)
    active = np.zeros((int(labels.max()) + 1, frames), bool)
    for (start, end), label in zip(spans, labels.tolist(), strict=True):
        active[label, start // FRAME : end // FRAME] = True
    return active


def talks(voices: Clips, count: int, seconds: float) -> None:
    print("speakers  overlapping turns  found  miss  false  confused  error  with collar  plain clustering")
    errors, used_s, heard_s = [], 0.0, 0.0
    for speakers in (2, 3, 4, 5):
        for overlap in (0.0, 0.2):
            rows, found = [], []
            for seed in range(count):
                talk = conversations.make(voices, speakers, seconds, 10_000 * speakers + seed, overlap)
                frames = talk.active.shape[1]
                started_s = time.process_time()
                speech = speech_probabilities(talk.pcm)
                named = active_of(diarise([talk.pcm], [speech]).turns, frames)
                used_s, heard_s = used_s + time.process_time() - started_s, heard_s + len(talk.pcm) / 16_000
                collared = diarisation_error(talk.active, named, 0.25).sum()
                simple = diarisation_error(talk.active, plain(talk.pcm, speech, frames)).sum()
                rows.append([*diarisation_error(talk.active, named), collared, simple])
                found.append(len(named))
            miss, false, confused, collared, simple = 100 * np.mean(rows, axis=0)
            errors.append((miss + false + confused, collared, simple))
            print(
                f"{speakers:8}  {overlap:17.0%}  {','.join(map(str, found)):>9}"
                f"  {miss:4.1f}  {false:5.1f}  {confused:8.1f}"
                f"  {miss + false + confused:5.1f}  {collared:11.1f}  {simple:16.1f}",
                flush=True,
            )
    print("all: error {:.1f} %, with a collar of 0.25 s {:.1f} %, plain {:.1f} %".format(*np.mean(errors, axis=0)))
    print(f"{used_s / heard_s:.3f} core seconds a second, voice activity included\n")


def across(voices: Clips, clips: int = 12) -> None:
    """Each clip is a recording of its own; whose is it? Same speaker said of two of one voice, and of two voices."""
    pairs = [(name, clip) for name, of_one in voices.items() for clip in of_one[:clips]]
    pcm = [audio.to_int16(clip) for _, clip in pairs]
    names = np.array([name for name, _ in pairs])
    vectors = np.stack([vector for one in pcm if (vector := speaker_embedding(one)) is not None]).astype(np.float64)
    sizes = np.array([max(1.0, (len(one) - WINDOW) / 6_400) for one in pcm])
    same = names[:, None] == names
    upper = np.triu_indices(len(names), 1)
    median_s = np.median([len(one) for one in pcm]) / audio.SAMPLE_RATE_HZ
    print(f"{len(names)} clips of {len(voices)} voices, {median_s:.1f} s in the median")
    corrected = voice_groups.similarities(vectors, vectors, sizes, sizes)[upper]
    for label, chosen in (("one voice", same[upper]), ("two voices", ~same[upper])):
        print(
            f"  similarity of {label}: " + " ".join(f"{q:.2f}" for q in np.percentile(corrected[chosen], [5, 50, 95]))
        )
    for similarity in (0.74, 0.78, SIMILARITY, 0.86, 0.9):
        found = voice_groups.same_voices(vectors, sizes, similarity)
        joined = (found[:, None] == found)[upper]
        right = (joined & same[upper]).sum()
        print(
            f"  from {similarity:.2f}: {found.max() + 1} speakers; {right / max(1, joined.sum()):.0%} of the pairs"
            f" that are joined are one voice; {right / same[upper].sum():.0%} of the pairs of one voice are joined"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--talks", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=75)
    parser.add_argument("--spoken", action="store_true")
    arguments = parser.parse_args()
    voices = conversations.recorded_voices()
    if arguments.spoken:
        voices |= spoken_voices()
    print(f"voices: {', '.join(sorted(voices))}\n")
    across(voices)
    print()
    talks(voices, arguments.talks, arguments.seconds)


if __name__ == "__main__":
    main()
