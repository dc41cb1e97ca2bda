"""A server under load and under attack: latencies, CPU seconds beside ``generate``, answers to every request, memory.

    .venv/bin/python bench/serve.py --model demo-out/train/stage2/model
    .venv/bin/python bench/serve.py --model demo-out/train/stage2/model --parts faults memory --requests 2000
    .venv/bin/python bench/serve.py --parts load --vllm $(.venv/bin/python -m tests.support.vllm_environment)

``make demo`` trains the model. ``llaso-model serve`` runs as a process of its own with one thread, and OpenAI's client
asks it. Parts:

    cpu     32 English prompts that the model never heard, so many of them asked at once: CPU seconds of the server
            process, beside ``generate`` of transformers row by row in this process (same weights, fp32), in turn
    load    50 clients, recordings of 1 to 35 s, half of them streaming: none may be lost; p50, p95, first text, and CPU
            seconds of all processes of the server; with --vllm, vLLM with our plugin takes turns (bench/serve_vllm.py)
    faults  slow and cut uploads, too much, bombs, wrong keys, a flood: each request gets an answer, no slot is lost
    drain   SIGTERM while requests are answered
    memory  resident memory over many requests
"""

from __future__ import annotations

import argparse
import asyncio
import io
import itertools
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
import wave
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import serve_vllm

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

KEY = "a-key-of-the-bench-1"
PARTS = ("cpu", "load", "faults", "drain", "memory")
MAX_NEW_TOKENS = 60
CLIENTS = 50
_WAV_HEAD = 44


@dataclass
class Serving:
    """A server process."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self, **options: Any) -> Any:
        import openai

        options = {"api_key": KEY, "max_retries": 0, "timeout": 600, **options}
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", **options)

    def cpu_s(self) -> float:
        """CPU seconds of the process, without those of its decoders."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def metric(self, name: str) -> float:
        request = urllib.request.Request(f"{self.url}/metrics", headers={"Authorization": f"Bearer {KEY}"})
        lines = urllib.request.urlopen(request, timeout=60).read().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)


