"""Whisper servers beside ours, for plain transcription: CPU seconds, load, word times, clients that leave.

    .venv/bin/python bench/serve_peers.py --model demo-out/train/stage2/model --peers ours fws --fws FWS/bin/python
    .venv/bin/python bench/serve_peers.py --peers speaches --speaches SPEACHES/bin/python

Each server is a process of its own with one thread; OpenAI's client asks it. The peers have OpenAI's Whisper base in
float32, which the demo's model has as its encoder. They have environments of their own:

    fws       pip install faster-whisper-server==0.0.3
    speaches  its checkout with the versions of its uv.lock (no package index has it)

Parts: ``cpu``, the 32 English prompts of bench/serve.py, so many of them at once; ``load``, its 50 clients with
recordings of 1 to 35 s, half of them streaming where the server can; ``words``, whether words have times;
``leave``, the CPU seconds that go on after 10 clients have left.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import serve as ours

PARTS = ("cpu", "load", "words", "leave")
_SPEACHES_MODEL = "Systran/faster-whisper-base"
_LEAVING = 10


@contextmanager
def started(command: list[str], port: int, environment: dict[str, str], folder: str) -> Iterator[ours.Serving]:
    """A peer that answers at a port, and whose working folder this is."""
    threads = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    environment = {**os.environ, **threads, **environment}
    environment.pop("PYTHONPATH", None)
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen(command, env=environment, cwd=folder, **quiet)
    one = ours.Serving(process, port)
    try:
        for _ in range(1200):
            with suppress(OSError):
                urllib.request.urlopen(f"{one.url}/health", timeout=5)
                break
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} has ended with {process.returncode}")
            time.sleep(0.1)
        yield one
    finally:
        process.kill()
        process.wait()


@contextmanager
def fws(args: argparse.Namespace) -> Iterator[ours.Serving]:
    """faster-whisper-server of PyPI. Its command line sets no threads and no precision, its file of models does."""
    from llaso_data.demo.weights import whisper_base_ctranslate2

    with tempfile.TemporaryDirectory() as home:
        options = "model_options: {device: cpu, compute_type: float32, cpu_threads: 1}\n"
        models = (
            f"models: [{{name: whisper-1, path: {whisper_base_ctranslate2()}}}]\n"  # it takes any other name for it
        )
        Path(home, "models.yaml").write_text(options + models)
        port = ours.free_port()
        command = [args.fws, "-m", "uvicorn", "faster_whisper_server.api:app", "--port", str(port)]
        with started(command, port, {"FWS_CONFIG_PATH": "models.yaml"}, home) as one:
            yield one


@contextmanager
def speaches(args: argparse.Namespace) -> Iterator[ours.Serving]:
    """speaches, with a cache of the hub that has the model under the name that it looks for."""
    from llaso_data.demo.weights import whisper_base_ctranslate2

    with tempfile.TemporaryDirectory() as home:
        kept = Path(home, "hub", f"models--{_SPEACHES_MODEL.replace('/', '--')}")
        snapshot = kept / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (kept / "refs").mkdir()
        (kept / "refs" / "main").write_text("0" * 40)
        for path in whisper_base_ctranslate2().iterdir():
            if path.is_file():
                shutil.copy(path, snapshot)
        tags = "tags: [automatic-speech-recognition]\nlibrary_name: ctranslate2"
        (snapshot / "README.md").write_text(f"---\nlanguage: [en]\n{tags}\n---\n")
        Path(home, "realtime-console", "dist").mkdir(parents=True)  # it looks for its page here
        Path(home, "model_aliases.json").write_text(json.dumps({"bench": _SPEACHES_MODEL}))
        port = ours.free_port()
        environment = {
            "HF_HOME": home,
            "ENABLE_UI": "false",
            "LOG_LEVEL": "warning",
            "WHISPER__CPU_THREADS": "1",
            "WHISPER__INFERENCE_DEVICE": "cpu",
            "WHISPER__COMPUTE_TYPE": "float32",
            "STT_MODEL_TTL": "-1",
        }
        command = [args.speaches, "-m", "uvicorn", "--factory", "speaches.main:create_app", "--port", str(port)]
        with started(command, port, environment, home) as one:
            yield one


PEERS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "ours": lambda args: ours.serving(args.model, 1),
    "fws": fws,
    "speaches": speaches,
}


def part_cpu(name: str, serving: ours.Serving, args: argparse.Namespace) -> None:
    """CPU seconds of the server for the prompts, and how many of their words are wrong."""
    from llaso_model.demo import held_out_prompts

    prompts = held_out_prompts(240, args.prompts)
    files = [("a.wav", ours.speech_of(Path(path))) for path, _ in prompts]
    asyncio.run(ours.at_once(serving, files[:2], 2))  # loads what is loaded late
    for together in args.together:
        before, begun = serving.cpu_s(), time.monotonic()
        texts = asyncio.run(ours.at_once(serving, files, together))
        cpu_s, wall_s = serving.cpu_s() - before, time.monotonic() - begun
        wrong, words = word_errors(texts, [text for _, text in prompts])
        print(f"| {name} | {together} at once | {cpu_s:.1f} CPU s | {wall_s:.1f} s | {wrong} of {words} words wrong |")


def word_errors(texts: list[str], wanted: list[str]) -> tuple[int, int]:
    """Wrong words, and words, as they are scored."""
    from llaso_data.text import tokens, wer

    counts = [len(tokens(one, "en")) for one in wanted]
    rates = [wer(one, other, "en") for one, other in zip(wanted, texts, strict=True)]
    return sum(round(rate * count) for rate, count in zip(rates, counts, strict=True)), sum(counts)


def mixed_recordings() -> list[bytes]:
    """Recordings of 1 to 35 s, the longest last."""
    paths = ours.held_out(20)
    return [*map(ours.speech_of, paths), ours.joined(paths, 35.0)]


def part_load(name: str, serving: ours.Serving, args: argparse.Namespace) -> None:
    """50 clients at once."""
    recordings = mixed_recordings()
    asyncio.run(ours.at_once(serving, [("a.wav", recordings[0])], 1))
    before = serving.cpu_s()
    whole, first, lost = asyncio.run(ours.crowd(serving, recordings, args.each))
    cpu_s = (serving.cpu_s() - before) / max(len(whole), 1)
    print(f"| {name} | {ours.CLIENTS} clients | {len(whole)} answers, {lost} lost | {cpu_s:.2f} CPU s each | ", end="")
    print(f"p50 {ours.quantile(whole, 0.5):.1f} s, p95 {ours.quantile(whole, 0.95):.1f} s | ", end="")
    print(f"first text p50 {ours.quantile(first, 0.5):.1f} s |" if first else "does not stream |", flush=True)


def part_words(name: str, serving: ours.Serving, args: argparse.Namespace) -> None:
    """Whether words have times where they are asked for."""

    async def ask() -> Any:
        async with serving.client() as client:
            return await client.audio.transcriptions.create(
                model="bench",
                file=("a.wav", mixed_recordings()[-1]),
                response_format="verbose_json",
                timestamp_granularities=["word"],
            )

    said = asyncio.run(ask())
    count = len(said.words or [])
    print(f"| {name} | word times | {count} of {len(said.text.split())} words have times |")


def part_leave(name: str, serving: ours.Serving, args: argparse.Namespace) -> None:
    """What the server goes on computing for clients that are gone."""

    async def leave() -> None:
        async with serving.client(timeout=1.0) as client:
            asked = [ours.transcript(serving, client, "a.wav", mixed_recordings()[-1]) for _ in range(_LEAVING)]
            await asyncio.gather(*asked, return_exceptions=True)

    asyncio.run(ours.at_once(serving, [("a.wav", mixed_recordings()[0])], 1))
    asyncio.run(leave())
    left = last = serving.cpu_s()
    for _ in range(600):
        time.sleep(1.0)
        now = serving.cpu_s()
        if now - last < 0.03:
            break
        last = now
    print(f"| {name} | {_LEAVING} clients leave after 1 s | {last - left:.1f} CPU s go on for them |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-out/train/stage2/model", help="ours")
    parser.add_argument("--peers", nargs="+", choices=list(PEERS), default=list(PEERS))
    parser.add_argument("--fws", metavar="PYTHON", help="of an environment with faster-whisper-server")
    parser.add_argument("--speaches", metavar="PYTHON", help="of an environment with speaches")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--each", type=int, default=1, help="requests of each client of the part load")
    args = parser.parse_args()
    parts = {"cpu": part_cpu, "load": part_load, "words": part_words, "leave": part_leave}
    for part in args.parts:
        for name in args.peers:
            with PEERS[name](args) as serving:
                parts[part](name, serving, args)


if __name__ == "__main__":
    main()
