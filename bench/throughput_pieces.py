"""Where the CPU seconds of ``llaso-data build-align`` go, for ``bench/asr_throughput.py --pieces``."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from throughput_tools import PARENT, block_of, cpu_s

from llaso_data import audio
from llaso_data.align import backward
from llaso_data.pipeline.observe import Observer, load_block
from llaso_data.recipe import Align, Asr, Observe, Run
from llaso_data.whisper.ctranslate2 import CTranslate2Engine
from llaso_data.whisper.openvino import OpenVINOEngine
from llaso_data.whisper.teacher_forcing import Decoder

WATCHED: tuple[tuple[str, Any, str], ...] = (
    ("encoder", CTranslate2Engine, "encode"),
    ("encoder", OpenVINOEngine, "encode"),
    ("keys and values", Decoder, "cache_cross_attention"),
    ("teacher-forced passes", Decoder, "force"),
    ("free decoding", CTranslate2Engine, "decode"),
    ("free decoding", Decoder, "decode"),
    ("word times", backward, "_word_times"),
)


Spent = dict[str, float]  # CPU seconds by piece


def watch() -> Spent:
    """What the pieces take from now on, counted as they run."""
    spent: Spent = defaultdict(float)
    for name, owner, attribute in WATCHED:
        setattr(owner, attribute, _watched(getattr(owner, attribute), name, spent))
    return spent


def print_pieces(
    running: Spent, asr: Asr, paths: Sequence[str], given: bool, align: Align | None, repeats: int
) -> None:
    """Observe files in one thread several times, and print the median CPU seconds of each piece.

    Args:
        running: Of :func:`watch`.
        asr: The recipe's section.
        paths: Audio files in one folder.
        given: Whether their transcripts are given.
        align: The recipe's section.
        repeats: How often, besides a first time that counts for nothing.
    """
    spent: dict[str, list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as out:
        settings = Observe(asr=asr, align=align)
        observer = Observer(settings, Run(engine="local", device="cpu", threads=1), out)
        block = block_of(paths, given)
        for repeat in range(repeats + 1):
            running.clear()
            start_s, children_s = time.process_time(), _children_s()
            loaded = load_block(block, settings)
            running["reading audio"] = time.process_time() - start_s + _children_s() - children_s
            observer(loaded)
            total_s = time.process_time() - start_s + _children_s() - children_s
            running["rest"] = total_s - sum(running.values())
            for name, seconds in {**running, "all": total_s}.items() if repeat else ():
                spent[name].append(seconds)
    length_s = sum(audio.probe(path).duration_s or 0.0 for path in paths)
    texts = "" if align is None else f", texts in {align.compute_type}"
    print(f"{len(paths)} files, {length_s:.0f} s, {'given' if given else 'no'} transcripts, {asr.compute_type}{texts}")
    for name, seconds_each in sorted(spent.items(), key=lambda item: -statistics.median(item[1])):
        print(f"| {name:22} | {statistics.median(seconds_each):.2f} |", flush=True)


def _watched(function: Any, name: str, running: Spent) -> Any:
    def call(*arguments: Any, **options: Any) -> Any:
        start_s = time.process_time()
        try:
            return function(*arguments, **options)
        finally:
            running[name] += time.process_time() - start_s

    return call


def _children_s() -> float:
    """CPU seconds of the processes that this one started, which decode audio."""
    return cpu_s(os.getpid(), PARENT, ended=False)
