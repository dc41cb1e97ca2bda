"""The overhead of the engine `ray` over `local` on the same blocks: one observer, and two.

    .venv/bin/python bench/ray_overhead.py --clips 96 --repeats 3

The same English prompts in equal blocks, the same weights in int8, the same number of threads, every run a process of
its own, interleaved. Two Ray actors are compared with two local processes that have half of the blocks each. Prints
medians: seconds until Ray's cluster is there, until the first block is done (imports and model included), and per block
from then on; and the ratio to `local`. The same in CPU seconds of every process that took part, Ray's own included:
what others do on the machine hardly shows in them.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from llaso_data import formats
from llaso_data.demo import assets, weights
from llaso_data.pipeline import engines
from llaso_data.pipeline.blocks import PlannedBlock, block_name
from llaso_data.recipe import Asr, Observe, Run


@dataclass(frozen=True)
class Peer:
    engine: str
    workers: int
    threads: int

    def __str__(self) -> str:
        kind = {"local": "process", "ray": "actor"}[self.engine]
        many = f"{self.workers} {kind}{'s' if kind == 'actor' else 'es'}" if self.workers > 1 else f"1 {kind}"
        return f"{self.engine}, {many} x {self.threads} thread{'s' * (self.threads > 1)}"


_ENVIRONMENT = {"RAY_worker_niceness": "0"}  # Ray's default, 15, would measure who else is at work on the machine

PEERS = (Peer("local", 1, 2), Peer("ray", 1, 2), Peer("local", 2, 1), Peer("ray", 2, 1))


@dataclass(frozen=True)
class Times:
    """Seconds since the processes were started; CPU seconds of all of them, to the first block and to the last."""

    cluster_s: float
    first_s: float
    all_s: float
    blocks: int
    first_cpu_s: float
    all_cpu_s: float

    @property
    def block_s(self) -> float:
        return (self.all_s - self.first_s) / (self.blocks - 1)

    @property
    def block_cpu_s(self) -> float:
        return (self.all_cpu_s - self.first_cpu_s) / (self.blocks - 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=96)
    parser.add_argument("--per-block", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(Run.model_validate_json(args.child[0]), Path(args.child[1]), args.child[2])
        return
    blocks = planned(args.clips, args.per_block)
    seconds: dict[Peer, list[Times]] = {peer: [] for peer in PEERS}
    for _ in range(args.repeats):
        for peer in PEERS:
            seconds[peer].append(measured(peer, blocks))
    load = "/".join(f"{value:.1f}" for value in os.getloadavg())
    print(
        f"{args.clips} prompts in {len(blocks)} blocks, tiny.en int8, {os.cpu_count()} CPUs, "
        f"median of {args.repeats}, load at the end {load}"
    )
    for peer, times in seconds.items():
        twin = seconds[Peer("local", peer.workers, peer.threads)]
        cluster_s, first_s, block_s, all_s, first_cpu_s, block_cpu_s, all_cpu_s = (
            statistics.median(getattr(t, name) for t in times)
            for name in ("cluster_s", "first_s", "block_s", "all_s", "first_cpu_s", "block_cpu_s", "all_cpu_s")
        )
        ratio, cpu_ratio = (
            statistics.median(getattr(t, name) / getattr(other, name) for t, other in zip(times, twin, strict=True))
            for name in ("block_s", "block_cpu_s")
        )
        print(
            f"  {peer!s:32} cluster {cluster_s:5.1f} s   first block {first_s:5.1f} s   "
            f"then {block_s:6.3f} s a block ({ratio:.2f}x)   in all {all_s:5.1f} s"
        )
        print(
            f"  {'':32} CPU                 first block {first_cpu_s:5.1f} s   "
            f"then {block_cpu_s:6.3f} s a block ({cpu_ratio:.2f}x)   in all {all_cpu_s:5.1f} s"
        )


def planned(clips: int, per_block: int) -> list[PlannedBlock]:
    """Equal blocks, whatever the clips' hashes."""
    found = list(formats.read(assets.demo_corpus(clips, 1).sources()[0]))
    chunks = [tuple(found[i : i + per_block]) for i in range(0, len(found), per_block)]
    return [PlannedBlock(block_name(chunk, "bench"), chunk) for chunk in chunks]


def measured(peer: Peer, blocks: list[PlannedBlock]) -> Times:
    """One run: Ray deals the blocks to its actors itself; local processes get every n-th each."""
    processes = peer.workers if peer.engine == "local" else 1
    run = Run.model_validate(
        {"engine": peer.engine, "num_workers": peer.workers, "threads": peer.threads, "device": "cpu"}
    )
    with tempfile.TemporaryDirectory() as folder:
        started = time.time()
        children = []
        for number in range(processes):
            path = Path(folder, f"blocks-{number}")
            path.write_bytes(pickle.dumps(blocks[number::processes]))
            command = [sys.executable, __file__, "--child", run.model_dump_json(), str(path), folder]
            children.append(
                subprocess.Popen(
                    command, stdout=subprocess.PIPE, env={**os.environ, **_ENVIRONMENT}, start_new_session=True
                )
            )
        spent = watched(children)
        said = [json.loads(process.communicate()[0].splitlines()[-1]) for process in children]
    done = sorted(moment for one in said for moment in one["done"])
    assert len(done) == len(blocks), said
    return Times(
        max(one["cluster"] for one in said) - started,
        done[0] - started,
        done[-1] - started,
        len(done),
        spent_by(done[0], spent),
        spent_by(done[-1], spent),
    )


def watched(children: list[subprocess.Popen[bytes]]) -> list[tuple[float, float]]:
    """(moment, CPU seconds so far) of the children and all that they started, until the last of them has ended."""
    sessions = {child.pid for child in children}
    ticks: dict[int, int] = {}
    spent = []
    while any(child.poll() is None for child in children):
        for entry in filter(str.isdigit, os.listdir("/proc")):
            try:
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                ticks[int(entry)] = int(fields[11]) + int(fields[12])  # of a process that ended: what it had last
        spent.append((time.time(), sum(ticks.values()) / os.sysconf("SC_CLK_TCK")))
        time.sleep(0.25)
    return spent


def spent_by(moment: float, spent: list[tuple[float, float]]) -> float:
    return next((cpu_s for at, cpu_s in spent if at >= moment), spent[-1][1])


def child(run: Run, blocks: Path, out: str) -> None:
    """Observe the blocks; prints when the cluster was there and when every block was done."""
    settings = Observe(asr=Asr(model=str(weights.tiny_en())))
    if run.engine == "local":
        cluster, done = time.time(), observed(run, settings, blocks, out)
    else:
        from llaso_data.pipeline.ray_cluster import cluster as connected

        with connected(run):
            cluster, done = time.time(), observed(run, settings, blocks, out)
    print(json.dumps({"cluster": cluster, "done": done}))


def observed(run: Run, settings: Observe, blocks: Path, out: str) -> list[float]:
    return [time.time() for _ in engines.observe(pickle.loads(blocks.read_bytes()), settings, run, out)]


if __name__ == "__main__":
    main()
