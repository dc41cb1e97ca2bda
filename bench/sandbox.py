"""What decoding in a process of its own costs: the same recordings in process and through the decode worker.

    .venv/bin/python bench/sandbox.py --clips 200 --repeats 9

Debian's English prompts (G.722, read by FFmpeg) and the same sounds as FLAC (libsndfile), and one hour of them as one
FLAC. Every file is decoded both ways, one right after the other, in turns which comes first. `decode` is the call
alone; `load` is all that a worker does with a file before it listens (decode, level, voice activity, audio id).
Prints the medians over repeats of the sum over files, and the ratio; and how long the process takes to start.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llaso_data import audio, formats
from llaso_data.audio import decode_worker
from llaso_data.demo import assets
from llaso_data.errors import AudioError
from llaso_data.pipeline import observe
from llaso_data.recipe import Decode, Observe, SourceSpec
from llaso_data.records import Utterance

T = TypeVar("T")

SETTINGS = Observe()
LIMITS = Decode()
HOUR_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--starts", type=int, default=5)
    args = parser.parse_args()
    prompts = assets.demo_corpus(args.clips, 1)
    folder = prompts.folders[prompts.languages.index("en")]
    found = [str(path) for path in sorted(folder.rglob("*")) if path.suffix in (".g722", ".wav")]
    with tempfile.TemporaryDirectory() as scratch:
        pcm = [audio.decode(path)[0] for path in found]
        flac = [str(Path(scratch, f"{number:04d}.flac")) for number in range(len(found))]
        for path, samples in zip(flac, pcm, strict=True):
            Path(path).write_bytes(audio.encode(samples, "flac"))
        hour = str(Path(scratch, "hour.flac"))
        Path(hour).write_bytes(audio.encode(np.resize(np.concatenate(pcm), HOUR_S * audio.SAMPLE_RATE_HZ), "flac"))
        started = [seconds(start) for _ in range(args.starts)]
        print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, medians of {args.repeats}")
        print(f"  the process starts in {statistics.median(started):.2f} s")
        mean_s = sum(map(len, pcm)) / len(pcm) / audio.SAMPLE_RATE_HZ
        for name, paths in (("G.722", found), ("FLAC", flac)):
            label = f"{len(paths)} prompts of {mean_s:.1f} s, {name}"
            compare(f"{label}: decode", paths, in_process, through, repeats=args.repeats)
        compare("one hour, FLAC: decode", [hour], in_process, through, repeats=args.repeats)
        clips = SourceSpec(path=scratch, pattern="0*.flac", corpus="bench", language="en")
        utterances = [item.utterance for item in formats.read(clips)]
        both = (functools.partial(load, decode) for decode in (in_process, through))
        compare(f"{label}: load", utterances, *both, repeats=args.repeats)


def in_process(path: str) -> audio.Pcm:
    return whole(audio.decode_spans(path, None, [(None, None)], LIMITS.max_duration_s)[0])


def through(path: str) -> audio.Pcm:
    return whole(decode_worker.decode_spans(path, None, [(None, None)], **LIMITS.model_dump())[0])


def whole(pieces: Sequence[audio.Pcm | AudioError]) -> audio.Pcm:
    (pcm,) = pieces
    assert not isinstance(pcm, AudioError), pcm
    return pcm


def load(decode: Callable[[str], audio.Pcm], utterance: Utterance) -> None:
    """What a worker does with a file before it listens."""
    for _ in observe._measure(utterance, decode(utterance.source.uri), SETTINGS):
        pass


def start() -> None:
    decode_worker._child(LIMITS.memory_mb + 1, "").close()


def compare(
    label: str, items: Sequence[T], one: Callable[[T], Any], other: Callable[[T], Any], *, repeats: int
) -> None:
    one(items[0])
    other(items[0])
    sums: list[tuple[float, float]] = []
    for repeat in range(repeats):
        found = []
        for number, item in enumerate(items):
            calls = [functools.partial(one, item), functools.partial(other, item)]
            if (repeat + number) % 2:
                after_s, before_s = seconds(calls[1]), seconds(calls[0])
            else:
                before_s, after_s = seconds(calls[0]), seconds(calls[1])
            found.append((before_s, after_s))
        sums.append((sum(pair[0] for pair in found), sum(pair[1] for pair in found)))
    before_ms, after_ms = (statistics.median(pair[side] for pair in sums) / len(items) * 1e3 for side in (0, 1))
    ratio = statistics.median(after / before for before, after in sums)
    print(
        f"  {label:<42} in process {before_ms:9.3f} ms   sandbox {after_ms:9.3f} ms   {ratio:.2f}x   "
        f"{after_ms - before_ms:+.3f} ms a file",
        flush=True,
    )


def seconds(call: Callable[[], Any]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
