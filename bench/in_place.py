"""Indexing tars where they lie, and streaming over such an index: CPU time a sample, and bytes read.

    python bench/in_place.py [--gigabytes 20] [--rounds 3]

Debian's prompts, joined to clips of about five seconds, go as FLAC into tars of 1,000 with NeMo's sharded manifests,
which state durations. The first two tars are copied until there are so many gigabytes. `llaso-data index --layout
nemo_tarred` runs over them with one and with two workers. CPU seconds are of all its processes, and the kernel counts
the bytes that they read (`rchar` of /proc/self/io, which includes children that ended). A start without work, measured
on one tar of ten clips, is taken off the cost of a sample. Then three tars are converted, and the loader reads both the
conversion and an index of the three, in turns. Nothing stays on the disk.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import itertools
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile

from llaso_data import audio
from llaso_data.demo.assets import prompts
from llaso_data.io import tar_headers

sys.path.insert(0, str(Path(__file__).parent))
from convert import SUBREAPER, timed

SHORTEST_S = 2.2
TAR_CLIPS = 1000
CLIPS = 2 * TAR_CLIPS
READ_TARS = 3
READ_ROUNDS = 5
BUDGET = "300s"
HOURS, CORES = 50_000, 16


class Clip(NamedTuple):
    """A clip as FLAC."""

    data: bytes
    text: str
    seconds: float


def clips(count: int) -> list[Clip]:
    """Prompts in their order, again and again, joined until each clip lasts :data:`SHORTEST_S`."""
    made: list[Clip] = []
    pcms: list[audio.Pcm] = []
    for path in itertools.cycle(sorted(prompts().rglob("*.g722"))):
        try:
            pcms.append(audio.decode(str(path))[0])
        except audio.AudioError:
            continue
        joined = np.concatenate(pcms)
        if len(joined) < SHORTEST_S * audio.SAMPLE_RATE_HZ:
            continue
        file = io.BytesIO()
        soundfile.write(file, joined, audio.SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
        made.append(Clip(file.getvalue(), f"{path.stem} and {len(pcms)} more", len(joined) / audio.SAMPLE_RATE_HZ))
        pcms = []
        if len(made) == count:
            break
    return made


def nemo_set(folder: Path, made: list[Clip], total_bytes: int) -> tuple[int, int, float]:
    """Tars with manifests, copies of the first few; gives samples, bytes and hours."""
    (folder / "sharded_manifests").mkdir(parents=True)
    firsts = [made[start : start + TAR_CLIPS] for start in range(0, len(made), TAR_CLIPS)]
    samples, size, seconds = 0, 0, 0.0
    for number in itertools.count():
        chosen = firsts[number % len(firsts)]
        tar = folder / f"audio_{number}.tar"
        if number < len(firsts):
            with tar.open("wb") as file:
                for place, clip in enumerate(chosen):
                    tar_headers.write_member(file, f"clip-{place:06d}.flac", clip.data)
                file.write(tar_headers.END)
        else:
            shutil.copyfile(folder / f"audio_{number % len(firsts)}.tar", tar)
        rows = (
            {
                "audio_filepath": f"clip-{place:06d}.flac",
                "duration": clip.seconds,
                "text": f"{clip.text} {number}",
                "lang": "en",
                "shard_id": number,
            }
            for place, clip in enumerate(chosen)
        )
        manifest = folder / "sharded_manifests" / f"manifest_{number}.json"
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        samples, size = samples + len(chosen), size + tar.stat().st_size
        seconds += sum(clip.seconds for clip in chosen)
        if size >= total_bytes:
            return samples, size, seconds / 3600


def first_tars(folder: Path, target: Path, clips_of: Iterable[int]) -> None:
    """A set of the first tars, cut to so many rows of each manifest: tars are links, nothing is copied."""
    (target / "sharded_manifests").mkdir(parents=True)
    for number, count in enumerate(clips_of):
        (target / f"audio_{number}.tar").hardlink_to(folder / f"audio_{number}.tar")
        name = f"sharded_manifests/manifest_{number}.json"
        lines = (folder / name).read_text("utf-8").splitlines()[:count]
        (target / name).write_text("\n".join(lines) + "\n", "utf-8")


class Cost(NamedTuple):
    """What a command took, and how many bytes it and its processes read."""

    wall_s: float
    cpu_s: float
    read_bytes: int


def program(*arguments: str) -> Cost:
    """Run ``llaso-data``."""
    before = bytes_read()
    command = [str(Path(sys.executable).with_name("llaso-data")), *arguments]
    wall_s, cpu_s, _ = timed(command)
    return Cost(wall_s, cpu_s, bytes_read() - before)


def bytes_read() -> int:
    """What this process and its ended children have asked the kernel to read; mapped files do not count."""
    return int(Path("/proc/self/io").read_text().split("rchar:")[1].split()[0])


def index(folder: Path, out: Path, workers: int) -> Cost:
    """Index a set in place; what was written is removed by the caller."""
    return program("index", str(folder), "--layout", "nemo_tarred", "--out", str(out), "--num-workers", str(workers))


def indexing(folder: Path, root: Path, samples: int, seconds: float, rounds: int) -> None:
    """The table of indexing."""
    first_tars(folder, root / "start", [10])
    out = root / "index"
    stated = sum(path.stat().st_size for path in (folder / "sharded_manifests").iterdir())
    print(f"{'workers':>8}{'wall s':>9}{'CPU s':>9}{'us/sample':>11}{'samples/CPU s':>15}{'read B/sample':>15}")
    for workers in (1, 2):
        starts, costs = [], []
        for _ in range(rounds):
            for source, kept in ((root / "start", starts), (folder, costs)):
                kept.append(index(source, out, workers))
                size = sum(path.stat().st_size for path in out.rglob("*.arrow"))
                shutil.rmtree(out)
        wall_s, cpu_s, read = (statistics.median(column) for column in zip(*costs, strict=True))
        start_wall_s, start_cpu_s, start_read = (statistics.median(column) for column in zip(*starts, strict=True))
        each_s = (cpu_s - start_cpu_s) / samples
        each_read = (read - start_read) / samples
        print(f"{workers:>8}{wall_s:>9.1f}{cpu_s:>9.1f}{each_s * 1e6:>11.0f}{1 / each_s:>15.0f}{each_read:>15.0f}")
        print(
            f"         start {start_wall_s:.1f} s, {start_cpu_s:.1f} CPU s; manifests {stated / samples:.0f} B/sample, "
        )
        print(f"         index {size / samples:.0f} B/sample")
        count = HOURS * 3600 / (seconds / samples)
        minutes = count * each_s / CORES / 60
        print(f"         {HOURS:,} h are {count / 1e6:.1f} M samples: {minutes:.1f} minutes on {CORES} cores")


def reading(folder: Path, root: Path) -> None:
    """The table of reading."""
    few = root / "few"
    first_tars(folder, few, [TAR_CLIPS] * READ_TARS)
    index(few, root / "indexed", 1)
    options = ("--from", "nemo_tarred", "--audio", "keep", "--engine", "local", "--num-workers", "2")
    program("convert", str(few), *options, "--out", str(root / "converted"))
    ways = {"index in place": root / "indexed", "converted, --audio keep": root / "converted"}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(READ_ROUNDS):
        for name, path in ways.items():
            command = [sys.executable, __file__, "--read", str(path)]
            rates[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    for name, values in rates.items():
        print(
            f"{name:24}{statistics.median(values):>8.0f} samples per CPU second ({min(values):.0f}-{max(values):.0f})"
        )


def read(folder: str) -> None:
    """Print the samples that the loader gives for a CPU second, without its start."""
    from llaso_data.stream.loader import StreamingLoader
    from llaso_data.stream.mixture import Mixture

    batches = iter(StreamingLoader(Mixture.of(folder), BUDGET))
    next(batches)
    before, count = cpu_s(), 0
    for batch in batches:
        assert not batch.replaced
        count += len(batch.samples)
    print(count / (cpu_s() - before))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        samples, size, hours = nemo_set(root / "set", clips(CLIPS), int(options.gigabytes * 1e9))
        print(f"{samples:,} samples, {size / 1e9:.1f} GB, {hours:.1f} h, {hours * 3600 / samples:.2f} s a sample")
        indexing(root / "set", root, samples, hours * 3600, options.rounds)
        reading(root / "set", root)


if __name__ == "__main__":
    main()
