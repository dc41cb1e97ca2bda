"""Memory of the loader over epochs: PSS of the process and its workers, sampled while it streams.

    .venv/bin/python bench/stream_memory.py --folder /tmp/stream/tars --epochs 4

The folder is a set of shards, such as ``bench/stream.py`` writes. PSS counts pages that processes share, and those of
mapped files, by their shares. Printed is its mean over each epoch; the first one warms up. A line is fitted to the
rest, and its slope is told as a share of the mean for an epoch.
"""

from __future__ import annotations

import argparse
import os
import statistics
import threading
import time
from pathlib import Path

import numpy as np

from llaso_data.stream import Mixture, StreamingLoader

PAUSE_S = 0.2


def pss_mib() -> float:
    """Of this process and its children."""
    pids, total = [os.getpid()], 0
    for pid in pids:
        try:
            pids += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--budget", default="120s")
    args = parser.parse_args()
    loader = StreamingLoader(
        Mixture.of(str(args.folder), epochs=args.epochs), args.budget, micro_batches=4, num_workers=args.workers
    )
    samples: list[tuple[float, float]] = []
    done = threading.Event()
    counted, total = 0, loader.plan.size

    def watch() -> None:
        while not done.wait(PAUSE_S):
            samples.append((counted / total, pss_mib()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.monotonic()
    for batch in loader:
        counted += len(batch)
    done.set()
    watcher.join()
    for epoch in range(args.epochs):
        here = [value for at, value in samples if int(at) == epoch]
        print(f"epoch {epoch + 1}: PSS {statistics.mean(here):.1f} MiB in the mean, {max(here):.1f} at most")
    times, values = np.array([one for one in samples if one[0] >= 1]).T
    slope, _ = np.polyfit(times, values, 1)
    wall_s = time.monotonic() - started
    print(f"slope {slope / values.mean():+.2%} an epoch; {counted:,} samples in {wall_s:.1f} s, {args.workers} workers")


if __name__ == "__main__":
    main()
