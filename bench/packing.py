"""Packed windows against one clip per window, and faster-whisper one file at a time with word times.

    .venv/bin/python bench/packing.py --clips 120 --repeats 3

The same English prompts, the same weights in int8, the same two threads, interleaved. Prints WER, wall and CPU seconds
(medians) and the ratio to faster-whisper. Ours includes both directions and word times.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Callable

from rapidfuzz.distance import Levenshtein

from llaso_data import audio
from llaso_data.asr.listen import Listen
from llaso_data.asr.load import converted, load, resolve
from llaso_data.demo import assets, weights
from llaso_data.pipeline.recipe import Align, Asr, Run
from llaso_data.records import GIVEN, Source, Utterance
from llaso_data.text import tokens

MODELS = {"tiny.en": weights.tiny_en, "base": weights.whisper_base}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=120)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model", choices=list(MODELS), default="tiny.en")
    args = parser.parse_args()
    utterances, pcm = prompts(args.clips)
    folder = str(MODELS[args.model]())
    run = Run(device="cpu", threads=2)
    whisper = load(Asr(model=folder), run)
    peers: dict[str, Callable[[], list[str]]] = {
        "packed": ours(Listen(whisper, Asr(model=folder), Align()), utterances, pcm),
        "one clip per window": ours(Listen(whisper, Asr(model=folder, pack=False), Align()), utterances, pcm),
        "faster-whisper, per file, words": faster_whisper(folder, pcm),
    }
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in peers}
    texts: dict[str, list[str]] = {}
    for _ in range(args.repeats):
        for name, transcribe in peers.items():
            gc.collect()
            wall, cpu = time.perf_counter(), cpu_s()
            texts[name] = transcribe()
            seconds[name].append((time.perf_counter() - wall, cpu_s() - cpu))
    length_s = sum(map(len, pcm)) / audio.SAMPLE_RATE_HZ
    print(f"{len(pcm)} prompts, {length_s / 60:.1f} min, {args.model} int8, 2 threads, median of {args.repeats}")
    last = statistics.median(wall for wall, _ in seconds["faster-whisper, per file, words"])
    for name in peers:
        wall = statistics.median(wall for wall, _ in seconds[name])
        cpu = statistics.median(cpu for _, cpu in seconds[name])
        print(
            f"{name:34} WER {wer(utterances, texts[name]):.4f}  wall {wall:7.1f} s  CPU {cpu:7.1f} s"
            f"  {length_s / wall:5.1f}x real time  {last / wall:4.2f}x faster-whisper"
        )


def prompts(count: int) -> tuple[list[Utterance], list[audio.Pcm]]:
    """English prompts with transcripts, a fixed choice."""
    corpus = assets.demo_corpus(count, 1)
    utterances, pcm = [], []
    for path in sorted(corpus.folders[0].rglob("*.g722")):
        samples, _ = audio.decode(str(path))
        name = path.stem
        utterances.append(
            Utterance(
                id=name,
                recording=name,
                source=Source(corpus="prompts", uri=str(path)),
                duration_s=len(samples) / audio.SAMPLE_RATE_HZ,
                language="en",
                language_origin=GIVEN,
                text=path.with_suffix(".txt").read_text(encoding="utf-8").strip(),
                text_origin=GIVEN,
            )
        )
        pcm.append(samples)
    return utterances, pcm


def ours(listen: Listen, utterances: list[Utterance], pcm: list[audio.Pcm]) -> Callable[[], list[str]]:
    return lambda: [utterance.hypothesis or "" for utterance in listen(utterances, pcm)]


def faster_whisper(folder: str, pcm: list[audio.Pcm]) -> Callable[[], list[str]]:
    from faster_whisper import WhisperModel

    model = WhisperModel(converted(resolve(folder, None), "int8"), device="cpu", compute_type="int8", cpu_threads=2)

    def transcribe() -> list[str]:
        texts = []
        for samples in pcm:
            segments, _ = model.transcribe(
                samples.astype("float32") / 32768.0, language="en", beam_size=1, word_timestamps=True
            )
            texts.append(" ".join(segment.text for segment in segments))
        return texts

    return transcribe


def wer(utterances: list[Utterance], hypotheses: list[str]) -> float:
    errors = words = 0
    for utterance, hypothesis in zip(utterances, hypotheses, strict=True):
        reference = tokens(utterance.text or "", "en")
        errors += Levenshtein.distance(reference, tokens(hypothesis, "en"))
        words += len(reference)
    return errors / words


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
