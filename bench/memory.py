"""Whether memory stays flat: every process of `llaso-data build-align`, from 20 minutes of audio on to two hours.

    .venv/bin/python bench/memory.py --engines local ray --minutes 120

Debian's English prompts with their transcripts, repeated at other levels until they last long enough; tiny.en int8,
blocks of 16 clips. Counted is anonymous memory (heaps and stacks), a worker's with that of its decoding process: pages
of libraries are read from their files as they are needed, and Ray's object store, which all processes map, has a line
of its own. Of

- whatever observes (the driver of `local`, the actors of Ray): noted by itself between two blocks.
- every other process: read from /proc once a second.

What a process holds besides the block at hand, and besides what Ray's threads in it are just doing, is the lowest of it
over a while: the audio is cut into 10 parts from 20 minutes on, and a line is fitted through the lowest in each.

Printed for each: its peak, the line at 20 minutes and at the end, and the growth between them. The demand: not above
1 % for the driver and every observer and loader that lived through at least half of it. Ray's own processes and its
object store (which keeps every page that it ever used) are shown without a demand. Ends with exit code 1 where the
demand is not met.
"""

from __future__ import annotations

import argparse
import itertools
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from llaso_data import audio
from llaso_data.demo import assets, weights
from llaso_data.records import Utterance

WARM_S = 20 * 60.0
ALLOWED = 0.01
EVERY_S = 1.0
PARTS = 10
DECODING = "decoding process"
STORE = 0  # no process has this number
MIN_PARTS = PARTS // 2  # that a process must have lived through to be judged


@dataclass
class Trace:
    """One process: when (seconds since the epoch) it held how much (bytes)."""

    role: str
    times: list[float] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    noted: list[tuple[float, int]] = field(default_factory=list)
    """The same between two blocks, by the process itself."""


@dataclass(frozen=True)
class Line:
    """What a process came to: its peak, and the fitted line after the warm-up and at the end."""

    role: str
    peak_mb: float
    early_mb: float
    late_mb: float

    @property
    def growth(self) -> float:
        return self.late_mb / self.early_mb - 1

    @property
    def ours(self) -> bool:
        return not self.role.startswith("ray's")


class Notes:
    """A stage that changes nothing. It notes what its process holds whenever free memory has gone back."""

    def __init__(self, folder: str) -> None:
        from llaso_data.pipeline import memory

        release = memory.release

        def noted() -> None:
            release()
            with open(os.path.join(folder, str(os.getpid())), "a") as file:
                held = sum(own_bytes(pid) or 0 for pid in [os.getpid(), *children(os.getpid())])
                file.write(f"{time.time()} {held}\n")

        memory.release = noted

    def __call__(self, utterances: Sequence[Utterance], pcm: Sequence[audio.Pcm | None]) -> Sequence[Utterance]:
        return utterances


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engines", nargs="+", choices=["local", "ray"], default=["local", "ray"])
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--warm", type=float, default=WARM_S / 60, help="minutes of audio that are not judged")
    parser.add_argument("--clips", type=int, default=16, help="in a block")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="end each run after that, and judge so much"
    )
    parser.add_argument("--keep", help="a folder for the traces, as CSV")
    args = parser.parse_args()
    flat = True
    with tempfile.TemporaryDirectory(prefix="memory-") as folder:
        corpus = repeated(Path(folder, "corpus"), args.minutes * 60)
        for engine in args.engines:
            out = Path(folder, engine)
            traces = observed(corpus, out, engine, args.clips, args.seconds)
            committed = progress(out)
            if args.keep:
                keep(Path(args.keep, f"{engine}.csv"), traces, committed)
            lines = [line for trace in traces if (line := fitted(trace, committed, args.warm * 60)) is not None]
            show(engine, committed, lines)
            flat = flat and all(line.growth <= ALLOWED for line in lines if line.ours)
    sys.exit(0 if flat else 1)


