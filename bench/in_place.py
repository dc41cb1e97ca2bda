"""Indexing tars where they lie, and streaming over such an index: CPU time a sample, and bytes read.

    python bench/in_place.py [--gigabytes 20] [--rounds 3]

Debian's prompts, joined to clips of about five seconds, go as FLAC into tars of 1,000 with NeMo's sharded manifests,
which state durations. The first two tars are copied until there are so many gigabytes. `llaso-data index --layout
nemo_tarred` runs over them with one and with two workers. CPU seconds are of all its processes, and the kernel counts
the bytes that they read (`rchar` of /proc/self/io, which includes children that ended). A start without work, measured
on one tar of ten clips, is taken off the cost of a sample. Two things grow in another way, and are measured by
themselves: one process joins the sidecars to one index (here of a fiftieth of 50,000 hours, from sidecars that are read
again and again), and every job lists the folder (here one of as many empty files).

Then three tars are converted, to shards and to Shar, and read in turns: by our loader from the shards, from an index of
the tars and from one of the Shar, and by Lhotse's loader from the Shar, where Lhotse is installed. All give batches of
300 s of sound with padding, sampled by length. Nothing stays on the disk.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib.util
import io
import itertools
import json
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import soundfile

from llaso_data import audio
from llaso_data.demo.assets import prompts
from llaso_data.formats.files.file_tree import open_tree
from llaso_data.io import tar_headers
from llaso_data.pipeline import index_in_place
from llaso_data.shards import index as shard_index
from llaso_data.shards import manifest

sys.path.insert(0, str(Path(__file__).parent))
from convert import SUBREAPER, timed

SHORTEST_S = 2.2
TAR_CLIPS = 1000
CLIPS = 2 * TAR_CLIPS
READ_TARS = 3
READ_ROUNDS = 5
BUDGET_S = 300
HOURS, CORES = 50_000, 16
JOINED = 50  # one of so many samples is joined


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
    count = HOURS * 3600 / (seconds / samples)
    join = joining(folder, root, count)
    listing_s = listing(root, round(count / TAR_CLIPS))
    jobs = min(index_in_place._MOST_JOBS, count / TAR_CLIPS / index_in_place._TARS_AT_ONCE)
    tables = sum(path.stat().st_size for path in (folder / "sharded_manifests").iterdir())
    print(f"{'workers':>8}{'wall s':>9}{'CPU s':>9}{'us/sample':>11}{'samples/CPU s':>15}{'read B/sample':>15}")
    for workers in (1, 2):
        starts, costs = [], []
        for _ in range(rounds):
            for source, kept in ((root / "start", starts), (folder, costs)):
                kept.append(index(source, out, workers))
                stated = json.loads((out / "manifest.json").read_text("utf-8"))["samples"]
                assert stated == (samples if source == folder else 10), stated
                size = sum(path.stat().st_size for path in out.rglob("*.arrow"))
                shutil.rmtree(out)
        wall_s, cpu_s, read = (statistics.median(column) for column in zip(*costs, strict=True))
        start_wall_s, start_cpu_s, start_read = (statistics.median(column) for column in zip(*starts, strict=True))
        each_s = (cpu_s - start_cpu_s) / samples
        each_read = (read - start_read) / samples
        print(f"{workers:>8}{wall_s:>9.1f}{cpu_s:>9.1f}{each_s * 1e6:>11.0f}{1 / each_s:>15.0f}{each_read:>15.0f}")
        print(
            f"         start {start_wall_s:.1f} s, {start_cpu_s:.1f} CPU s; manifests {tables / samples:.0f} B/sample, "
        )
        print(f"         index {size / samples:.0f} B/sample")
        work_s = count * (each_s - join.cpu_s) + jobs * listing_s
        minutes = (work_s / CORES + count * join.wall_s) / 60
        print(f"         {HOURS:,} h are {count / 1e6:.1f} M samples: {minutes:.1f} minutes on {CORES} cores,")
        print(f"         {count * join.wall_s / 60:.1f} of them in one process that joins the indices")


def joining(folder: Path, root: Path, count: float) -> Cost:
    """What joining sidecars takes for a sample."""
    out = root / "sidecars"
    index(folder, out, 2)
    command = [sys.executable, __file__, "--join", str(out), str(round(count / JOINED))]
    costs = [json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout) for _ in range(3)]
    shutil.rmtree(out)
    wall_s, cpu_s = (statistics.median(column) for column in zip(*costs, strict=True))
    print(f"joining sidecars: {wall_s * 1e6:.1f} us/sample, {cpu_s * 1e6:.1f} CPU us/sample")
    return Cost(wall_s, cpu_s, 0)


def join(folder: str, count: int) -> None:
    """Print the seconds that joining about so many samples takes for one, of wall and of CPU time."""
    sidecars = [path for path in sorted(Path(folder).rglob("*.arrow")) if path.name != "index.arrow"]
    known = [(str(path), info) for path in sidecars if (info := shard_index.sidecar_info(str(path))) is not None]
    shards = list(itertools.islice(itertools.cycle(known), -(-count // TAR_CLIPS)))
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as out:
        start_s, start_cpu_s = time.monotonic(), time.process_time()
        stated = manifest.finish(out, shards, profile=manifest.IN_PLACE, plan="bench", options=None, source=None)
        joined: int = stated["samples"]
        print(json.dumps([(time.monotonic() - start_s) / joined, (time.process_time() - start_cpu_s) / joined]))


def listing(root: Path, tars: int) -> float:
    """The CPU seconds of listing a folder with so many tars and their manifests."""
    folder = root / "many"
    (folder / "sharded_manifests").mkdir(parents=True)
    for number in range(tars):
        (folder / f"audio_{number}.tar").touch()
        (folder / "sharded_manifests" / f"manifest_{number}.json").touch()
    start_s = time.process_time()
    open_tree(str(folder), ())
    took_s = time.process_time() - start_s
    shutil.rmtree(folder)
    print(f"listing {2 * tars:,} files: {took_s:.2f} CPU s")
    return took_s


def reading(folder: Path, root: Path) -> None:
    """The table of reading."""
    few = root / "few"
    first_tars(folder, few, [TAR_CLIPS] * READ_TARS)
    index(few, root / "indexed", 1)
    options = ("--from", "nemo_tarred", "--audio", "keep", "--engine", "local", "--num-workers", "2")
    program("convert", str(few), *options, "--out", str(root / "converted"))
    program("convert", str(few), *options, "--to", "shar", "--out", str(root / "shar"))
    program("index", str(root / "shar"), "--layout", "shar", "--out", str(root / "indexed-shar"))
    ways = {
        "converted, --audio keep": ("--read", root / "converted"),
        "NeMo's tars, indexed in place": ("--read", root / "indexed"),
        "Shar, indexed in place": ("--read", root / "indexed-shar"),
    }
    if importlib.util.find_spec("lhotse") is None:
        print("Lhotse is not installed")
    else:
        ways["Shar, Lhotse's loader"] = ("--read-shar", root / "shar" / "shar")
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(READ_ROUNDS):
        for name, (option, path) in ways.items():
            command = [sys.executable, __file__, option, str(path)]
            rates[name].append(float(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    for name, values in rates.items():
        print(
            f"{name:31}{statistics.median(values):>8.0f} samples per CPU second ({min(values):.0f}-{max(values):.0f})"
        )


def read(folder: str) -> None:
    """Print the samples that our loader gives for a CPU second, without its start."""
    from llaso_data.stream.loader import StreamingLoader
    from llaso_data.stream.mixture import Mixture

    def size(batch: Any) -> int:
        assert not batch.replaced
        return len(batch.samples)

    rate(StreamingLoader(Mixture.of(folder), f"{BUDGET_S}s"), size)


def read_shar(folder: str) -> None:
    """The same of Lhotse's loader."""
    import torch
    from lhotse import CutSet
    from lhotse.dataset import DynamicBucketingSampler, IterableDatasetWrapper
    from lhotse.dataset.collation import collate_audio

    class Sounds(torch.utils.data.Dataset[Any]):
        def __getitem__(self, cuts: Any) -> Any:
            return *collate_audio(cuts), [cut.supervisions[0].text for cut in cuts]

    torch.set_num_threads(1)
    cuts = CutSet.from_shar(in_dir=folder, shuffle_shards=True, seed=0)
    sampler = DynamicBucketingSampler(cuts, max_duration=BUDGET_S, shuffle=True, num_buckets=20, seed=0)
    dataset = IterableDatasetWrapper(Sounds(), sampler)
    rate(torch.utils.data.DataLoader(dataset, batch_size=None), lambda batch: len(batch[0]))


def rate(batches: Iterable[Any], size: Callable[[Any], int]) -> None:
    """Print the samples of the batches for a CPU second, without the first batch."""
    batches = iter(batches)
    next(batches)
    before, count = cpu_s(), 0
    for batch in batches:
        count += size(batch)
    print(count / (cpu_s() - before))


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--read", help=argparse.SUPPRESS)
    parser.add_argument("--read-shar", help=argparse.SUPPRESS)
    parser.add_argument("--join", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        read(options.read)
        return
    if options.read_shar:
        read_shar(options.read_shar)
        return
    if options.join:
        join(options.join[0], int(options.join[1]))
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
