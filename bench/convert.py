"""Converting WAVs to 16-bit FLAC with text: LLaSO beside the tools that people use, with two processes each.

    python bench/convert.py --peers PYTHON [--rounds 3] [--copies 1]
    python bench/convert.py --memory 3000 30000 300000

PYTHON is the interpreter of an environment with lhotse, datasets, litdata and soundfile; without it LLaSO runs alone.
The recordings are Debian's prompts (about 2,700), decoded to 16 kHz WAV before the first measurement. All tools read
the same manifest. In every round each tool runs once, in turns. CPU seconds are of the tool and all its processes.
Each output is read back, and the sounds and texts are compared bit for bit. `pass-through` moves FLAC without
decoding it, and is compared with nobody. `--memory` converts corpora of so many clips instead, LLaSO alone: hard links
to the shortest recordings.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import soundfile

from llaso_data import audio
from llaso_data.demo.assets import prompts
from llaso_data.shards import reader

sys.path.insert(0, str(Path(__file__).parent))
from convert_peers import SHARD, WRITE, digest_of

MIN_SAMPLES = 8000
SHORTEST = 300
PEERS = Path(__file__).with_name("convert_peers.py")
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: processes whose parent is gone become ours, so that their time is counted


def corpus(folder: Path, form: str, copies: int) -> Path:
    """The prompts as audio files, so often, and a manifest of them."""
    folder.mkdir()
    rows = []
    for number, path in enumerate(sorted(prompts().rglob("*.g722"))):
        try:
            pcm = audio.decode(str(path))[0]
        except audio.AudioError:
            continue
        if len(pcm) < MIN_SAMPLES:
            continue
        name = folder / f"{number:05d}.{form}"
        soundfile.write(str(name), pcm, audio.SAMPLE_RATE_HZ, subtype="PCM_16")
        seconds = len(pcm) / audio.SAMPLE_RATE_HZ
        rows.append({"audio_filepath": str(name), "text": f"{path.stem} {number}", "duration": seconds})
        for copy in range(1, copies):
            linked = folder / f"{copy}-{name.name}"
            os.link(name, linked)
            rows.append({**rows[-1], "audio_filepath": str(linked), "text": f"{path.stem} {number} {copy}"})
    manifest = folder / "manifest.jsonl"
    manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return manifest


def ours(manifest: Path, out: Path, *options: str) -> list[str]:
    program = str(Path(sys.executable).with_name("llaso-data"))
    parts = ["--samples-per-part", str(SHARD), "--engine", "local", "--num-workers", "2"]
    return [program, "convert", str(manifest), "--out", str(out), *parts, *options]


def timed(command: list[str]) -> tuple[float, float, float]:
    """Wall and CPU seconds of a command with all its processes, and MiB of the largest of them."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started_s = time.monotonic()
    log = tempfile.TemporaryFile()  # noqa: SIM115
    pid = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}).pid
    largest = 0.0
    status = 0
    while True:  # until no process of its is left
        try:
            ended, code, used = os.wait4(-1, 0)
        except ChildProcessError:
            break
        largest = max(largest, used.ru_maxrss / 1024)
        if ended == pid:
            status, wall_s = code, time.monotonic() - started_s
    if status:
        log.seek(0)
        raise SystemExit(f"{command}: {log.read().decode()[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, cpu_s, largest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="interpreter with the other tools")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=1, help="how often each recording is there, under other names")
    parser.add_argument("--memory", type=int, nargs="+", metavar="CLIPS", help="sizes of corpora")
    options = parser.parse_args()
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        manifest = corpus(root / "wav", "wav", options.copies)
        if options.memory:
            memory(root, manifest, options.memory)
            return
        flacs = corpus(root / "flac", "flac", options.copies)
        count = sum(1 for _ in manifest.open())
        out = root / "out"
        commands = {"LLaSO": ours(manifest, out)}
        if options.peers:
            commands |= {name: [options.peers, str(PEERS), name, str(manifest), str(out)] for name in WRITE}
        commands["LLaSO, pass-through"] = ours(flacs, out, "--audio", "keep")
        measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
        digests: dict[str, str] = {}
        for _ in range(options.rounds):
            for name, command in commands.items():
                measured[name].append(timed(command))
                if name not in digests:
                    digests[name] = checked(name, options.peers, manifest, out)
                for path in (out, Path(f"{out}.cache")):
                    shutil.rmtree(path, ignore_errors=True)
        assert len(set(digests.values())) == 1, digests
        show(measured, count)


def memory(root: Path, manifest: Path, counts: list[int]) -> None:
    """What the largest process of a conversion takes, by the number of clips."""
    rows = sorted(map(json.loads, manifest.open()), key=lambda row: row["duration"])[:SHORTEST]
    for count in counts:
        folder, out = root / f"linked-{count}", root / "out"
        with (root / f"{count}.jsonl").open("w") as file:
            for number in range(count):
                row = rows[number % len(rows)]
                name = folder / str(number // 1000) / f"{number}.wav"
                name.parent.mkdir(parents=True, exist_ok=True)
                os.link(row["audio_filepath"], name)
                file.write(json.dumps({**row, "audio_filepath": str(name), "text": f"text {number}"}) + "\n")
        _, cpu_s, mib = timed(ours(root / f"{count}.jsonl", out, "--samples-per-part", "1000"))
        print(f"{count} clips: {mib:.0f} MiB, {1000 * cpu_s / count:.3f} ms of CPU each", flush=True)
        shutil.rmtree(out)
        shutil.rmtree(folder)


def checked(name: str, peers: str | None, manifest: Path, out: Path) -> str:
    """The digest of what a tool wrote, read back by itself."""
    if name.startswith("LLaSO"):
        pairs = (
            (sample.messages[-1].content[0].text or "", audio.decode_bytes(data).tobytes())
            for sample, sounds in reader.samples(str(out))
            for data in sounds.values()
        )
        return digest_of(pairs)
    command = [str(peers), str(PEERS), name, str(manifest), str(out), "--check"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1]


def show(measured: dict[str, list[tuple[float, float, float]]], count: int) -> None:
    first = [statistics.median(values) for values in zip(*measured["LLaSO"], strict=True)]
    print(f"{count} clips; medians of {len(measured['LLaSO'])} rounds; ratios above 1: LLaSO is faster")
    print(f"{'tool':24}{'wall s':>8}{'CPU s':>8}{'clips/CPU s':>13}{'ratio wall':>12}{'ratio CPU':>11}{'MiB':>7}")
    for name, values in measured.items():
        wall_s, cpu_s, mib = (statistics.median(column) for column in zip(*values, strict=True))
        ratios = f"{wall_s / first[0]:>12.2f}{cpu_s / first[1]:>11.2f}"
        print(f"{name:24}{wall_s:>8.2f}{cpu_s:>8.2f}{count / cpu_s:>13.0f}{ratios}{mib:>7.0f}")


if __name__ == "__main__":
    main()
