"""Going on at 60 % of an epoch, beside starting at its beginning: the loader's first batch, read and decoded.

    .venv/bin/python bench/stream_resume.py --folder /tmp/stream/tars --repeats 7

The folder holds shards with sound, as bench/stream.py writes them. Each measurement is a process of its own, start and
resume take turns, and medians are printed: seconds from making the loader, imports before, to its first batch.
What comes after the resume is compared with the same steps of a run without a stop: keys and every sample of sound.
(What the plan of 25.5 M samples adds is in bench/stream_plan.py.)
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

from llaso_data.stream import Batch, Mixture, StreamingLoader

PART = 0.6
AFTER = 20  # batches that are compared


def made(folder: str, workers: int, decode: bool = True) -> StreamingLoader:
    return StreamingLoader(Mixture.of(folder), "120s", seed=7, micro_batches=4, num_workers=workers, decode=decode)


def content(batches: Iterable[Batch], count: int) -> list[str]:
    found = []
    for batch in batches:
        assert batch.audio is not None
        found.append(hashlib.sha256(json.dumps(batch.ids).encode() + batch.audio.numpy().tobytes()).hexdigest())
        if len(found) == count:
            break
    return found


def child(folder: str, workers: int, state: dict[str, Any] | None) -> float:
    started = time.perf_counter()
    loader = made(folder, workers)
    if state is not None:
        loader.load_state_dict(state)
    for _ in loader:
        break
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", required=True)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(child(args.folder, int(args.child[0]), json.loads(args.child[1])))
        return
    steps = max(
        batch.step for batch in StreamingLoader(Mixture.of(args.folder), "120s", seed=7, micro_batches=4, decode=False)
    )
    at = int(PART * (steps + 1))
    whole = made(args.folder, 0)
    for _ in whole:
        if whole.state_dict()["step"] == at:
            break
    state = whole.state_dict()
    expected = content(whole, AFTER)
    for workers in (0, 2):
        again = made(args.folder, workers)
        again.load_state_dict(state)
        same = content(again, AFTER) == expected
        taken: dict[str, list[float]] = {"start": [], "resume": []}
        for _ in range(args.repeats):
            for name, given in (("start", None), ("resume", state)):
                command = [
                    sys.executable,
                    __file__,
                    "--folder",
                    args.folder,
                    "--child",
                    str(workers),
                    json.dumps(given),
                ]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                taken[name].append(float(done.stdout))
        start, resume = (statistics.median(taken[name]) for name in ("start", "resume"))
        print(
            f"{workers} workers: start {start:.3f} s, resume at step {at} of {steps + 1} {resume:.3f} s "
            f"({resume - start:+.3f}); {AFTER} batches after it {'the same' if same else 'NOT THE SAME'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