def repeated(folder: Path, wanted_s: float) -> Path:
    """Prompts with transcripts, again and again at another level, until they last that long."""
    prompts = assets.demo_corpus(1000, 1)
    source = prompts.folders[prompts.languages.index("en")]
    paths = [path for path in sorted(source.rglob("*")) if path.suffix in (".g722", ".wav")]
    lasting_s = 0.0
    for turn in itertools.count():
        for number, path in enumerate(paths):
            if lasting_s >= wanted_s:
                return folder
            pcm = audio.decode(str(path))[0]
            target = folder / f"{turn:03d}" / f"{number:04d}.flac"
            target.parent.mkdir(parents=True, exist_ok=True)
            quieter = np.rint(pcm * (0.9 - 0.02 * (turn % 30)) + turn // 30).astype(np.int16)
            target.write_bytes(audio.encode(quieter, "flac"))
            target.with_suffix(".txt").write_text(path.with_suffix(".txt").read_text(encoding="utf-8"))
            lasting_s += len(pcm) / audio.SAMPLE_RATE_HZ
    raise AssertionError


def observed(corpus: Path, out: Path, engine: str, clips: int, limit_s: float) -> list[Trace]:
    """One run of the command, every process of it watched until its end, or until it is ended."""
    until_s = time.monotonic() + limit_s
    command = [str(Path(sys.executable).with_name("llaso-data")), "build-align", str(corpus), f"--out={out}"]
    command += [
        f"--engine={engine}",
        "--device=cpu",
        "--max-failures=100%",
        f"--asr={weights.tiny_en()}",
        f"--set=blocks.clips={clips}",
    ]
    notes = out.with_suffix(".notes")
    notes.mkdir()
    command += [f"--set=observe.stages=[{{stage: 'memory:Notes', options: {{folder: '{notes}'}}}}]"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    traces: dict[int, Trace] = {}
    with tempfile.TemporaryFile() as log:
        run = subprocess.Popen(
            [*command, "--max-failures=100%"], stdout=log, stderr=log, start_new_session=True, env=environment
        )
        try:
            while run.poll() is None and time.monotonic() < until_s:
                sample(run.pid, traces)
                time.sleep(EVERY_S)
        finally:
            if run.poll() is None:
                run.send_signal(signal.SIGTERM)
                run.wait()
        if run.returncode not in (0, 128 + signal.SIGTERM):
            log.seek(0)
            sys.exit(log.read().decode(errors="replace"))
    for path in notes.iterdir():
        rows = (line.split() for line in path.read_text().splitlines())
        traces.setdefault(int(path.name), Trace("observer")).noted = [
            (float(moment), int(held)) for moment, held in rows
        ]
    return list(traces.values())


def sample(driver: int, traces: dict[int, Trace]) -> None:
    now = time.time()
    held: dict[int, int] = {}
    shared = 0
    for pid, parent, command in session(driver):
        found = own_bytes(pid)
        if found is None:
            continue
        shared += shared_bytes(pid) or 0
        trace = traces.setdefault(pid, Trace("driver" if pid == driver else ""))
        trace.role = role(command, trace.role)
        owner = parent if trace.role == DECODING else pid
        held[owner] = held.get(owner, 0) + found
    if shared:
        held[STORE] = shared
        traces.setdefault(STORE, Trace("ray's object store"))
    for pid, bytes_ in held.items():
        if pid in traces:
            traces[pid].times.append(now)
            traces[pid].held.append(bytes_)


def session(leader: int) -> Iterator[tuple[int, int, str]]:
    """(pid, parent's pid, command) of every process in a session."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] != "Z":
                    command = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    yield int(entry), int(fields[1]), command
            except OSError:
                continue


def children(pid: int) -> list[int]:
    return [int(word) for file in Path(f"/proc/{pid}/task").glob("*/children") for word in file.read_text().split()]


def own_bytes(pid: int) -> int | None:
    """Anonymous memory, of which pages that a fork shares are dealt out evenly; None where the process has ended."""
    return _rollup(pid, "Pss_Anon:", "SwapPss:")


def shared_bytes(pid: int) -> int | None:
    return _rollup(pid, "Pss_Shmem:")


def _rollup(pid: int, *names: str) -> int | None:
    try:
        lines = Path("/proc", str(pid), "smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(names))


def role(command: str, known: str) -> str:
    """What a process does; Ray renames its workers by what they are at."""
    if known and not known.startswith("ray's"):
        return known
    roles = {"decode_child": DECODING, "ray::_ObserverActor": "observer", "ray::_load": "loader"}
    named = [role for sign, role in roles.items() if sign in command]
    words = command.split() or ["?"]
    other = (
        words[0] if command.startswith("ray::") else Path(next((w for w in words if w.endswith(".py")), words[0])).name
    )
    return named[0] if named else f"ray's {other}"


def progress(out: Path) -> npt.NDArray[np.float64]:
    """(blocks, 2): when a block was committed, and how much audio (s) was by then."""
    found = []
    for path in out.glob("observations/*.parquet"):
        durations = pq.read_table(path, columns=["duration_s"])["duration_s"].to_pylist()
        found.append((path.stat().st_mtime, sum(value or 0.0 for value in durations)))
    table = np.array(sorted(found))
    table[:, 1] = table[:, 1].cumsum()
    return table


def fitted(trace: Trace, committed: npt.NDArray[np.float64], warm_s: float) -> Line | None:
    """None for a process that did not live long enough in the judged part of the run."""
    end_s = float(committed[-1, 1])
    if not trace.held:
        return None
    peak_mb = max(trace.held) / 1e6
    times, held = np.array(trace.noted or list(zip(trace.times, trace.held, strict=True))).T
    audio_s, held_mb = np.interp(times, committed[:, 0], committed[:, 1], left=0), held / 1e6
    judged = (audio_s >= warm_s) & (times <= committed[-1, 0])
    audio_s, held_mb = audio_s[judged], held_mb[judged]
    part = np.minimum((PARTS * (audio_s - warm_s) / (end_s - warm_s)).astype(int), PARTS - 1)
    present = np.unique(part)
    if len(present) < MIN_PARTS:
        return None
    held_mb = np.array([held_mb[part == number].min() for number in present])
    audio_s = warm_s + (present + 0.5) * (end_s - warm_s) / PARTS
    line = np.polynomial.Polynomial.fit(audio_s, held_mb, 1)
    return Line(trace.role, peak_mb, float(line(warm_s)), float(line(end_s)))


def show(engine: str, committed: npt.NDArray[np.float64], lines: list[Line]) -> None:
    wall_s = committed[-1, 0] - committed[0, 0]
    print(
        f"{engine}: {committed[-1, 1] / 60:.0f} minutes of audio in {len(committed)} blocks, {wall_s:.0f} s from the "
        f"first to the last, {os.cpu_count()} CPUs; memory of its own in MB"
    )
    print(f"  {'process':<24} {'peak':>8} {'early':>8} {'late':>8} {'growth':>8}")
    for line in sorted(lines, key=lambda line: (not line.ours, line.role)):
        verdict = "" if not line.ours else "  flat" if line.growth <= ALLOWED else "  GROWS"
        numbers = f"{line.peak_mb:8.1f} {line.early_mb:8.1f} {line.late_mb:8.1f} {line.growth:8.2%}"
        print(f"  {line.role:<24} {numbers}{verdict}", flush=True)


def keep(path: Path, traces: list[Trace], committed: npt.NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        print("process,role,seconds,audio_s,own_bytes", file=file)
        for number, trace in enumerate(traces):
            audio_s = np.interp(trace.times, committed[:, 0], committed[:, 1], left=0)
            for moment, done_s, held in zip(trace.times, audio_s, trace.held, strict=True):
                print(f"{number},{trace.role},{moment - committed[0, 0]:.1f},{done_s:.1f},{held}", file=file)


if __name__ == "__main__":
    main()
