"""Transcription with word times and scores, beside what people use today: seconds, CPU seconds, words wrong, loops.

    .venv/bin/python bench/asr_throughput.py --parts 8 --slow-parts 2

English prompts with transcripts, once as the short clips that they are and once joined to recordings of some minutes.
All have the same weights, greedy decoding and two threads; whatever else a tool does by itself it does here too. Others
compute in int8. Ours computes in what `auto` is on this processor, in what it is without bfloat16, and in CTranslate2's
int8 with texts read in float32.
Ours is the whole of `llaso-data build-align` on a file: decoding in a process apart, voice activity, levels,
transcript, word times, both directions' scores, and the block's commit. The others transcribe and time words.

Each tool is a process that stays loaded; only one works at a time. The corpus is divided, and all tools take a
part before the next one comes, so that what else goes on on the machine meets all of them. Printed is the sum, and the
median over the parts of the ratio to faster-whisper. Tools that need longest take the first --slow-parts only,
and their ratio is to the same parts.

    .venv/bin/python bench/asr_throughput.py --pieces --model base --clips 94 --corpora short

``--pieces`` prints instead how many CPU seconds each piece of ours takes in one thread: with transcripts, without,
and without any teacher forcing.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rapidfuzz.distance import Levenshtein
from throughput_tools import BASE, LANGUAGE, PRECISIONS, SESSION, THREADS, TOOLS, Tool, cpu_s
from wider_whisper import medium_of

from llaso_data import audio
from llaso_data.demo import assets, weights
from llaso_data.recipe import Align, Asr
from llaso_data.text import tokens
from llaso_data.whisper.engine import own_instructions

MODELS = {
    "tiny.en": weights.tiny_en,
    "base": weights.whisper_base,
    "medium-shaped": lambda: medium_of(weights.whisper_base()),
}
RECORDING_S = 300.0
RECORDINGS = 4  # in a part, as a block of build-align holds several

# -- the corpora ---------------------------------------------------------------------------------------------------


def short_clips(folder: Path, count: int) -> list[str]:
    """The prompts as FLAC with their transcripts, in an order that looks like chance."""
    prompts = assets.demo_corpus(count, 1)
    source = prompts.folders[prompts.languages.index("en")]
    folder.mkdir(parents=True)
    paths = []
    for path in sorted(source.rglob("*.g722")):
        name = path.relative_to(source).with_suffix("").as_posix()
        target = folder / f"{hashlib.sha256(name.encode()).hexdigest()[:8]}.flac"
        target.write_bytes(audio.encode(audio.decode(str(path))[0], "flac"))
        target.with_suffix(".txt").write_text(path.with_suffix(".txt").read_text(encoding="utf-8"))
        paths.append(str(target))
    return sorted(paths)


def long_recordings(folder: Path, clips: Sequence[str]) -> list[str]:
    """The clips joined with 0.3 to 1 s of silence, some minutes each."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths: list[str] = []
    sounds: list[audio.Pcm] = []
    texts: list[str] = []
    for number, clip in enumerate(clips, 1):
        gap = np.zeros(int(rng.uniform(0.3, 1.0) * audio.SAMPLE_RATE_HZ), dtype=np.int16)
        sounds += [audio.decode(clip)[0], gap]
        texts.append(Path(clip).with_suffix(".txt").read_text(encoding="utf-8").strip())
        if sum(map(len, sounds)) >= RECORDING_S * audio.SAMPLE_RATE_HZ or number == len(clips):
            target = folder / f"{len(paths):03d}.flac"
            target.write_bytes(audio.encode(np.concatenate(sounds), "flac"))
            target.with_suffix(".txt").write_text(" ".join(texts), encoding="utf-8")
            paths.append(str(target))
            sounds, texts = [], []
    return paths


def distributed(paths: Sequence[str], parts: int) -> list[list[str]]:
    return [list(paths[number::parts]) for number in range(parts) if paths[number::parts]]


# -- measuring -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Took:
    wall_s: float
    cpu_s: float
    peak_gb: float  # of the tool's process until then; what it starts is not counted
    texts: list[str]