def free_port() -> int:
    """A port of loopback that nothing listens at now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(model: str, threads: int, *options: str) -> Iterator[Serving]:
    port = free_port()
    command = [sys.executable, "-m", "llaso_model.cli", "serve", model, "--port", str(port), "--name", "bench"]
    sizes = ["--max-new-tokens", str(MAX_NEW_TOKENS), "--precision", "fp32"]
    environment = {**os.environ, "LLASO_TOKEN": KEY, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    # A session of its own, as that of the server beside it: Linux divides processors by sessions.
    started = {"env": environment, "stdout": subprocess.DEVNULL, "start_new_session": True}
    process = subprocess.Popen([*command, *sizes, *options], **started)
    one = Serving(process, port)
    try:
        for _ in range(6000):
            try:
                urllib.request.urlopen(f"{one.url}/ready", timeout=5)
                break
            except OSError:
                if process.poll() is not None:
                    raise SystemExit("the server has ended") from None
                time.sleep(0.1)
        yield one
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def held_out(count: int) -> list[Path]:
    from llaso_model.demo import held_out_prompts

    return [Path(path) for path, _ in held_out_prompts(240, count)]


async def transcript(serving: Any, client: Any, name: str, data: bytes) -> str:
    return str((await client.audio.transcriptions.create(model="bench", file=(name, data))).text)


# CPU seconds


def part_cpu(serving: Serving, args: argparse.Namespace) -> None:
    import torch

    from llaso_model import generation

    torch.set_num_threads(args.threads)
    loaded = generation.load(args.model, precision="fp32")
    prompts = held_out(args.prompts)
    files = [(path.name, path.read_bytes()) for path in prompts]
    found: dict[str, list[float]] = {}
    texts: dict[str, list[str]] = {}
    asyncio.run(at_once(serving, files[:2], 2))  # warm
    for _ in range(args.repeats):
        for together in args.together:
            before = serving.cpu_s()
            texts[str(together)] = asyncio.run(at_once(serving, files, together))
            found.setdefault(str(together), []).append(serving.cpu_s() - before)
        before = time.process_time()
        texts["generate"] = [alone(loaded, path) for path in prompts]
        found.setdefault("generate", []).append(time.process_time() - before)
    whole = statistics.median(found["generate"])
    print(f"\nCPU seconds for {len(prompts)} prompts, median of {args.repeats}, {args.threads} thread(s)")
    print(f"| `generate`, row by row | {whole:.1f} | |")
    for together in args.together:
        seconds = statistics.median(found[str(together)])
        same = sum(one == other for one, other in zip(texts[str(together)], texts["generate"], strict=True))
        print(f"| serve, {together} at once | {seconds:.1f} | {whole / seconds:.1f}x, {same} texts the same |")


def alone(loaded: Any, path: Path) -> str:
    inputs = loaded.processor.batch([loaded.processor.instruction("Transcribe the speech.", [str(path)])])
    out = loaded.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False)
    return str(loaded.processor.decode(out[0], skip_special_tokens=True).strip())


async def at_once(serving: Any, files: Sequence[tuple[str, bytes]], together: int) -> list[str]:
    room = asyncio.Semaphore(together)
    async with serving.client() as client:

        async def one(name: str, data: bytes) -> str:
            async with room:
                return await transcript(serving, client, name, data)

        return list(await asyncio.gather(*(one(*file) for file in files)))


# Load


def part_load(serving: Serving, args: argparse.Namespace) -> None:
    recordings = [speech_of(path) for path in held_out(20)] + [joined(held_out(20), 35.0)]
    sides: dict[str, Any] = {"`llaso-model serve`": serving}
    with ExitStack() as stack:
        if args.vllm:
            one = serve_vllm.serving(args.vllm, args.model, "bench", args.threads, MAX_NEW_TOKENS)
            sides["`vllm serve` with our plugin"] = stack.enter_context(one)
        for side in sides.values():
            asyncio.run(at_once(side, [("a.wav", recordings[0])], 1))  # warm
        print(f"\n{CLIENTS} clients, recordings of 1 to 35 s, {args.threads} thread(s)")
        print("| server | answers | lost | p50 s | p95 s | first text p50 s | p95 s | CPU s a request |")
        print(f"|{'---|' * 8}")
        for _ in range(args.repeats):
            for name, side in sides.items():
                before = serve_vllm.cpu_s_of_all(side.pid)
                whole, first, lost = asyncio.run(crowd(side, recordings, args.each))
                cpu_s = (serve_vllm.cpu_s_of_all(side.pid) - before) / max(len(whole), 1)
                times = [quantile(values, share) for values in (whole, first) for share in (0.5, 0.95)]
                cells = [len(whole), lost, *(f"{one:.2f}" for one in [*times, cpu_s])]
                print(f"| {name} | {' | '.join(map(str, cells))} |", flush=True)
    check_idle(serving)


async def crowd(serving: Any, recordings: Sequence[bytes], each: int) -> tuple[list[float], list[float], int]:
    whole: list[float] = []
    first: list[float] = []
    lost = 0

    async def one(number: int) -> None:
        nonlocal lost
        async with serving.client(timeout=1800) as client:
            for turn in range(each):
                data, begun = recordings[(7 * number + turn) % len(recordings)], time.monotonic()
                try:
                    if number % 2:
                        stream = await client.audio.transcriptions.create(
                            model="bench", file=("a.wav", data), stream=True
                        )
                        is_first = True
                        async for event in stream:
                            if is_first and serve_vllm.has_text(event):
                                first.append(time.monotonic() - begun)
                                is_first = False
                    else:
                        await transcript(serving, client, "a.wav", data)
                    whole.append(time.monotonic() - begun)
                except Exception as error:
                    lost += 1
                    print(f"lost: {type(error).__name__}: {error}")

    await asyncio.gather(*(one(number) for number in range(CLIENTS)))
    return whole, first, lost


def quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def joined(paths: Sequence[Path], seconds: float) -> bytes:
    """Recordings one after the other with pauses, as one wav file."""
    import numpy as np

    from llaso_data import audio

    parts = [part for path in paths for part in (audio.decode(str(path))[0], np.zeros(12_000, np.int16))]
    return wav(np.concatenate(parts)[: round(seconds * 16_000)])


def speech_of(path: Path) -> bytes:
    """A recording as a wav file; some of the prompts are raw G.722, which only the end of their name tells."""
    from llaso_data import audio

    return wav(audio.decode(str(path))[0])


def wav(pcm: Any) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(16_000)
        sound.writeframes(pcm.tobytes())
    return file.getvalue()


# Faults


def part_faults(serving: Serving, args: argparse.Namespace) -> None:
    found = asyncio.run(faults(serving))
    print("\n| fault | answers |\n|---|---|")
    for name, statuses in found.items():
        counts = ", ".join(f"{statuses.count(one)} x {one}" for one in dict.fromkeys(statuses))
        print(f"| {name} | {counts} |")
    check_idle(serving)


async def faults(serving: Serving) -> dict[str, list[Any]]:
    import numpy as np

    from llaso_data.audio import encoding

    speech = speech_of(held_out(1)[0])
    silent = encoding.encode(np.zeros(16_000 * 9000, np.int16), "flac")  # 2.5 hours of nothing
    claimed = bytearray(encoding.encode(np.zeros(32_000, np.int16), "flac"))
    samples = 16_000 * 36_000
    claimed[21:26] = (int.from_bytes(claimed[21:26], "big") >> 36 << 36 | samples).to_bytes(5, "big")
    good, wrong = serving.client(), serving.client(api_key="wrong")

    async def status(client: Any, data: bytes, name: str = "a.wav", **options: Any) -> Any:
        import openai

        try:
            await client.audio.transcriptions.create(model="bench", file=(name, data), **options)
            return 200
        except openai.APIStatusError as error:
            return error.status_code
        except openai.APIError as error:
            return type(error).__name__

    found: dict[str, list[Any]] = {}
    async with good, wrong:
        for name, data, count in (
            ("bodies of 100 MB", bytes(100 << 20), 3),
            (f"2.5 hours of silence in {len(silent) >> 10} KiB of FLAC", silent, 3),
            ("FLAC that claims ten hours", bytes(claimed), 3),
            ("half a file", speech[: len(speech) // 2], 3),
            ("random bytes", os.urandom(100_000), 10),
        ):
            found[name] = list(await asyncio.gather(*(status(good, data) for _ in range(count))))
        found["wrong keys"] = list(await asyncio.gather(*(status(wrong, speech) for _ in range(50))))
        found["200 at once with one key"] = list(await asyncio.gather(*(status(good, speech) for _ in range(200))))
        found["clients that leave"] = list(
            await asyncio.gather(*(status(serving.client(timeout=0.3), speech) for _ in range(20)))
        )
    found["uploads that are cut"] = [cut_upload(serving) for _ in range(20)]
    return found


def cut_upload(serving: Serving) -> str:
    head = f"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {KEY}\r\n"
    with socket.create_connection(("127.0.0.1", serving.port)) as connection:
        form = "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000\r\n\r\n--x\r\n"
        connection.sendall((head + form).encode())
    return "left"


def check_idle(serving: Serving) -> None:
    """Waits until nothing is answered, and tells where a slot or a request is lost."""
    for _ in range(600):
        busy = [serving.metric(name) for name in ("llaso_batch_size", "llaso_queue", "llaso_decoding_audio")]
        if not any(busy) and serving.metric("llaso_requests_open") == 1:  # the request for the metrics
            print("afterwards no slot is taken, nothing waits, no request is open")
            return
        time.sleep(0.1)
    print(f"LOST: slots, queue, decoding: {busy}; open {serving.metric('llaso_requests_open')}")


# SIGTERM


def part_drain(serving: Serving, args: argparse.Namespace) -> None:
    async def talk() -> list[Any]:
        speech = speech_of(held_out(1)[0])
        async with serving.client() as client:
            asked = [asyncio.ensure_future(transcript(serving, client, "a.wav", speech)) for _ in range(20)]
            while not serving.metric("llaso_batch_size"):
                await asyncio.sleep(0.1)
            serving.process.send_signal(signal.SIGTERM)
            return list(await asyncio.gather(*asked, return_exceptions=True))

    found = asyncio.run(talk())
    kinds = [type(one).__name__ if isinstance(one, Exception) else "answered" for one in found]
    code = serving.process.wait(120)
    print(f"\nSIGTERM with {len(found)} requests: { ({kind: kinds.count(kind) for kind in kinds}) }, exit code {code}")


# Memory


def part_memory(serving: Serving, args: argparse.Namespace) -> None:
    clips = [min((speech_of(path) for path in held_out(20)), key=len)]
    if args.lengths > 1:
        whole = joined(held_out(12), 20.0)[_WAV_HEAD:]
        clips = [wav(memoryview(whole)[: 2 * round(16_000 * (1 + 19 * n / args.lengths))]) for n in range(args.lengths)]
        random.Random(0).shuffle(clips)
    sent = itertools.cycle(("a.wav", clip) for clip in clips)
    print("\n| requests | resident MiB |\n|---|---|")
    done, step = 0, max(args.requests // 10, 1)
    while done < args.requests:
        asyncio.run(at_once(serving, list(itertools.islice(sent, step)), 16))
        done += step
        print(f"| {done} | {serving.resident_mib():.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="demo-out/train/stage2/model")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--together", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--each", type=int, default=2, help="requests of each client of the part load")
    parser.add_argument("--requests", type=int, default=2000, help="of the part memory")
    parser.add_argument("--lengths", type=int, default=1, help="recordings of so many lengths, in the part memory")
    parser.add_argument("--vllm", metavar="PYTHON", help="of an environment with vLLM, for the part load")
    args = parser.parse_args()
    work = {"cpu": part_cpu, "load": part_load, "faults": part_faults, "drain": part_drain, "memory": part_memory}
    for part in args.parts:
        with serving(args.model, args.threads) as one:
            work[part](one, args)


if __name__ == "__main__":
    main()