class Loaded:
    """A tool in a process of its own, loaded and warm, that waits for a part."""

    def __init__(self, number: int, model: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--child", str(number), model],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._ask([])

    def _ask(self, paths: Sequence[str]) -> list[str]:
        assert self._process.stdin is not None and self._process.stdout is not None
        print(json.dumps(list(paths)), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a tool ended")
        texts: list[str] = json.loads(line)
        return texts

    def take(self, paths: Sequence[str]) -> Took:
        wall_s, cpu_s = time.perf_counter(), self._cpu_s()
        texts = self._ask(paths)
        return Took(time.perf_counter() - wall_s, self._cpu_s() - cpu_s, self._peak_gb(), texts)

    def close(self) -> None:
        self._process.communicate()

    def _cpu_s(self) -> float:
        """Of the process and of those that it started, ended ones included."""
        return cpu_s(self._process.pid, SESSION, ended=True)

    def _peak_gb(self) -> float:
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e9


def child(tool: Tool, model: str) -> None:
    """Load, then transcribe what is asked for, line by line."""
    import torch

    torch.set_num_threads(THREADS)
    answers = os.fdopen(os.dup(1), "w")  # whatever a library prints goes elsewhere
    os.dup2(2, 1)
    with tempfile.TemporaryDirectory() as out:
        transcribe = tool.load(model, out)
        for line in sys.stdin:
            paths = json.loads(line)
            print(json.dumps(transcribe(paths) if paths else []), file=answers, flush=True)


def counted(paths: Sequence[str], texts: Sequence[str]) -> tuple[int, int, int]:
    """Words wrong, words, and loops: hypotheses of more than three times the reference's words and five."""
    wrong = words = loops = 0
    for path, text in zip(paths, texts, strict=True):
        reference = tokens(Path(path).with_suffix(".txt").read_text(encoding="utf-8"), LANGUAGE)
        hypothesis = tokens(text, LANGUAGE)
        wrong += Levenshtein.distance(reference, hypothesis)
        words += len(reference)
        loops += len(hypothesis) > 3 * len(reference) + 5
    return wrong, words, loops


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=list(MODELS), default="tiny.en")
    parser.add_argument(
        "--clips", type=int, default=1000, help="at most; Debian has 568 English prompts with transcripts"
    )
    parser.add_argument("--corpora", nargs="+", choices=["short", "long"], default=["short", "long"])
    parser.add_argument("--parts", type=int, default=8, help="of the short clips; recordings are taken by fours")
    parser.add_argument("--slow-parts", type=int, default=2, help="that the slow tools take")
    parser.add_argument("--tools", nargs="+", help="names, or beginnings of names; faster-whisper per file always")
    parser.add_argument("--pieces", action="store_true", help="CPU seconds by piece of ours")
    parser.add_argument("--precision", choices=list(PRECISIONS), default="auto", help="of --pieces")
    parser.add_argument("--repeats", type=int, default=3, help="of --pieces")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(TOOLS[int(args.child[0])], args.child[1])
        return
    if args.pieces:
        pieces(args)
        return
    chosen = []
    for tool in TOOLS:
        if tool is not BASE and args.tools and not any(_names(name, tool) for name in args.tools):
            continue
        if importlib.util.find_spec(tool.needs) is None:
            print(f"{tool.name} is not installed, left out")
            continue
        chosen.append(tool)
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        clips = short_clips(Path(folder, "short"), args.clips)
        recordings = long_recordings(Path(folder, "long"), clips)
        parts = {
            "short": distributed(clips, args.parts),
            "long": distributed(recordings, -(-len(recordings) // RECORDINGS)),
        }
        loaded = {tool.name: Loaded(TOOLS.index(tool), str(MODELS[args.model]())) for tool in chosen}
        for name, process in loaded.items():
            process.take(clips[:2])
            print(f"loaded {name}", flush=True)
        for corpus in args.corpora:
            tools = [tool for tool in chosen if corpus in tool.corpora]
            report(corpus, args.model, parts[corpus], tools, measured(parts[corpus], tools, loaded, args.slow_parts))
        for process in loaded.values():
            process.close()


def _names(name: str, tool: Tool) -> bool:
    """Whether a name is the tool's, or the beginning of it and no other tool's."""
    return tool.name == name or (tool.name.startswith(name) and name not in [one.name for one in TOOLS])


def pieces(args: argparse.Namespace) -> None:
    import torch
    from throughput_pieces import print_pieces, watch

    torch.set_num_threads(1)
    asr_type, align_type = PRECISIONS[args.precision]
    asr = Asr(model=str(MODELS[args.model]()), compute_type=asr_type)
    align, running = Align(compute_type=align_type), watch()
    with tempfile.TemporaryDirectory(prefix="throughput-") as folder:
        clips = short_clips(Path(folder, "short"), args.clips)
        for given, section in ((True, align), (False, align), (False, None)) if "short" in args.corpora else ():
            print_pieces(running, asr, clips, given, section, args.repeats)
        if "long" in args.corpora:
            print_pieces(running, asr, long_recordings(Path(folder, "long"), clips), False, align, args.repeats)


def measured(
    parts: Sequence[Sequence[str]], tools: Sequence[Tool], loaded: dict[str, Loaded], slow_parts: int
) -> dict[str, list[Took]]:
    took: dict[str, list[Took]] = {tool.name: [] for tool in tools}
    for number, part in enumerate(parts):
        for tool in tools:
            if not tool.slow or number < slow_parts:
                took[tool.name].append(loaded[tool.name].take(part))
    return took


def report(
    corpus: str, model: str, parts: Sequence[Sequence[str]], tools: Sequence[Tool], took: dict[str, list[Took]]
) -> None:
    length_s = [sum(audio.probe(path).duration_s or 0.0 for path in part) for part in parts]
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"\n{corpus}: {sum(map(len, parts))} files, {sum(length_s) / 60:.1f} minutes in {len(parts)} parts, "
        f"{model}, {THREADS} threads, {os.cpu_count()} CPUs with {', '.join(sorted(own_instructions())) or 'neither'}, "
        f"load at the end {load}"
    )
    print(f"| {'':34} | parts | WER | loops | wall s | CPU s | peak GB | x real time | x {BASE.name} (CPU) |")
    print(f"|{'---|' * 9}")
    for tool in tools:
        if not (mine := took[tool.name]):
            continue
        base = took[BASE.name]
        found = [counted(part, one.texts) for part, one in zip(parts, mine, strict=False)]
        wrong, words, loops = (sum(column) for column in zip(*found, strict=True))
        wall_s, cpu_s = sum(one.wall_s for one in mine), sum(one.cpu_s for one in mine)
        ratio = statistics.median(b.wall_s / a.wall_s for a, b in zip(mine, base, strict=False))
        cpu = statistics.median(b.cpu_s / a.cpu_s for a, b in zip(mine, base, strict=False))
        speed = sum(length_s[: len(mine)]) / wall_s
        print(
            f"| {tool.name:34} | {len(mine)} | {wrong / words:.4f} | {loops} | {wall_s:.1f} | {cpu_s:.1f} "
            f"| {mine[-1].peak_gb:.2f} | {speed:.1f} | {ratio:.2f} ({cpu:.2f}) |",
            flush=True,
        )


if __name__ == "__main__":
    main()
